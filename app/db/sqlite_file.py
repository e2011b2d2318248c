"""The size of an SQLite file's write-ahead log."""

import os
from pathlib import Path

_DEFAULT_PAGE_BYTES = 4096
_MAX_WAL_PAGES = 4000
"""16 MB: a page changed by many writes is copied into the database once."""
_WAL_SHARE = 40


def wal_pragmas(path: Path) -> tuple[str, ...]:
    """Return the pragmas that limit the write-ahead log to 16 MB, and to a fortieth of its file system.

    The pages of the log need the same space again when they are copied into the database. The log keeps its size:
    a deletion on a full disk can use it.
    """
    disk = os.statvfs(path.parent)
    pages = disk.f_blocks * disk.f_frsize // _WAL_SHARE // _DEFAULT_PAGE_BYTES
    pages = max(1, min(_MAX_WAL_PAGES, pages))
    return f"wal_autocheckpoint = {pages}", f"journal_size_limit = {pages * _DEFAULT_PAGE_BYTES}"
