"""The pool of connections, with a server whose bytes each test scripts."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from broker.kubernetes import http
from broker.kubernetes.http import ConnectionLost, HttpPool

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(script: Script, *, connections: int = 4) -> AsyncIterator[HttpPool]:
    """Yield a pool of a server that runs a script on each connection, and then closes it."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await script(reader, writer)
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    pool = HttpPool(f"http://127.0.0.1:{port}/base", headers={"Accept": "x"}, connections=connections)
    try:
        yield pool
    finally:
        pool.close()
        server.close()


class Server:
    """Scripts, and the heads of the requests that they have received."""

    def __init__(self, *responses: bytes) -> None:
        self.responses = responses
        self.requests: list[bytes] = []
        self.connections = 0

    async def answer_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer each request with the next response, the last one again and again."""
        self.connections += 1
        while True:
            await self.read(reader)
            writer.write(self.responses[min(len(self.requests), len(self.responses)) - 1])

    async def answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request, and close the connection when the next one arrives."""
        self.connections += 1
        await self.read(reader)
        writer.write(self.responses[0])
        await self.read(reader)

    async def read(self, reader: asyncio.StreamReader) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next((int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:")), 0)
        self.requests.append(head + await reader.readexactly(length))


async def test_a_request_has_headers_and_body() -> None:
    server = Server(b"HTTP/1.1 429 X\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n")
    async with serving(server.answer_all) as pool:
        assert await pool.request("POST", "/a b?c=d%20e", {"X-A": "1"}, b"{}") == (429, "7", b"")
    (request,) = server.requests
    assert request.startswith(b"POST /base/a%20b?c=d%20e HTTP/1.1\r\nHost: 127.0.0.1:")
    assert request.endswith(b"\r\nAccept: x\r\nX-A: 1\r\nContent-Length: 2\r\n\r\n{}")


async def test_a_name_adds_no_header() -> None:
    server = Server(OK)
    async with serving(server.answer_all) as pool:
        await pool.request("GET", "/a HTTP/1.1\r\nX: y", {})
    assert server.requests[0].startswith(b"GET /base/a%20HTTP/1.1%0D%0AX:%20y HTTP/1.1\r\nHost")


async def test_a_connection_is_used_again() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n"
    server = Server(OK, chunked, OK)
    async with serving(server.answer_all) as pool:
        bodies = [(await pool.request("GET", "/", {})).body for _ in range(3)]
    assert bodies == [b"ok", b"abcd", b"ok"]
    assert server.connections == 1


async def test_a_closing_server_gets_a_new_connection() -> None:
    server = Server(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
    async with serving(server.answer_all) as pool:
        for _ in range(3):
            assert (await pool.request("POST", "/", {})).body == b"ok"
    assert server.connections == 3


async def test_a_stale_connection_is_replaced() -> None:
    server = Server(OK)
    async with serving(server.answer_one) as pool:
        for _ in range(2):
            assert (await pool.request("GET", "/", {})).body == b"ok"
    assert (server.connections, len(server.requests)) == (2, 3)


async def test_a_create_is_not_repeated() -> None:
    server = Server(OK)
    async with serving(server.answer_one) as pool:
        await pool.request("POST", "/", {})
        with pytest.raises(ConnectionLost):
            await pool.request("POST", "/", {})
    assert len(server.requests) == 2


@pytest.mark.parametrize("response", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", b"SSH-2.0-x\r\n"])
async def test_an_incomplete_response_is_an_error(response: bytes) -> None:
    server = Server(response)

    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read(reader)
        writer.write(response)

    async with serving(break_off) as pool:
        with pytest.raises(ConnectionLost):
            await pool.request("GET", "/", {})
    assert len(server.requests) == 1


async def test_further_requests_wait_for_a_connection() -> None:
    server = Server(OK)
    async with serving(server.answer_all, connections=2) as pool:
        responses = await asyncio.gather(*(pool.request("GET", "/", {}) for _ in range(7)))
    assert {response.body for response in responses} == {b"ok"}
    assert server.connections <= 2


async def test_a_cancelled_request_closes_its_connection() -> None:
    received, closed = asyncio.Event(), asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        received.set()
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await reader.readexactly(1)
        closed.set()

    async with serving(hang, connections=1) as pool:
        request = asyncio.create_task(pool.request("GET", "/", {}))
        await received.wait()
        request.cancel()
        await closed.wait()


async def test_an_idle_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_IDLE", 0)
    closed = asyncio.Event()
    server = Server(OK)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await server.answer_all(reader, writer)
        finally:
            closed.set()

    async with serving(answer) as pool:
        await pool.request("GET", "/", {})
        await closed.wait()
        await pool.request("GET", "/", {})
    assert server.connections == 2


async def test_unrequested_bytes_close_the_connection() -> None:
    server = Server(OK + OK, OK)
    async with serving(server.answer_all) as pool:
        assert (await pool.request("GET", "/", {})).body == b"ok"
        assert (await pool.request("GET", "/", {})).body == b"ok"
    assert server.connections == 2
