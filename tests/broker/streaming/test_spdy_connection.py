"""A SPDY connection whose process was paused: what is late there is not late for the client."""

import asyncio
from contextlib import suppress

import pytest

from broker.spdy import Connection, Role
from broker.streaming.spdy_connection import MAX_UNREAD, Inbox, SpdyConnection, SpdyStream
from tests.broker.waiting import eventually

STALL_TIMEOUT = 20.0


class Client:
    """The wire from a client that sends a stream with more than the inboxes hold."""

    def __init__(self) -> None:
        codec = Connection(Role.CLIENT)
        stream_id, opening = codec.open_stream({})
        self.is_read_again = asyncio.Event()
        self._sent = [opening + codec.send_data(stream_id, bytes(MAX_UNREAD + 1), fin=False)]

    async def read(self) -> bytes:
        if not self._sent:
            self.is_read_again.set()
            await asyncio.Event().wait()
        return self._sent.pop()

    async def write(self, _: bytes) -> None:
        pass

    def abort(self) -> None:
        pass


async def test_data_taken_after_a_pause_resets_no_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    resets: list[SpdyStream] = []

    def opened(stream: SpdyStream) -> bool:
        stream.inbox = Inbox(connection)
        stream.on_reset = lambda: resets.append(stream)
        return True

    def take() -> None:
        while inbox.unread:
            with suppress(StopIteration):
                inbox.get().send(None)

    client = Client()
    connection = SpdyConnection(client, opened, stall_timeout=STALL_TIMEOUT)
    async with connection:
        await eventually(lambda: sum(inbox.unread for inbox in connection.inboxes) > MAX_UNREAD)
        (inbox,) = connection.inboxes
        loop = asyncio.get_running_loop()
        resumed = loop.time() + STALL_TIMEOUT + 1
        with monkeypatch.context() as paused:
            paused.setattr(loop, "time", lambda: resumed)
            loop.call_soon(loop.call_soon, take)  # after the timer that is due
            await client.is_read_again.wait()
        assert resets == []
