"""Bytes that kubectl 1.32 and an API server 1.36 have sent to a kubelet that echoes."""

import json
from pathlib import Path

import pytest

from broker.spdy import DataReceived, Event, GoAwayReceived, StreamOpened, StreamReset
from tests.broker.spdy.peers import merged, receive, server

RECORDED = json.loads((Path(__file__).parent / "recorded.json").read_text())


def replay(name: str) -> list[Event]:
    return merged(receive(server(), *map(bytes.fromhex, RECORDED[name])))


def test_exec_opens_a_stream_for_each_kind() -> None:
    opened = [event for event in replay("exec by kubectl") if isinstance(event, StreamOpened)]
    assert opened == [
        StreamOpened(1, {"streamtype": "error"}),
        StreamOpened(3, {"streamtype": "stdin"}),
        StreamOpened(5, {"streamtype": "stdout"}),
        StreamOpened(7, {"streamtype": "stderr"}),
    ]


@pytest.mark.parametrize("name", ["exec by kubectl", "exec by the API server"])
def test_standard_input_is_closed_apart(name: str) -> None:
    assert [event for event in replay(name) if isinstance(event, DataReceived)] == [
        DataReceived(3, b"abc\nbye\n", fin=True)
    ]


def test_the_client_resets_streams_before_goaway() -> None:
    *_, first, second, third, last = replay("exec by the API server")
    assert {event.stream_id for event in (first, second, third) if isinstance(event, StreamReset)} == {1, 5, 7}
    assert last == GoAwayReceived(0, 0)


@pytest.mark.parametrize("name", ["port-forward by kubectl", "port-forward by the API server"])
def test_forwarded_connections_are_pairs_of_streams(name: str) -> None:
    events = replay(name)
    pairs = {(e.headers["requestid"], e.headers["streamtype"]) for e in events if isinstance(e, StreamOpened)}
    assert pairs == {("0", "error"), ("0", "data"), ("1", "error"), ("1", "data")}
    sent = sorted(e.data for e in events if isinstance(e, DataReceived) and e.data)
    assert sent == [b"one", b"two"]
    assert sum(isinstance(event, DataReceived) and event.fin for event in events) == 4


@pytest.mark.parametrize("name", RECORDED)
def test_events_are_the_same_byte_by_byte(name: str) -> None:
    whole = b"".join(map(bytes.fromhex, RECORDED[name]))
    assert merged(receive(server(), *(bytes([byte]) for byte in whole))) == merged(receive(server(), whole))
