"""The time that a page shows: now, a point in time, or a range.

The parameters of every page: `at` is a point in time; `from` and `to` are a range. `from` is a time, or a duration
before the end of the range: `from=6h`, `from=7d`. Without `to`, the range ends now, and the page is live. The node
is shown at that point, else at the end of the range.
See docs/decisions/0071-times-in-the-urls-of-the-dashboard.md.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, NamedTuple, Self

from flask import g
from pydantic import BeforeValidator, Field

from app.core.errors import InvalidRequest
from app.core.timestamps import parse_duration
from app.services import get_services
from app.web.query import Query, TimeUtc, parse_time_utc
from app.web.ui.formats import iso, span

PARAMETERS = ("at", "from", "to")
"""The parameters that links keep from page to page."""
DEFAULT_WINDOW = timedelta(hours=1)
_FIRST = datetime(1970, 1, 1, tzinfo=UTC)
_UNIT = re.compile(r"[a-y]\Z")
_DAYS = re.compile(r"([0-9]{1,9})d")


def _start(value: str) -> datetime | timedelta | None:
    text = value.strip()
    if not text or not _UNIT.search(text):
        return parse_time_utc(value)
    try:
        duration = parse_duration(_DAYS.sub(lambda days: f"{int(days[1]) * 24}h", text))
    except ValueError:
        duration = timedelta(0)
    if duration <= timedelta(0):
        raise ValueError("must be a time such as 2026-11-22T08:46:38, or a duration such as 6h")
    return duration


class ShownTime(NamedTuple):
    """The time that a page shows.

    Attributes:
        now: the time of the node.
        at: the time of the shown state; None while the page is live.
        start: the begin of the range; None without one.
        span: the length of a range whose begin moves with its end; None without one.
    """

    now: datetime
    at: datetime | None
    start: datetime | None
    span: timedelta | None = None

    @property
    def end(self) -> datetime:
        """The time of the shown state, which is now while the page is live."""
        return self.at or self.now

    @property
    def window(self) -> tuple[datetime, datetime]:
        """The range, else the hour up to the shown time."""
        return self.start or self.end - DEFAULT_WINDOW, self.end

    @property
    def window_parameters(self) -> dict[str, str | None]:
        """The parameters of a URL that turn the window into a range; none where it is one."""
        if self.start:
            return {}
        return {"at": None, "from": span(DEFAULT_WINDOW), "to": iso(self.at) if self.at else None}


class PageQuery(Query):
    """The parameters of every page.

    Attributes:
        at: the point in time to show.
        start: the begin of the range: `from` in the URL.
        end: the end of the range: `to` in the URL.
    """

    at: TimeUtc = None
    start: Annotated[datetime | timedelta | None, BeforeValidator(_start)] = Field(None, alias="from")
    end: TimeUtc = Field(None, alias="to")

    @classmethod
    def from_request(cls) -> Self:
        """Parse the query string, and keep the shown time for the template.

        Raises:
            InvalidRequest: a parameter is missing or invalid, or a time is in the future.
        """
        query = super().from_request()
        g.shown = query._shown(get_services().clock())
        return query

    @property
    def shown(self) -> ShownTime:
        """The time that the page shows."""
        found: ShownTime = g.shown
        return found

    def _shown(self, now: datetime) -> ShownTime:
        for field, time in (("at", self.at), ("from", self.start), ("to", self.end)):
            if isinstance(time, datetime) and time > now:
                raise InvalidRequest("must not be in the future", field=field)
            if isinstance(time, datetime) and time < _FIRST:
                raise InvalidRequest("must not be before 1970", field=field)
        if self.at and (self.start or self.end):
            raise InvalidRequest("must not be combined with from and to", field="at")
        if self.end and not self.start:
            raise InvalidRequest("required with to", field="from")
        if isinstance(self.start, timedelta):
            return ShownTime(now, self.end, (self.end or now) - self.start, self.start)
        if self.start and self.start >= (self.end or now):
            raise InvalidRequest("must be before to", field="from")
        return ShownTime(now, self.at or self.end, self.start)
