"""A client's connection in the server: the bytes of its next request, and the rest of its last response."""

import errno
import math
import resource
import select
import socket
import struct
import time
from collections import deque
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from gunicorn.workers.gthread import TConn

from app.web.request_buffer import RequestBuffer
from app.web.streams.server import Upgrade

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_MAX_CONNECTIONS = 4096
_OTHER_FILES = 128
"""Open files that are no connections: databases, logs, listening sockets."""
_READ_BYTES = 256 * 1024
_SLOWEST_BYTES_PER_SECOND = 64 * 1024
"""A request and a response may take a second more for each 64 KiB."""
_THREAD_WAIT_SECONDS = 0.1
_THREAD_BYTES_PER_SECOND = 1024 * 1024
"""A thread waits 0.1 s, and a second more for each MiB that the client takes meanwhile."""
_NEXT_REQUEST_MILLISECONDS = 2


class ClientSocket(socket.socket):
    """A socket whose `sendall` keeps what a slow client does not take, so that the thread is free again.

    Args:
        accepted: the accepted connection, which this object replaces.
        timeout: seconds for the client to take a response, and one more for each 64 KiB.

    Attributes:
        unsent: number of bytes that are kept.
        is_patient: whether `sendall` waits a moment for a slow client.
        upgrade: the session that takes the connection over after this response; None for an ordinary one.
    """

    def __init__(self, accepted: socket.socket, *, timeout: float) -> None:
        super().__init__(fileno=accepted.detach())
        self.setblocking(False)
        self.unsent = 0
        self.is_patient = True
        self.upgrade: Upgrade | None = None
        self._timeout = timeout
        self._chunks: deque[memoryview] = deque()
        self._stalled_at: float | None = None
        self._taken = 0

    @property
    def deadline(self) -> float:
        """The time, of the monotonic clock, by which the client must have taken what is kept."""
        return self._until(self._timeout, bytes_per_second=_SLOWEST_BYTES_PER_SECOND)

    def sendall(self, data: "ReadableBuffer", flags: int = 0, /) -> None:
        """Send bytes, or keep those that the client does not take in a moment.

        Raises:
            OSError: the connection is closed, or the client takes too long.
        """
        chunk = memoryview(data).cast("B")
        self._chunks.append(chunk)
        self.unsent += len(chunk)
        while not self.flush():
            now = time.monotonic()
            if now > self.deadline:
                raise ConnectionResetError(errno.ECONNRESET, "the client does not take the response")
            wait = self._until(_THREAD_WAIT_SECONDS, bytes_per_second=_THREAD_BYTES_PER_SECOND) - now
            if wait <= 0 or not self.is_patient:
                return
            _wait(self, select.POLLOUT, wait * 1000)

    def _until(self, seconds: float, *, bytes_per_second: float) -> float:
        return (self._stalled_at or math.inf) + seconds + self._taken / bytes_per_second

    def abort(self) -> None:
        """Close the connection, and discard what the client has not taken, in the kernel too."""
        self.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def flush(self) -> bool:
        """Send what the client takes now; return whether nothing is left.

        Raises:
            OSError: the connection is closed.
        """
        while self._chunks:
            chunk = self._chunks[0]
            try:
                sent = self.send(chunk, socket.MSG_DONTWAIT)
            except BlockingIOError:
                if self._stalled_at is None:
                    self._stalled_at, self._taken = time.monotonic(), 0
                return False
            self.unsent -= sent
            self._taken += sent
            if sent == len(chunk):
                self._chunks.popleft()
            else:
                self._chunks[0] = chunk[sent:]
        self._stalled_at = None
        return True


class Stage(Enum):
    """The event that a connection waits for while no thread uses it."""

    REQUEST = auto()
    """A complete request."""
    RESPONSE = auto()
    """The client takes the rest of the response."""
    CLOSE = auto()
    """The client closes the connection. Closing it before the client has sent all of a refused body would discard
    the response (RFC 9112, section 9.6)."""


class Connection(TConn):
    """A connection.

    Args:
        cfg: gunicorn's configuration.
        accepted: the accepted connection.
        client: address of the client.
        server: address of the listener.
        max_body_bytes: limit of a request's body.
        timeout: seconds for a request to arrive, and for a response to be taken.

    Attributes:
        incoming: bytes of the next request.
        stage: what the connection waits for.
        deadline: time, of the monotonic clock, at which it is closed.
        keep_alive: whether another request may follow the response.
        refused_body: whether the client may still be sending a body that is too large.
    """

    sock: ClientSocket

    def __init__(
        self, cfg: Any, accepted: socket.socket, client: Any, *, server: Any, max_body_bytes: int, timeout: float
    ) -> None:
        super().__init__(cfg, ClientSocket(accepted, timeout=timeout), client, server)
        self.initialized = True  # the parser is made for each request
        self.incoming = RequestBuffer(max_body_bytes)
        self.stage = Stage.REQUEST
        self.deadline = 0.0
        self.keep_alive = True
        self.refused_body = False
        self._timeout = timeout
        self._began: float | None = None

    @property
    def held_bytes(self) -> int:
        """Memory that this connection holds."""
        return self.incoming.size + self.sock.unsent

    @property
    def request_deadline(self) -> float | None:
        """The time by which the request must be complete; None where no byte of it has arrived."""
        if self._began is None:
            return None
        return self._began + self._timeout + self.incoming.size / _SLOWEST_BYTES_PER_SECOND

    def receive(self) -> bool:
        """Read what the client has sent; return False if it has closed the connection."""
        try:
            data = self.sock.recv(_READ_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if self._began is None:
            self._began = time.monotonic()
        self.incoming.feed(data)
        return bool(data)

    def receive_next(self) -> bool:
        """Wait 2 ms for the next request; return whether it is complete."""
        if not self.incoming.complete and _wait(self.sock, select.POLLIN, _NEXT_REQUEST_MILLISECONDS):
            self.receive()
        return self.incoming.complete

    def take_request(self) -> list[bytes]:
        """Remove and return the bytes of the complete request."""
        self.refused_body = self.incoming.too_large
        request = self.incoming.take()
        self._began = time.monotonic() if self.incoming.size else None
        return request


def _wait(connection: socket.socket, event: int, milliseconds: float) -> bool:
    """Return whether a socket becomes ready in time."""
    poll = select.poll()
    poll.register(connection, event)
    return bool(poll.poll(milliseconds))


def connection_limit() -> int:
    """Return the number of connections of a worker, for which the process may open enough files."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MAX_CONNECTIONS if files == resource.RLIM_INFINITY else files - _OTHER_FILES
    return max(_OTHER_FILES, min(_MAX_CONNECTIONS, most))
