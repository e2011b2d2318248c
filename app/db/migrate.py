"""Bringing a database to the revision that this version needs."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL

from app.core.errors import DatabaseUnusable
from app.db.engine import Database

MIGRATIONS = Path(__file__).parents[2] / "migrations"


def head() -> str:
    """Say which revision this version of the code needs."""
    revision = ScriptDirectory(str(MIGRATIONS)).get_current_head()
    if revision is None:
        raise RuntimeError(f"no migrations in {MIGRATIONS}")
    return revision


def upgrade(url: URL, revision: str = "head") -> None:
    """Migrate a database; one that is not there yet is made. Safe to run in many processes at once.

    Raises:
        DatabaseUnavailable: it does not answer or takes no writes; it is as it was before.
    """
    with _configured(Database(url, head=None, create=True)) as config:
        command.upgrade(config, revision)


def downgrade(url: URL, revision: str) -> None:
    """Take a database back to an older revision. What that revision does not know is lost.

    Raises:
        DatabaseUnavailable: it does not answer or takes no writes; it is as it was before.
    """
    with _configured(Database(url, head=None)) as config:
        command.downgrade(config, revision)


@contextmanager
def _configured(database: Database) -> Iterator[Config]:
    config = Config(attributes={"database": database})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    try:
        yield config
    except CommandError as exc:  # such as a revision that this version has never heard of
        raise DatabaseUnusable(f"the database cannot be migrated: {exc}") from exc
    finally:
        database.dispose()
