"""Logs of the stub providers, and a provider whose log a test writes line by line."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.stub_provider.server import Disconnect, ProviderServer, Reply, Request, json_reply

WRITTEN_AT = "2026-11-25T08:00:00Z"
"""Timestamp of every line of a log."""

PLAIN_TEXT = {"Content-Type": "text/plain; charset=utf-8"}

_NUMBERS = (("tail", r"-?\d+"), ("limitBytes", r"[1-9]\d*"), ("sinceSeconds", r"[1-9]\d*"))


def last_lines(log: str, tail: str | None) -> list[str]:
    """Return the last lines of a log; all lines if `tail` is None or negative."""
    lines = log.splitlines(keepends=True)
    return lines if tail is None or int(tail) < 0 else lines[max(len(lines) - int(tail), 0) :]


def invalid_option(query: dict[str, str]) -> str | None:
    """Return a message if the options of a log request are invalid, None if they are valid."""
    for name, pattern in _NUMBERS:
        if not re.fullmatch(pattern, query.get(name, "1")):
            return f"{name}: invalid number"
    if not query.get("sinceTime", "Z").endswith("Z") or {"sinceTime", "sinceSeconds"} <= query.keys():
        return "sinceTime: invalid"
    return "previous: no earlier run" if "previous" in query else None


def selected_log(log: str, query: dict[str, str]) -> bytes:
    """Return the part of a log that the options select."""
    since = query.get("sinceTime", WRITTEN_AT)
    lines = last_lines(log, query.get("tail")) if since <= WRITTEN_AT else []
    stamp = f"{WRITTEN_AT} " if "timestamps" in query else ""
    return "".join(f"{stamp}{line}" for line in lines).encode()[: int(query.get("limitBytes", 1 << 30))]


class LogProvider(ProviderServer):
    """Provider of scripted logs.

    Without `extensions` it implements only `tail`; with `extensions` it also streams a followed log.

    Attributes:
        log: output of the container.
        pods: response of `/getPods`.
        answer: status and body of `/getContainerLogs` instead of the log; None for the log.
        queries: queries of `/getContainerLogs`, in order.
        asked: set by every request of `/getContainerLogs`.
        left: set when a client disconnects before the end of a stream.
    """

    def __init__(self, *, extensions: bool = False) -> None:
        super().__init__()
        self.log = ""
        self.pods: list[dict[str, Any]] = []
        self.answer: tuple[int, str] | None = None
        self.queries: list[dict[str, str]] = []
        self.asked = asyncio.Event()
        self.left = asyncio.Event()
        self._extensions = extensions
        self._stream: asyncio.Queue[bytes | None] = asyncio.Queue()

    def write(self, text: bytes) -> None:
        """Send text to the followed stream."""
        self._stream.put_nowait(text)

    def break_off(self) -> None:
        """Abort the connection of the followed stream."""
        self._stream.put_nowait(None)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["LogProvider"]:
        """Serve for the duration of the block."""
        await self.start()
        try:
            yield self
        finally:
            await self.stop()

    async def respond(self, request: Request) -> Reply:
        """Return the response to a request."""
        if request.path == "/getContainerLogs":
            return self._logs(request.query)
        if request.path == "/getPods":
            return json_reply(self.pods)
        if request.path == "/podStatuses" and self._extensions:
            return json_reply({"revision": 1, "statuses": [], "deleted": []})
        return Reply(404)

    def _logs(self, query: dict[str, str]) -> Reply:
        self.queries.append(query)
        self.asked.set()
        if self.answer:
            return Reply(self.answer[0], self.answer[1].encode(), PLAIN_TEXT)
        if self._extensions and query.get("follow"):
            return Reply(200, self._follow())
        return Reply(200, "".join(last_lines(self.log, query.get("tail"))).encode(), PLAIN_TEXT)

    async def _follow(self) -> AsyncGenerator[bytes, None]:
        try:
            while (text := await self._stream.get()) is not None:
                yield text
        except (asyncio.CancelledError, GeneratorExit):
            self.left.set()
            raise
        raise Disconnect
