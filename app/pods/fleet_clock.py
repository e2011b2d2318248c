"""The time of a fleet, which never goes back and always advances.

The problem: the clock of the machine was two hours ahead during one write and is right again. Times of that write
are stored, published and audited, and no later time may be before them. A fleet that waits until the clock has
caught up changes no status for two hours. The same readings occur if the stored times are right and the clock is
now two hours behind, so stored times cannot be corrected: nothing tells which of the two is wrong.

The rule: while the clock is behind the last published time (`fleets.settled_at`), the fleet's time continues from
there at half the speed of the clock, until the clock has caught up. Otherwise it is the time of the clock.

An example: a write at 12:00 by a clock that was two hours ahead. At 10:00 the clock is right. The fleet's time is
12:00 then, 12:30 at 11:00, and equal to the clock from 14:00 on. If the clock was two hours behind instead, the
fleet's time is equal to it as soon as it is right.
"""

import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import structlog
from sqlalchemy import bindparam, select

from app.core.clock import Clock
from app.core.errors import DatabaseUnavailable
from app.db.engine import Database
from app.db.models import Fleet
from app.db.statement import Statement

_REFRESH_SECONDS = 1.0
_SLOWDOWN = 2
_NOTEWORTHY = timedelta(seconds=10)
"""Replicas whose clocks differ by less are normal, and are not logged."""

_SELECT_SETTLED_AT = Statement(select(Fleet.settled_at).where(Fleet.name == bindparam("fleet")))
_LONG_AGO = datetime.min.replace(tzinfo=UTC)

log = structlog.get_logger("app")


class _Anchor(NamedTuple):
    """A time of the fleet, and the time of the clock at which it was that."""

    fleet: datetime
    clock: datetime


class FleetClock:
    """Returns the time of a fleet.

    Processes that share the database agree to within one second: each reads the last published time again after
    that long, when its clock goes back, and in every transaction that writes.

    Args:
        clock: returns the current time of the system in UTC.
    """

    def __init__(self, database: Database, fleet: str, *, clock: Clock) -> None:
        self.system = clock
        self._database = database
        self._fleet_name = fleet
        self._anchor: _Anchor | None = None
        self._refresh_at = 0.0
        self._last_clock = _LONG_AGO

    def __call__(self) -> datetime:
        """Return the time of the fleet. Must not be called while a connection to the database is held."""
        clock = self.system()
        if clock < self._last_clock or time.monotonic() >= self._refresh_at:
            self._refresh_at = time.monotonic() + _REFRESH_SECONDS
            with suppress(DatabaseUnavailable):  # the caller, who reads next, raises it
                self._refresh()
        self._last_clock = clock
        return self._now(clock)

    @property
    def is_ahead(self) -> bool:
        """Whether the fleet's time is ahead of the clock."""
        return self._anchor is not None

    def follow(self, settled_at: datetime) -> datetime:
        """Return the time of the fleet, which is not before a time that was published."""
        self._last_clock = clock = self.system()
        now = self._now(clock)
        if now >= settled_at:
            return now
        if self._anchor is None and settled_at - clock > _NOTEWORTHY:
            log.warning("the clock is behind the record", seconds=(settled_at - clock).total_seconds())
        self._anchor = _Anchor(settled_at, clock)
        return settled_at

    def _now(self, clock: datetime) -> datetime:
        if self._anchor is None:
            return clock
        elapsed = max(timedelta(0), clock - self._anchor.clock)
        now = self._anchor.fleet + elapsed / _SLOWDOWN
        if clock < now:
            return now
        self._anchor = None
        return clock

    def _refresh(self) -> None:
        with self._database.read() as connection:
            row = _SELECT_SETTLED_AT.first(connection, fleet=self._fleet_name)
        if row:
            self.follow(row.settled_at)
