"""The schema revision that this version needs.

It is read from the names of the migrations. Alembic, which reads their contents, would take 10 MB of each process
that serves.
"""

from functools import cache
from pathlib import Path

MIGRATIONS = Path(__file__).parents[2] / "migrations"


@cache
def head() -> str:
    """Return the revision of the last migration, whose file is named `NNNN_….py`."""
    return max(path.name for path in (MIGRATIONS / "versions").glob("[0-9]*.py")).partition("_")[0]
