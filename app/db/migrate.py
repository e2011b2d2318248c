"""Migrate a database to the schema revision of this version."""

from collections.abc import Iterator
from contextlib import contextmanager

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import URL

from app.core.errors import DatabaseUnusable
from app.db.engine import Database
from app.db.revision import MIGRATIONS


def upgrade(url: URL, revision: str = "head") -> None:
    """Migrate a database; create a missing SQLite file. Safe to run in several processes at once.

    Raises:
        DatabaseUnavailable: the database does not answer or refuses writes; nothing was changed.
    """
    with _configured(Database(url, head=None, create=True)) as config:
        command.upgrade(config, revision)


def downgrade(url: URL, revision: str) -> None:
    """Downgrade a database to an older revision. Data that the revision has no column for is lost.

    Raises:
        DatabaseUnavailable: the database does not answer or refuses writes; nothing was changed.
    """
    with _configured(Database(url, head=None)) as config:
        command.downgrade(config, revision)


@contextmanager
def _configured(database: Database) -> Iterator[Config]:
    config = Config(attributes={"database": database})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    try:
        yield config
    except CommandError as exc:  # for example, an unknown revision
        raise DatabaseUnusable(f"the database cannot be migrated: {exc}") from exc
    finally:
        database.dispose()
