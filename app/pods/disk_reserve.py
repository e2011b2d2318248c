"""Disk space that is kept for deletions: below it the node has disk pressure and accepts no pods.

The problem: every write needs disk space, also a deletion, since the history is kept. On a full disk nothing could
be deleted.

The rule: creates and updates of pods are refused with 503 where they would leave less free space than
MIN_FREE_DISK; deletions, statuses and audit events use it. The condition DiskPressure and `/readyz` report the
shortage before the disk is full.

An example: the file system has 70 MiB free and MIN_FREE_DISK is 64 MiB. A pod of 1 MiB is accepted, one of 5 MiB
is refused: it takes twice its size, in SQLite's write-ahead log and in the database.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from app.core.clock import Clock
from app.core.errors import DatabaseUnavailable, DiskShortage
from app.core.quantity import parse_quantity
from app.core.timestamps import rfc3339
from app.db.engine import Database

_DEFAULT_BYTES = 64 * 1024**2
_DEFAULT_SHARE = 10
_COPIES = 2
_MEBIBYTE = 1024**2


class _Place(NamedTuple):
    """A path that is written to, and its name in messages."""

    path: Path
    name: str


class DiskReserve:
    """Compares the free disk space of a node with MIN_FREE_DISK.

    It measures the file systems of the SQLite database and of the runtime's directories. PostgreSQL is not
    measured: its disk may be on another machine.

    Args:
        directories: those that the runtime writes to.
        minimum: MIN_FREE_DISK, a quantity; None for the default.
    """

    def __init__(
        self, database: Database, directories: Sequence[Path], *, minimum: str | None, clock: Clock
    ) -> None:
        self._minimum = None if minimum is None else int(parse_quantity(minimum))
        self._database = database
        self._places = [_Place(path, "the runtime directory") for path in directories]
        if database.is_sqlite:
            self._places.append(_Place(database.path.parent, "the database"))
        self._clock = clock
        self._changed_at: datetime | None = None
        self._shortage: str | None = None

    def check(self, size: int = 0) -> None:
        """Check that a pod can be stored.

        Args:
            size: the size of the pod, in bytes.

        Raises:
            DiskShortage: less than MIN_FREE_DISK would be left.
        """
        if message := next(self._shortages(size * _COPIES), None):
            raise DiskShortage(message)

    def with_pressure(self, conditions: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return node conditions in which DiskPressure is True while there is a shortage. Never fails.

        Each process sees the beginning and the end of a shortage when it is asked for the conditions. The message
        is that of the beginning: one that changes with the free space would be a change of the Node each time.
        """
        shortage = next(self._shortages(0), None)
        if (self._shortage is None) != (shortage is None):
            self._shortage, self._changed_at = shortage, self._clock()
        if self._changed_at is None:
            return conditions
        changed = {"lastTransitionTime": rfc3339(self._changed_at)}
        if self._shortage:
            changed |= {"status": "True", "reason": "ProviderHasDiskPressure", "message": self._shortage}
        return [{**c, **changed} if c["type"] == "DiskPressure" else c for c in conditions]

    def _shortages(self, needed: int) -> Iterator[str]:
        for path, name in self._places:
            try:
                disk = os.statvfs(path)
            except OSError:  # requests that need the path report it
                continue
            free = disk.f_bavail * disk.f_frsize
            minimum = self._minimum
            if minimum is None:
                minimum = min(_DEFAULT_BYTES, disk.f_blocks * disk.f_frsize // _DEFAULT_SHARE)
            if free - needed < minimum and self._database.is_sqlite and path == self._database.path.parent:
                free += self._reusable_bytes()
            if free - needed < minimum:
                more = f", {_mebibytes(needed)} needed" if needed else ""
                yield f"the disk of {name} has {_mebibytes(free)} free, {_mebibytes(minimum)} reserved{more}"

    def _reusable_bytes(self) -> int:
        with suppress(DatabaseUnavailable):  # requests that need the database report it
            return self._database.free_bytes()
        return 0


def _mebibytes(size: int) -> str:
    return f"{size / _MEBIBYTE:.1f} MiB"
