"""Minimal HTTP/1.1 client that exposes responses unmodified; an HTTP library would correct or hide violations."""

import select
import socket
from collections.abc import Iterator, Mapping
from typing import NamedTuple, Self


class WireError(Exception):
    """The response is not valid HTTP, or the connection ended without a response."""


class Request(NamedTuple):
    """A request as it was sent."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes | None


class Answer(NamedTuple):
    """A response as it was received.

    Attributes:
        status_line: such as `HTTP/1.1 404 Not Found`.
        headers: in their order, with their names as received.
        body: without chunk framing.
        request: the request; None if its bytes were sent by :meth:`Connection.send`.
    """

    status_line: str
    headers: list[tuple[str, str]]
    body: bytes
    request: Request | None = None

    @property
    def code(self) -> int:
        """Status code."""
        return int(self.status_line.split()[1])

    @property
    def status(self) -> str:
        """Code and reason, such as `404 Not Found`: `Status` in Go, which the original broker compares."""
        return self.status_line.partition(" ")[2]

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx; the original broker checks nothing else after a write."""
        return 200 <= self.code < 300

    @property
    def ends_connection(self) -> bool:
        """Whether the server closes the connection after this response."""
        connection = (self.header("Connection") or "").lower()
        return connection == "close" or (self.status_line.startswith("HTTP/1.0") and connection != "keep-alive")

    def header(self, name: str) -> str | None:
        """Return the value of a header; None if it is missing.

        Raises:
            WireError: the response has the header more than once.
        """
        found = [value for key, value in self.headers if key.lower() == name.lower()]
        if len(found) > 1:
            raise WireError(f"the response has {len(found)} headers {name}")
        return found[0] if found else None


class Connection:
    """Socket with the HTTP parsing that is needed to find the end of a response.

    Every method may raise :class:`WireError` or `OSError`.

    Args:
        port: port of the provider.
        host: host name or address.
        timeout: seconds to wait for each read.
    """

    def __init__(self, port: int, host: str = "127.0.0.1", *, timeout: float = 30) -> None:
        self._host = f"{host}:{port}"
        self._socket = socket.create_connection((host, port), timeout=timeout)
        self._received = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self._socket.sendall(data)

    def request(self, method: str, target: str, body: bytes | None = None, **headers: str) -> Answer:
        """Send a request with these headers, Host and Content-Length only; return the response.

        Args:
            method: such as `GET`.
            target: path and query, sent unchanged.
            body: the body; sent unchanged with a `Transfer_Encoding`.
            headers: with underscores for hyphens.
        """
        return self.exchange(
            Request(method, target, {name.replace("_", "-"): value for name, value in headers.items()}, body)
        )

    def exchange(self, request: Request) -> Answer:
        """Send a request and return the response."""
        self.send_request(request)
        return self.receive(has_body=request.method != "HEAD")._replace(request=request)

    def send_request(self, request: Request) -> None:
        """Send a request; read its response with :meth:`receive`."""
        lines = [f"{request.method} {request.target} HTTP/1.1", f"Host: {self._host}"]
        lines += [f"{name}: {value}" for name, value in request.headers.items()]
        if request.body is not None and "Transfer-Encoding" not in request.headers:
            lines.append(f"Content-Length: {len(request.body)}")
        self.send("\r\n".join([*lines, "", ""]).encode() + (request.body or b""))

    def receive(self, *, has_body: bool = True) -> Answer:
        """Read a complete response; 1xx, 204 and 304 have no body."""
        answer = self.receive_head()
        if not has_body or answer.code < 200 or answer.code in (204, 304):
            return answer
        return answer._replace(body=b"".join(self.pieces(answer)))

    def receive_head(self) -> Answer:
        """Read the status line and the headers."""
        status_line = self._line()
        version, _, rest = status_line.partition(" ")
        if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
            raise WireError(
                f"the response begins with {status_line[:80]!r}" if status_line else "the connection was closed"
            )
        headers = []
        while line := self._line():
            name, _, value = line.partition(":")
            headers.append((name, value.strip()))
        return Answer(status_line, headers, b"")

    def pieces(self, answer: Answer) -> Iterator[bytes]:
        """Yield the body of a response piece by piece as it arrives."""
        if (answer.header("Transfer-Encoding") or "").lower() == "chunked":
            yield from self._chunks()
            return
        length = answer.header("Content-Length")
        if length is None:
            yield self.rest()
        elif length.isdigit():
            yield self._exactly(int(length))
        else:
            raise WireError(f"Content-Length is {length[:80]!r}")

    def has_answer(self, within: float = 0) -> bool:
        """Return whether data, or the end of the connection, is available within that many seconds."""
        return bool(self._received or select.select([self._socket], [], [], within)[0])

    def receive_some(self) -> bytes:
        """Return the next bytes as they are; none at the end of the connection."""
        if not self._received:
            self._receive_more()
        return self._take(len(self._received))

    def rest(self) -> bytes:
        """Read until the server closes the connection."""
        while self._receive_more():
            pass
        return self._take(len(self._received))

    def _chunks(self) -> Iterator[bytes]:
        while size := self._chunk_size():
            piece = self._exactly(size)
            if self._line():
                raise WireError("a chunk is longer than its size")
            yield piece
        while self._line():
            pass  # trailers

    def _chunk_size(self) -> int:
        line = self._line()
        try:
            return int(line.partition(";")[0], 16)
        except ValueError:
            raise WireError("the body ends before the last chunk") from None

    def _exactly(self, size: int) -> bytes:
        while len(self._received) < size:
            if not self._receive_more():
                raise WireError(f"the body ends after {len(self._received)} of {size} bytes")
        return self._take(size)

    def _line(self) -> str:
        while (end := self._received.find(b"\n")) < 0:
            if not self._receive_more():
                end = len(self._received)
                break
        return self._take(end + 1).decode("latin-1").rstrip("\r\n")

    def _receive_more(self) -> bool:
        more = self._socket.recv(65_536)
        self._received += more
        return bool(more)

    def _take(self, size: int) -> bytes:
        taken = bytes(self._received[:size])
        del self._received[:size]
        return taken
