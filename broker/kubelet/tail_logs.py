"""Logs from a provider that knows `tail` and nothing else: what kubectl asks for beyond that is made of it.

Following is asking again. A log has no line numbers, so what is new is found by where the lines of before end
among the lines of now. Times are there only where lines begin with them; where not, what needs them is refused.
"""

import asyncio
import io
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from http import HTTPStatus

import structlog

from broker.kubelet.log_options import LogOptions, LogsError
from broker.kubernetes.objects import from_time
from broker.provider import Provider, ProviderRefused, ProviderUnavailable

log = structlog.get_logger()

ALL = 2**31 - 1
"""How many lines are all of them: not every provider knows a `tail` that is missing or negative."""

WINDOW = 2000
"""How many lines a follower keeps, and asks for at first: those of before tell which of now are new."""

INTERVAL = 1.0
"""Seconds from one question of a follower to the next."""

_TIME = re.compile(rb"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})\s")


class TailLogs:
    """The logs of a container.

    Args:
        provider: where they come from.
        container: namespace, name of the pod, name of the container.
        run: tells which run of the container is under way; None: it has ended.
    """

    def __init__(
        self, provider: Provider, container: tuple[str, str, str], run: Callable[[], object | None]
    ) -> None:
        self._provider = provider
        self._container = container
        self._run = run

    @asynccontextmanager
    async def open(self, options: LogOptions, now: datetime) -> AsyncGenerator[AsyncIterator[bytes], None]:
        """Give the logs, piece by piece.

        Args:
            options: what is asked for; `limit_bytes` is left to the caller.
            now: what `since_seconds` counts back from.

        Raises:
            LogsError: it cannot be done with this provider.
            ProviderError: the provider does not give them.
        """
        if options.previous:
            raise LogsError("previous: the provider of this node keeps no logs of earlier runs")
        wanted = ALL if options.tail is None else options.tail
        since = now - timedelta(seconds=options.since_seconds) if options.since_seconds else options.since_time
        if not (options.follow or options.timestamps or since):
            async with self._provider.logs(*self._container, tail=str(wanted)) as chunks:
                yield chunks
            return
        run, place = self._run(), Place()
        follow = options.follow and run is not None
        size = max(wanted, WINDOW) if follow else wanted
        lines = place.move(await self._read(size), whole=True, ended=not follow) or []
        lines = lines[len(lines) - min(wanted, len(lines)) :]
        if (options.timestamps or since) and lines and time_of(lines[0]) is None:
            raise LogsError("timestamps, since: the provider of this node does not tell when a line was written")
        if since:
            lines = lines_since(lines, since)
        yield self._follow(run, place, lines) if follow else _once(lines)

    async def _follow(self, run: object, place: "Place", lines: list[bytes]) -> AsyncIterator[bytes]:
        """Give these lines and those that come, until the run has ended and its last lines are given."""
        ended = False
        while True:
            if lines:
                yield b"".join(lines)
            if ended:
                return
            await asyncio.sleep(INTERVAL)
            ended = self._run() != run  # asked first: the lines that are read next have all that it wrote
            try:
                lines = await self._new_lines(place, ended=ended)
            except ProviderUnavailable as exc:
                if ended:
                    raise
                log.info("could not follow a log for now", error=str(exc))
                lines = []
            except ProviderRefused as exc:
                if exc.code != HTTPStatus.NOT_FOUND:
                    raise
                return  # with the pod, its log has gone

    async def _new_lines(self, place: "Place", *, ended: bool) -> list[bytes]:
        size = WINDOW
        while True:
            lines = await self._read(size)
            new = place.move(lines, whole=len(lines) < size, ended=ended)
            if new is not None:
                return new
            size *= 2

    async def _read(self, count: int) -> list[bytes]:
        async with self._provider.logs(*self._container, tail=str(count)) as chunks:
            return io.BytesIO(b"".join([chunk async for chunk in chunks])).readlines()


async def _once(lines: list[bytes]) -> AsyncIterator[bytes]:
    yield b"".join(lines)


class Place:
    """How far into a log a follower has come."""

    def __init__(self) -> None:
        self._before: list[bytes] = []
        self._unsettled = b""

    def move(self, lines: list[bytes], *, whole: bool, ended: bool) -> list[bytes] | None:
        """Go to the end of the log.

        A last line without its end may be half written: it waits until it has an end or stays as it is.

        Args:
            lines: the last lines of the log, each with its end.
            whole: there are none before these.
            ended: nothing will be written any more.

        Returns:
            The lines that are new; None where these do not go back far enough to tell.
        """
        unsettled = b""
        if lines and not lines[-1].endswith(b"\n"):
            *lines, unsettled = lines
            if ended or unsettled == self._unsettled:
                lines.append(unsettled + b"\n")
        new = lines_after(self._before, lines)
        if new is None:
            if not whole:
                return None
            new = lines  # the first ones, or those of a log begun anew
        self._before, self._unsettled = lines[-WINDOW:], unsettled
        return new


def lines_after(before: list[bytes], now: list[bytes]) -> list[bytes] | None:
    """Take what follows the longest end of `before` that `now` begins with; None where it begins with none."""
    for size in range(min(len(before), len(now)), 0, -1):
        if before[-size] == now[0] and before[-size:] == now[:size]:
            return now[size:]
    return None


def lines_since(lines: list[bytes], time: datetime) -> list[bytes]:
    """Take the lines from a time on; a line that begins with no time belongs to the one before it."""
    for number, line in enumerate(lines):
        if (written := time_of(line)) and written >= time:
            return lines[number:]
    return []


def time_of(line: bytes) -> datetime | None:
    """Read the time that a line begins with, as those of a container runtime do; None where there is none."""
    match = _TIME.match(line)
    try:
        return from_time(line[: match.end()].decode().strip()) if match else None
    except ValueError:
        return None
