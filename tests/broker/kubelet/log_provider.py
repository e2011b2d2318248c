"""A provider whose logs a test writes, line by line."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web


class LogProvider:
    """One that knows `tail` alone; or, with `extensions`, one that streams.

    Attributes:
        log: what the container wrote.
        pods: what `/getPods` answers.
        answer: status and body of `/getContainerLogs` where these are not the log.
        queries: the queries of `/getContainerLogs`, in order.
        asked: set with each of them.
        left: set when a client has gone before a stream was at its end.
    """

    def __init__(self, *, extensions: bool = False) -> None:
        self.url = ""
        self.log = ""
        self.pods: list[dict[str, Any]] = []
        self.answer: tuple[int, str] | None = None
        self.queries: list[dict[str, str]] = []
        self.asked = asyncio.Event()
        self.left = asyncio.Event()
        self._extensions = extensions
        self._stream: asyncio.Queue[bytes | None] = asyncio.Queue()

    def write(self, text: bytes) -> None:
        """Have a stream that is followed go on."""
        self._stream.put_nowait(text)

    def break_off(self) -> None:
        """Have it end as if the provider had died."""
        self._stream.put_nowait(None)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["LogProvider"]:
        app = web.Application()
        app.router.add_get("/getContainerLogs", self._logs)
        app.router.add_get("/getPods", self._pods)
        if self._extensions:
            app.router.add_get("/podStatuses", self._statuses)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield self
        finally:
            await runner.cleanup()

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        query = dict(request.query)
        self.queries.append(query)
        self.asked.set()
        if self.answer:
            return web.Response(status=self.answer[0], text=self.answer[1])
        if self._extensions and query.get("follow"):
            return await self._follow(request)
        lines = self.log.splitlines(keepends=True)
        tail = int(query.get("tail", len(lines)))
        return web.Response(text="".join(lines[max(len(lines) - tail, 0) :]))

    async def _follow(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while (text := await self._stream.get()) is not None:
                await response.write(text)
        except asyncio.CancelledError:
            self.left.set()
            raise
        assert request.transport is not None
        request.transport.abort()
        return response

    async def _pods(self, _: web.Request) -> web.Response:
        return web.json_response(self.pods)

    async def _statuses(self, _: web.Request) -> web.Response:
        return web.json_response({"revision": 1, "statuses": [], "deleted": []})
