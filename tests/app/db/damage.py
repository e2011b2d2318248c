"""Damages of an SQLite file."""

import os
from collections.abc import Callable
from pathlib import Path

WAL_FORMAT = 2
NEWER_FORMAT = 3


def set_write_version(file: Path, version: int) -> None:
    """Set the write version in the file header. SQLite opens a newer version read-only."""
    with file.open("r+b") as stream:
        stream.seek(18)
        stream.write(bytes([version]))


Damage = Callable[[Path], None]


def overwrite(file: Path) -> None:
    file.write_bytes(b"Dear diary, " * 10_000)


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def scramble(file: Path) -> None:
    """Overwrite everything after the first page, which identifies the file."""
    content = file.read_bytes()
    file.write_bytes(content[:4096] + b"\xa5" * (len(content) - 4096))


DAMAGES: dict[Damage, str] = {
    overwrite: "the database file is not an SQLite database",
    truncate: "the database file is damaged",
    scramble: "the database file is damaged",
}
"""Damages of a file, with the expected message."""
