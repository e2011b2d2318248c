import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from broker.spdy import (
    Connection,
    DataReceived,
    Event,
    GoAwayReceived,
    GoAwayStatus,
    HeadersReceived,
    LocalProtocolError,
    PingReceived,
    ProtocolError,
    ResetStatus,
    StreamOpened,
    StreamReplied,
    StreamReset,
)
from broker.spdy.connection import MAX_CONTROL_FRAME, MAX_DATA_FRAME
from broker.spdy.headers import HeaderWriter
from tests.broker.spdy.peers import client, control_frame, data_frame, merged, receive, server

SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9


def connected() -> tuple[Connection, Connection]:
    """Return client and server with stream 1, accepted."""
    ours, theirs = client(), server()
    stream_id, syn = ours.open_stream({"streamtype": "data"})
    receive(theirs, syn)
    receive(ours, theirs.reply(stream_id))
    return ours, theirs


def syn_stream(stream_id: int, *, flags: int = 0) -> bytes:
    body = struct.pack(">IIBB", stream_id, 0, 0, 0) + HeaderWriter().write({"a": "b"})
    return control_frame(SYN_STREAM, body, flags=flags)


def test_both_sides_open_streams() -> None:
    ours, theirs = client(), server()
    frames = [ours.open_stream({"port": "80"})[1], ours.open_stream({"port": "81"}, fin=True)[1]]
    assert receive(theirs, *frames) == [StreamOpened(1, {"port": "80"}), StreamOpened(3, {"port": "81"}, fin=True)]
    assert receive(ours, theirs.open_stream({})[1]) == [StreamOpened(2, {})]


def test_reply_accepts_a_stream() -> None:
    ours, theirs = client(), server()
    stream_id, syn = ours.open_stream({})
    receive(theirs, syn)
    assert receive(ours, theirs.reply(stream_id, {"a": "b"})) == [StreamReplied(1, {"a": "b"})]


def test_data_waits_for_the_reply() -> None:
    theirs = server()
    receive(theirs, syn_stream(1))
    assert not theirs.can_send(1)
    with pytest.raises(LocalProtocolError):
        theirs.send_data(1, b"dropped by Go's peer")


def test_directions_close_apart() -> None:
    ours, theirs = connected()
    assert receive(theirs, ours.send_data(1, b"in", fin=True)) == [DataReceived(1, b"in", fin=True)]
    assert not ours.can_send(1)
    assert theirs.can_send(1)
    assert receive(ours, theirs.send_data(1, b"out"), theirs.send_data(1, b"", fin=True)) == [
        DataReceived(1, b"out"),
        DataReceived(1, b"", fin=True),
    ]
    assert ours.open_streams == theirs.open_streams == 0


def test_reset_closes_both_directions() -> None:
    ours, theirs = connected()
    assert receive(theirs, ours.reset(1, ResetStatus.CANCEL)) == [StreamReset(1, ResetStatus.CANCEL)]
    assert not theirs.can_send(1)
    assert ours.open_streams == theirs.open_streams == 0


def test_frames_that_cross_a_reset_are_ignored() -> None:
    ours, theirs = connected()
    late = ours.send_data(1, b"late"), ours.reset(1, ResetStatus.CANCEL)
    theirs.reset(1, ResetStatus.REFUSED_STREAM)
    assert receive(theirs, *late) == []
    assert theirs.reset(1, ResetStatus.CANCEL) == b""


def test_data_is_sent_in_small_frames() -> None:
    ours, theirs = connected()
    data = bytes(range(256)) * 1024
    sent = ours.send_data(1, data, fin=True)
    assert len(sent) == len(data) + 8 * (len(data) // MAX_DATA_FRAME)
    assert merged(receive(theirs, sent)) == [DataReceived(1, data, fin=True)]


def test_a_data_frame_is_passed_on_in_parts() -> None:
    _, theirs = connected()
    frame = data_frame(1, b"x" * 100_000, flags=1)
    first, *rest = receive(theirs, frame[:50_000], frame[50_000:])
    assert first == DataReceived(1, b"x" * 49_992)
    assert rest == [DataReceived(1, b"x" * 50_008, fin=True)]


def test_pings_of_the_peer_are_answered() -> None:
    ours, theirs = client(), server()
    assert receive(theirs, ours.ping(1)) == [PingReceived(1)]
    assert receive(ours, theirs.ping(1)) == []  # the answer


def test_goaway_ends_the_acceptance_of_streams() -> None:
    ours, theirs = connected()
    assert receive(ours, theirs.go_away(GoAwayStatus.OK)) == [GoAwayReceived(1, GoAwayStatus.OK)]
    _, crossing = ours.open_stream({"a": "b"})
    assert receive(theirs, crossing, ours.send_data(3, b"ignored"), ours.send_data(1, b"x")) == [
        DataReceived(1, b"x")
    ]


def test_headers_may_follow() -> None:
    ours, theirs = connected()
    body = struct.pack(">I", 1) + ours._writer.write({"a": "b"})
    assert receive(theirs, control_frame(HEADERS, body, flags=1)) == [HeadersReceived(1, {"a": "b"}, fin=True)]


def test_windows_and_settings_are_ignored() -> None:
    _, theirs = connected()
    window = control_frame(WINDOW_UPDATE, struct.pack(">II", 1, 65536))
    settings = control_frame(SETTINGS, struct.pack(">III", 1, 7, 65536))
    assert receive(theirs, window, settings) == []


FAULTS = {
    "version": control_frame(PING, bytes(4), version=2),
    "unknown type": control_frame(5, b""),
    "PING has": control_frame(PING, bytes(5)),
    "RST_STREAM has": control_frame(RST_STREAM, bytes(4)),
    "GOAWAY has": control_frame(GOAWAY, bytes(9)),
    "WINDOW_UPDATE has": control_frame(WINDOW_UPDATE, b""),
    "SYN_STREAM has": control_frame(SYN_STREAM, bytes(9)),
    "SETTINGS has": control_frame(SETTINGS, struct.pack(">I", 0xFFFFFFFF)),
    "larger than": struct.pack(">HHI", 0x8003, SYN_STREAM, MAX_CONTROL_FRAME + 1),
    "stream 0 was never opened": data_frame(0, b"x"),
    "stream 3 was never opened": data_frame(3, b"x"),
    "stream 2 was never opened": control_frame(RST_STREAM, struct.pack(">II", 2, 1)),
    "number of this side": syn_stream(2),
    "one direction": syn_stream(1, flags=2),
    "cannot be decompressed": control_frame(SYN_STREAM, bytes(20)),
    "not ascending": syn_stream(0xFFFFFFFF)[:8] + bytes(4) + syn_stream(1)[12:],
}


@pytest.mark.parametrize(("message", "frame"), FAULTS.items(), ids=list(FAULTS))
def test_faults_of_the_peer_end_the_connection(message: str, frame: bytes) -> None:
    theirs = server()
    with pytest.raises(ProtocolError, match=message):
        receive(theirs, frame)
    with pytest.raises(ProtocolError, match=message):
        receive(theirs, client().ping(1))


def test_nothing_may_follow_the_end() -> None:
    ours, theirs = connected()
    receive(theirs, ours.send_data(1, b"", fin=True))
    with pytest.raises(ProtocolError, match="after its end"):
        receive(theirs, data_frame(1, b"more"))


def test_events_before_a_fault_are_returned() -> None:
    theirs = server()
    events = theirs.receive(client().ping(1) + control_frame(5, b""))
    assert next(events) == PingReceived(1)
    with pytest.raises(ProtocolError):
        next(events)


@st.composite
def conversations(draw: st.DrawFn) -> bytes:
    """Return what a client that keeps the rules may send."""
    ours = client()
    sent = []
    for _ in range(draw(st.integers(1, 12))):
        stream_id = draw(st.sampled_from([1, 3, 5, 7]))
        match draw(st.sampled_from(["open", "data", "fin", "reset", "ping"])):
            case "open":
                sent.append(ours.open_stream({"port": draw(st.text("0123456789", max_size=5))})[1])
            case "ping":
                sent.append(ours.ping(draw(st.integers(0, 0xFFFF)) * 2 + 1))
            case "reset":
                sent.append(ours.reset(stream_id, ResetStatus.CANCEL))
            case kind if ours.can_send(stream_id):
                sent.append(ours.send_data(stream_id, draw(st.binary(max_size=50)), fin=kind == "fin"))
    return b"".join(sent)


def outcome(*chunks: bytes) -> tuple[list[Event], str]:
    theirs, events = server(), list[Event]()
    try:
        for chunk in chunks:
            events.extend(theirs.receive(chunk))
    except ProtocolError as exc:
        return merged(events), str(exc)
    return merged(events), ""


@settings(max_examples=60)
@given(conversations(), st.lists(st.integers(1, 40)))
def test_events_do_not_depend_on_chunks(data: bytes, sizes: list[int]) -> None:
    chunks, rest = [], data
    for size in sizes:
        chunks.append(rest[:size])
        rest = rest[size:]
    assert outcome(*chunks, rest) == outcome(data)
    assert outcome(data)[1] == ""


@settings(max_examples=60)
@given(conversations(), st.integers(0, 500), st.binary(max_size=64))
@example(b"", 0, struct.pack(">HHI", 0x8003, SYN_STREAM, 0xFFFFFF))
def test_damaged_bytes_end_with_an_error_at_most(data: bytes, position: int, noise: bytes) -> None:
    damaged = data[:position] + noise + data[position + len(noise) :]
    assert outcome(damaged) == outcome(*(damaged[i : i + 7] for i in range(0, len(damaged), 7)))
