"""How Alembic reaches the database: in one transaction, one process at a time.

`flask migrate` hands over the database; the `alembic` command, of use to who writes a migration, takes
it from the settings.
"""

from alembic import context
from sqlalchemy import text

from app.core.settings import Settings
from app.db.engine import Database
from app.db.models import Base

# Any number that nobody else uses in this database: "VKW" as bytes.
_ADVISORY_LOCK = 0x564B57


def run() -> None:
    """Migrate under a lock, all steps or none."""
    database = context.config.attributes.get("database")
    if database is None:
        database = Database(Settings.from_environment().database, head=None, create=True)
    with database.write() as connection:
        if not database.is_sqlite:
            connection.execute(text("SET LOCAL lock_timeout = 0"))  # another process may take its time to migrate
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            transactional_ddl=True,
            render_as_batch=database.is_sqlite,
        )
        context.run_migrations()


run()
