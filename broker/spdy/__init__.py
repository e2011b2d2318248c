"""SPDY/3.1 without I/O: bytes in, events out; method calls in, bytes out.

Kubernetes carries `kubectl exec`, `attach` and `port-forward` to a kubelet in SPDY, a predecessor of HTTP/2 that
no Python library speaks. This package knows frames and streams. It knows neither sockets nor what a stream is for:

>>> client, server = Connection(Role.CLIENT), Connection(Role.SERVER)
>>> stream_id, syn = client.open_stream({"streamType": "stdin"})
>>> list(server.receive(syn))
[StreamOpened(stream_id=1, headers={'streamtype': 'stdin'}, fin=False)]
>>> list(client.receive(server.reply(stream_id)))
[StreamReplied(stream_id=1, headers={}, fin=False)]
>>> list(server.receive(client.send_data(stream_id, b"hello", fin=True)))
[DataReceived(stream_id=1, data=b'hello', fin=True)]

Frames
======

A frame has a header of 8 bytes. In a data frame, bit 31 is 0 and 31 bits are the stream; in a control frame, bit
31 is 1, 15 bits are the version (3), and 16 bits the type. Flags (8 bits) and the length of what follows (24 bits)
come next. A control frame is buffered until it is whole, so its length is limited (`MAX_CONTROL_FRAME`) and
checked before anything is kept. A data frame may have 16 MiB; it is never kept, since each part becomes an event
as it arrives. `fin` is set on the last part only.

Streams
=======

Either side opens streams: the client odd ones, the server even ones, with ascending numbers. A stream has two
directions that close apart, each by a FIN flag of its sender; a RST_STREAM closes both:

    sender      SYN_STREAM, SYN_REPLY, DATA or HEADERS with FIN: sends no more, and still receives
    receiver    the other side's FIN: receives no more, and may still send
    both        RST_STREAM by either side, or both FINs: the stream is forgotten

The side that opens a stream may send at once. The other side may send after its SYN_REPLY only: Go's peer drops
data that comes earlier, and reports nothing. Frames cross: one that arrives for a stream that was open once is
ignored; one for a stream that was never opened is an error of the peer.

Header blocks
=============

SYN_STREAM, SYN_REPLY and HEADERS carry names and values, compressed by zlib with a dictionary of SPDY/3 and *one*
compressor a direction for the whole connection. So each block must be decompressed, in order, even where the frame
is ignored, and the first error in a block is the end of the connection. A few bytes can inflate to gigabytes: a
block is decompressed up to `MAX_HEADER_BLOCK` and no further.

No flow control
===============

SPDY/3.1 has a window for each stream, of 64 KiB at first. Go's peer (moby/spdystream, of kubectl and the API
server) neither sends WINDOW_UPDATE nor heeds one. A side that kept windows would stall for ever after 64 KiB.
WINDOW_UPDATE and SETTINGS are checked and ignored; only TCP holds a sender back, all streams of a connection at
once.

Errors
======

`ProtocolError`: the peer has violated these rules. Events before the fault have been returned, whatever the chunks
were; the connection is lost and :meth:`Connection.receive` raises the same error from then on.
`LocalProtocolError`: a method was called that the state of the stream does not allow.
"""

from broker.spdy.connection import Connection, Role
from broker.spdy.errors import LocalProtocolError, ProtocolError
from broker.spdy.events import (
    DataReceived,
    Event,
    GoAwayReceived,
    GoAwayStatus,
    HeadersReceived,
    PingReceived,
    ResetStatus,
    StreamOpened,
    StreamReplied,
    StreamReset,
)

__all__ = [
    "Connection",
    "DataReceived",
    "Event",
    "GoAwayReceived",
    "GoAwayStatus",
    "HeadersReceived",
    "LocalProtocolError",
    "PingReceived",
    "ProtocolError",
    "ResetStatus",
    "Role",
    "StreamOpened",
    "StreamReplied",
    "StreamReset",
]
