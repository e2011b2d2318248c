"""A provider of streams whose sessions a test scripts."""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiohttp import WSMsgType, web

SUCCESS = b'{"metadata":{},"status":"Success"}'

Socket = web.WebSocketResponse
Script = Callable[[Socket], Awaitable[None]]


def exit_status(code: int) -> bytes:
    """Return the status of a command that has ended with this code."""
    if code == 0:
        return SUCCESS
    cause = {"reason": "ExitCode", "message": str(code)}
    message = f"command terminated with non-zero exit code: exit status {code}"
    return json.dumps(
        {
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": "NonZeroExitCode",
            "details": {"causes": [cause]},
        }
    ).encode()


async def echo(socket: Socket) -> None:
    """Return standard input on standard output, and end successfully at its end."""
    async for message in socket:
        if message.data == b"\xff\x00":
            break
        if message.data[:1] == b"\x00":
            await socket.send_bytes(b"\x01" + message.data[1:])
    await socket.send_bytes(b"\x03" + SUCCESS)


async def print_and_exit(socket: Socket, *, code: int) -> None:
    """Write a line, and end with an exit code."""
    await socket.send_bytes(b"\x01out\n")
    await socket.send_bytes(b"\x03" + exit_status(code))


class StreamProvider:
    """A provider with the extension `streams`.

    Attributes:
        url: URL of the provider.
        extensions: the answer to `/extensions`.
        script: what a session does.
        refusal: status and body of the answer to each request for a session; None: the upgrade.
        requests: path, query and subprotocols of each request for a session.
        open: number of sessions in progress.
    """

    def __init__(self) -> None:
        self.url = ""
        self.extensions: dict[str, int] = {"streams": 1}
        self.script: Script = echo
        self.refusal: tuple[int, str] | None = None
        self.requests: list[tuple[str, list[tuple[str, str]], str]] = []
        self.open = 0

    async def _extensions(self, _: web.Request) -> web.Response:
        return web.json_response(self.extensions)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        protocols = request.headers.get("Sec-WebSocket-Protocol", "")
        self.requests.append((request.path, list(request.query.items()), protocols))
        if self.refusal:
            return web.Response(status=self.refusal[0], text=self.refusal[1])
        socket = Socket(protocols=["v5.channel.k8s.io"], compress=False, max_msg_size=32 << 20)
        await socket.prepare(request)
        self.open += 1
        try:
            with suppress(ConnectionError):
                await self.script(socket)
        finally:
            self.open -= 1
        return socket

    @asynccontextmanager
    async def running(self) -> AsyncGenerator["StreamProvider", None]:
        """Serve on a free port for the duration of the block."""
        app = web.Application()
        app.router.add_get("/extensions", self._extensions)
        for path in ("/exec", "/attach", "/portForward"):
            app.router.add_get(path, self._serve)
        runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1, max_line_size=1 << 20
        )
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()


async def until_closed(socket: Socket) -> Any:
    """Read until the other side has closed the WebSocket; return what it has sent last."""
    last = None
    async for message in socket:
        if message.type is WSMsgType.BINARY:
            last = message.data
    return last
