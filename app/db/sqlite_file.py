"""The use of disk space by an SQLite file: the size of its write-ahead log, and its free pages."""

import os
from pathlib import Path

_PAGE_SIZE = slice(16, 18)
_FREE_PAGES = slice(36, 40)
_HEADER_BYTES = 100
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


def reusable_bytes(path: Path) -> int:
    """Return the size of the free pages in a database, as of its last checkpoint; 0 if it cannot be read.

    Source: "The Database Header" in the file format of SQLite. Deleted rows leave free pages, which are used again
    before the file grows.
    """
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except OSError:
        return 0
    page_size = int.from_bytes(header[_PAGE_SIZE])
    return int.from_bytes(header[_FREE_PAGES]) * (65536 if page_size == 1 else page_size)
