"""The other log options for a provider that supports `tail` only.

A log is followed by reading its last lines again and again. Lines have no numbers, so the new lines are found by
overlap: the longest suffix of the previous lines that the present lines begin with. After the lines `a b c` and
then `b c d`, the overlap is `b c`, and `d` is new. Without an overlap, more lines are read.

`timestamps` and `since` need lines that begin with a time, and are refused for other logs.
"""

import asyncio
import io
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from http import HTTPStatus

import structlog

from broker.errors import ProviderRefused, ProviderUnavailable
from broker.kubelet.log_options import LogOptions, LogsError
from broker.kubernetes.objects import from_time
from broker.provider import ProviderClient

log = structlog.get_logger()

ALL = 2**31 - 1
"""Value of `tail` for a whole log: not every provider accepts a missing or negative `tail`."""

WINDOW = 2000
"""Number of lines that a follower keeps, and reads at first, to find the overlap."""

INTERVAL = 1.0
"""Seconds between two reads of a followed log."""

_TIME = re.compile(rb"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})\s")


class TailLogs:
    """The log of a container.

    Args:
        provider: client of the provider.
        container: namespace, name of the pod, name of the container.
        run: returns the identity of the container's current run; None after its end.
    """

    def __init__(
        self, provider: ProviderClient, container: tuple[str, str, str], run: Callable[[], object | None]
    ) -> None:
        self._provider = provider
        self._container = container
        self._run = run

    @asynccontextmanager
    async def open(self, options: LogOptions, now: datetime) -> AsyncGenerator[AsyncIterator[bytes], None]:
        """Yield the log in chunks.

        Args:
            options: options of the request; `limit_bytes` is applied by the caller.
            now: current time, for `since_seconds`.

        Raises:
            LogsError: an option is not supported with this provider.
            ProviderError: the log could not be read.
        """
        if options.previous:
            raise LogsError("previous: not supported by the provider of this node")
        wanted = ALL if options.tail is None else options.tail
        since = now - timedelta(seconds=options.since_seconds) if options.since_seconds else options.since_time
        if not (options.follow or options.timestamps or since):
            async with self._provider.logs(*self._container, tail=str(wanted)) as chunks:
                yield chunks
            return
        run, position = self._run(), LogPosition()
        follow = options.follow and run is not None
        size = max(wanted, WINDOW) if follow else wanted
        lines = position.move(await self._read(size), whole=True, ended=not follow) or []
        lines = lines[len(lines) - min(wanted, len(lines)) :]
        if (options.timestamps or since) and lines and time_of(lines[0]) is None:
            raise LogsError("timestamps, since: the log of this container has no times")
        if since:
            lines = lines_since(lines, since)
        yield self._follow(run, position, lines) if follow else _once(lines)

    async def _follow(self, run: object, position: "LogPosition", lines: list[bytes]) -> AsyncIterator[bytes]:
        """Yield lines and each new line, until the run of the container has ended and its log is complete."""
        ended = False
        while True:
            if lines:
                yield b"".join(lines)
            if ended:
                return
            await asyncio.sleep(INTERVAL)
            ended = self._run() != run  # before the read, which then contains the whole log of an ended run
            try:
                lines = await self._new_lines(position, ended=ended)
            except ProviderUnavailable as exc:
                if ended:
                    raise
                log.info("log not read; retried", error=str(exc))
                lines = []
            except ProviderRefused as exc:
                if exc.code != HTTPStatus.NOT_FOUND:
                    raise
                return  # the log was deleted with the pod

    async def _new_lines(self, position: "LogPosition", *, ended: bool) -> list[bytes]:
        size = WINDOW
        while True:
            lines = await self._read(size)
            new = position.move(lines, whole=len(lines) < size, ended=ended)
            if new is not None:
                return new
            size *= 2

    async def _read(self, count: int) -> list[bytes]:
        async with self._provider.logs(*self._container, tail=str(count)) as chunks:
            return io.BytesIO(b"".join([chunk async for chunk in chunks])).readlines()


async def _once(lines: list[bytes]) -> AsyncIterator[bytes]:
    yield b"".join(lines)


class LogPosition:
    """Position of a follower in a log."""

    def __init__(self) -> None:
        self._before: list[bytes] = []
        self._incomplete = b""

    def move(self, lines: list[bytes], *, whole: bool, ended: bool) -> list[bytes] | None:
        """Advance to the end of the log.

        A last line without a line break may be incomplete: it is held back until it has one, or is read unchanged.

        Args:
            lines: the last lines of the log, each with its line break.
            whole: whether these are all lines of the log.
            ended: whether the log is complete.

        Returns:
            The new lines; None where there is no overlap, and more lines have to be read.
        """
        incomplete = b""
        if lines and not lines[-1].endswith(b"\n"):
            *lines, incomplete = lines
            if ended or incomplete == self._incomplete:
                lines.append(incomplete + b"\n")
        new = lines_after(self._before, lines)
        if new is None:
            if not whole:
                return None
            new = lines  # the first read, or a truncated log
        self._before, self._incomplete = lines[-WINDOW:], incomplete
        return new


def lines_after(before: list[bytes], now: list[bytes]) -> list[bytes] | None:
    """Return the lines of `now` after its overlap with `before`; None without an overlap."""
    for size in range(min(len(before), len(now)), 0, -1):
        if before[-size] == now[0] and before[-size:] == now[:size]:
            return now[size:]
    return None


def lines_since(lines: list[bytes], time: datetime) -> list[bytes]:
    """Return the lines from a time on; a line without a time belongs to the line before it."""
    for number, line in enumerate(lines):
        if (written := time_of(line)) and written >= time:
            return lines[number:]
    return []


def time_of(line: bytes) -> datetime | None:
    """Return the time at the start of a line, as written by container runtimes; None without one."""
    match = _TIME.match(line)
    try:
        return from_time(line[: match.end()].decode().strip()) if match else None
    except ValueError:
        return None
