"""The Alembic environment: migrate in one transaction, in one process at a time.

`vkweb migrate` passes the database. The `alembic` command, for authors of migrations, reads it from the settings.
"""

from alembic import context
from sqlalchemy import text

from app.core.settings import Settings
from app.db.engine import Database
from app.db.models import Base, exists_in

# The key of the advisory lock: "VKW" as bytes.
_ADVISORY_LOCK = 0x564B57


def run() -> None:
    """Run all migrations or none, under a lock."""
    database = context.config.attributes.get("database")
    if database is None:
        database = Database(Settings.from_environment().database, head=None, create=True)
    with database.write() as connection:
        if not database.is_sqlite:
            connection.execute(text("SET LOCAL lock_timeout = 0"))  # wait for the migration of another process
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            transactional_ddl=True,
            include_object=exists_in(connection.dialect.name),
            render_as_batch=database.is_sqlite,
        )
        context.run_migrations()


run()
