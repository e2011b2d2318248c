"""The end of a session."""

import asyncio
import socket

import pytest

from app.runtimes import StreamOptions, start_command
from app.web.streams import copier
from app.web.streams.copier import Copier, Ending, Outcome

_CLOSE_FRAME = b"\x88\x80mask"


def connected() -> tuple[socket.socket, socket.socket]:
    """Return a connection of a client that holds little of what it has not read, and the provider's end."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 200_000)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(listener.getsockname())
        return client, listener.accept()[0]


async def held_up() -> tuple[socket.socket, asyncio.Task[Ending]]:
    """Copy the output of a command until it waits for the client; return the client's end and the copying."""
    client, ours = connected()
    session = start_command(["head", "-c", "60000", "/dev/zero"], StreamOptions(stdout=True))
    copying = Copier(ours, session)
    running = asyncio.create_task(copying.run())
    while not copying._waited:
        await asyncio.wait([running], timeout=0.01)
    return client, running


async def test_a_client_may_pause_before_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pagers do so for minutes, after which the kernel discards what a closed connection has not sent."""
    monkeypatch.setattr(copier, "_CLOSE_SECONDS", 0.01)
    async with asyncio.timeout(30):
        client, running = await held_up()
        assert not (await asyncio.wait([running], timeout=0.3))[0]
        reader, writer = await asyncio.open_connection(sock=client)
        writer.write(_CLOSE_FRAME)
        assert b'"status":"Success"' in await reader.read(-1)
        assert (await running).outcome is Outcome.EXITED
    writer.close()


async def test_a_client_that_leaves_unread_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copier, "_WATCH_SECONDS", 0.01)
    async with asyncio.timeout(30):
        client, running = await held_up()
        client.close()
        await running
