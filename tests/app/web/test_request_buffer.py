"""Where a request ends in the bytes of a connection."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.web.request_buffer import MAX_HEAD_BYTES, RequestBuffer

LIMIT = 1000
GET = b"GET / HTTP/1.1\r\nHost: provider\r\n\r\n"
POST = b"POST /createPod HTTP/1.1\r\nContent-Length: 4\r\n\r\n{  }"
CHUNKED = (
    b"POST /createPod HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\n{ \r\nA;name=value\r\n          \r\n1\r\n}\r\n0\r\nTrailer: yes\r\n\r\n"
)


def fed(*pieces: bytes) -> RequestBuffer:
    buffer = RequestBuffer(LIMIT)
    for piece in pieces:
        buffer.feed(piece)
    return buffer


def bytewise(data: bytes) -> list[bytes]:
    return [data[index : index + 1] for index in range(len(data))]


@pytest.mark.parametrize("request_", [GET, POST, CHUNKED, b"\r\n" + GET])
def test_a_request_is_complete_with_its_last_byte(request_: bytes) -> None:
    *before, last = bytewise(request_)
    buffer = fed(*before)
    assert not buffer.complete
    buffer.feed(last)
    assert buffer.complete
    assert not buffer.too_large
    assert b"".join(buffer.take()) == request_
    assert buffer.size == 0


@given(st.lists(st.sampled_from([GET, POST, CHUNKED]), min_size=1), st.data())
def test_following_requests_are_separated(requests: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(requests)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)))))
    buffer = fed(*[stream[one:other] for one, other in zip([0, *cuts], [*cuts, len(stream)], strict=True)])
    for request_ in requests:
        assert buffer.complete
        assert b"".join(buffer.take()) == request_
    assert not buffer.complete
    assert buffer.size == 0


@given(st.lists(st.binary()))
def test_no_bytes_are_lost_and_none_fail(pieces: list[bytes]) -> None:
    buffer = fed(*pieces)
    assert buffer.size == len(b"".join(pieces))


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\nHost: provider\n\n",
        b"POST / HTTP/1.1\r\nContent-Length: four\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nmany\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * 20_000,
        b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_HEAD_BYTES,
    ],
    ids=[
        "bare LF",
        "no number",
        "too many digits",
        "two lengths",
        "no size",
        "negative",
        "long line",
        "no length",
        "long head",
    ],
)
def test_a_malformed_request_is_not_waited_for(head: bytes) -> None:
    assert fed(head).complete


@pytest.mark.parametrize(
    "request_",
    [
        b"POST / HTTP/1.1\r\nContent-Length: 1001\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1001\r\nExpect: 100-continue\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3E9\r\n",
    ],
)
def test_a_body_over_the_limit_is_not_collected(request_: bytes) -> None:
    buffer = fed(request_)
    assert buffer.complete
    assert buffer.too_large
    assert not buffer.expects_continue
    buffer.feed(b"x" * 100)
    taken = b"".join(buffer.take())
    assert b"x" not in taken
    assert b"\r\nConnection: close\r\n" in taken
    assert buffer.size == 0


def test_a_length_can_begin_with_zeros() -> None:
    buffer = fed(b"POST / HTTP/1.1\r\nContent-Length: " + b"0" * 30 + b"2\r\n\r\n{}GET / HTTP/1.1\r\n\r\n")
    assert b"".join(buffer.take()).endswith(b"\r\n\r\n{}")
    assert b"".join(buffer.take()).startswith(b"GET / ")


def test_an_expectation_is_answered_once() -> None:
    head = b"POST / HTTP/1.1\r\nContent-Length: 2\r\nexpect: 100-Continue\r\n\r\n"
    buffer = fed(head)
    assert buffer.expects_continue
    buffer.feed(b"{}")
    assert not buffer.expects_continue
    assert b"".join(buffer.take()) == b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"
    assert not fed(head.replace(b"HTTP/1.1", b"HTTP/1.0")).expects_continue


@pytest.mark.parametrize(
    ("target", "is_for_health"),
    [("/healthz", True), ("//readyz?verbose", True), ("/healthzz", False), ("/getPods?/healthz ", False)],
)
def test_requests_for_the_health_are_recognized(target: str, is_for_health: bool) -> None:
    assert fed(f"GET {target} HTTP/1.1\r\n\r\n".encode()).is_for_health is is_for_health


@pytest.mark.parametrize(
    ("line", "is_quick_read"),
    [
        ("GET / ", True),
        ("GET /getPod?name=a ", True),
        ("GET /getPodStatus?name=a ", True),
        ("GET /getPods ", False),
        ("GET /podStatuses?wait=9 ", False),
        ("GET /getPodStatus/ ", False),
        ("HEAD / ", False),
        ("POST /getPod?name=a ", False),
    ],
)
def test_quick_reads_are_recognized(line: str, is_quick_read: bool) -> None:
    assert fed(f"{line}HTTP/1.1\r\n\r\n".encode()).is_quick_read is is_quick_read
    assert not fed(f"{line}HTTP/1.1\r\n".encode()).is_quick_read
