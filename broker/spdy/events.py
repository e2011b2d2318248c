"""Events: frames that a peer has sent."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias


class ResetStatus(IntEnum):
    """The reason of a RST_STREAM."""

    PROTOCOL_ERROR = 1
    INVALID_STREAM = 2
    REFUSED_STREAM = 3
    CANCEL = 5
    INTERNAL_ERROR = 6


class GoAwayStatus(IntEnum):
    """The reason of a GOAWAY."""

    OK = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """SYN_STREAM: a new stream. Names of headers are in lower case; several values of one are joined by NUL."""

    stream_id: int
    headers: Mapping[str, str]
    fin: bool = False


@dataclass(frozen=True, slots=True)
class StreamReplied:
    """SYN_REPLY: the peer accepts a stream."""

    stream_id: int
    headers: Mapping[str, str]
    fin: bool = False


@dataclass(frozen=True, slots=True)
class HeadersReceived:
    """HEADERS: more headers of a stream."""

    stream_id: int
    headers: Mapping[str, str]
    fin: bool = False


@dataclass(frozen=True, slots=True)
class DataReceived:
    """A part of the data of a stream. It is empty only with `fin`."""

    stream_id: int
    data: bytes
    fin: bool = False


@dataclass(frozen=True, slots=True)
class StreamReset:
    """RST_STREAM: the peer neither sends nor receives any more. The status is any number."""

    stream_id: int
    status: int


@dataclass(frozen=True, slots=True)
class PingReceived:
    """PING of the peer: the answer is :meth:`Connection.ping` with the same number."""

    ping_id: int


@dataclass(frozen=True, slots=True)
class GoAwayReceived:
    """GOAWAY: the peer accepts no streams after `last_stream_id`. Streams that are open continue."""

    last_stream_id: int
    status: int


Event: TypeAlias = (
    StreamOpened | StreamReplied | HeadersReceived | DataReceived | StreamReset | PingReceived | GoAwayReceived
)
