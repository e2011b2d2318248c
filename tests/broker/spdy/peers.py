"""Connections and frames of a SPDY peer."""

import struct
from collections.abc import Iterable

from broker.spdy import Connection, DataReceived, Event, Role


def server() -> Connection:
    return Connection(Role.SERVER)


def client() -> Connection:
    return Connection(Role.CLIENT)


def receive(connection: Connection, *chunks: bytes) -> list[Event]:
    return [event for chunk in chunks for event in connection.receive(chunk)]


def merged(events: Iterable[Event]) -> list[Event]:
    """Join adjacent data of a stream: where a frame is cut depends on the chunks."""
    result: list[Event] = []
    for event in events:
        last = result[-1] if result else None
        if (
            isinstance(event, DataReceived)
            and isinstance(last, DataReceived)
            and last.stream_id == event.stream_id
            and not last.fin
        ):
            result[-1] = DataReceived(event.stream_id, last.data + event.data, event.fin)
        else:
            result.append(event)
    return result


def control_frame(kind: int, body: bytes, *, flags: int = 0, version: int = 3) -> bytes:
    return struct.pack(">HHI", 0x8000 | version, kind, flags << 24 | len(body)) + body


def data_frame(stream_id: int, data: bytes, *, flags: int = 0) -> bytes:
    return struct.pack(">II", stream_id, flags << 24 | len(data)) + data
