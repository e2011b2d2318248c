"""Detects where a request ends in the bytes of a connection, without I/O.

A thread that reads from a socket waits for the client. A client that sends half a request, or a byte per second,
would hold the thread for as long as it likes. So the bytes of a request are collected here first, and a thread
gets the request when it is complete.

The framing is that of RFC 9112, section 6: a head ends with an empty line; a body has the length of
`Content-Length`, or chunks. Gunicorn parses and validates the request afterwards. It receives exactly the bytes
of one request, so a request that it understands in another way is refused, and no byte of it becomes the next
request. For the same reason a malformed request counts as complete.
"""

import re

MAX_HEAD_BYTES = 1024 * 1024
"""More than gunicorn accepts, which answers a longer head with 431."""
_MAX_LINE_BYTES = 16 * 1024
"""Limit of a line between chunks."""
_MAX_DIGITS = 18

_BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")
_EXPECT_CONTINUE = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*(?=\r\n)", re.IGNORECASE)
_TRANSFER_ENCODING = re.compile(rb"\r\ntransfer-encoding:[^\r]*(?=\r\n)", re.IGNORECASE)
_HEALTH = re.compile(rb"(?:\r\n)?[A-Z]+ /+(?:healthz|readyz)[ ?]")
_QUICK_READ = re.compile(rb"GET /(?:getPodStatus|getPod)?[ ?]")


class RequestBuffer:
    """The bytes of a connection that no thread has received yet.

    Args:
        max_body_bytes: limit of a body.

    Attributes:
        size: number of bytes.
        complete: whether the bytes contain a complete request, or one that is to be refused now.
        too_large: whether the body of this request is longer than the limit; the rest of it is not collected.
        expects_continue: whether the client waits for `100 Continue` before it sends the body.
    """

    def __init__(self, max_body_bytes: int) -> None:
        self._max_body_bytes = max_body_bytes
        self._reset()

    @property
    def is_for_health(self) -> bool:
        """Whether the request asks for the health of the server."""
        return _HEALTH.match(self._head) is not None

    @property
    def is_quick_read(self) -> bool:
        """Whether a complete request reads at most one pod."""
        return self.complete and _QUICK_READ.match(self._head) is not None

    def feed(self, data: bytes) -> None:
        """Add bytes from the client."""
        self.size += len(data)
        if self.complete:
            self._rest += data
        elif self._head_is_complete:
            self._feed_body(data)
        else:
            self._feed_head(data)

    def take(self) -> list[bytes]:
        """Remove and return the bytes of the first request; what follows becomes the next one.

        Nothing follows a body that is too large, or incomplete: its end is not known. Such a request gets a header
        by which gunicorn closes the connection after the response. The length of a chunked body that is too large
        is announced, so that it can be refused unread.
        """
        request, rest = [bytes(self._head), *self._body], bytes(self._rest)
        if self.too_large:
            length = b"" if self._chunks is None else b"Content-Length: %d\r\n" % (self._max_body_bytes + 1)
            head = _TRANSFER_ENCODING.sub(b"", self._head)
            request, rest = [_with_headers(head, b"Connection: close\r\n" + length)], b""
        elif self._head_is_complete and not self.complete:
            request[0] = _with_headers(request[0], b"Connection: close\r\n")
        elif len(request[0]) > MAX_HEAD_BYTES:
            request.append(b"\r\n\r\n")  # an end, for which gunicorn would wait
        self._reset()
        if rest:
            self.feed(rest)
        return request

    def _reset(self) -> None:
        self.size = 0
        self.complete = self.too_large = self.expects_continue = False
        self._head = bytearray()
        self._head_is_complete = False
        self._body: list[bytes] = []
        self._body_size = 0
        self._chunks: _Chunks | None = None
        self._content_length = 0
        self._rest = bytearray()

    def _feed_head(self, data: bytes) -> None:
        searched = max(len(self._head) - 3, 0)
        self._head += data
        end = self._head.find(b"\r\n\r\n", searched)
        if end >= 0:
            body = bytes(self._head[end + 4 :])
            del self._head[end + 4 :]
            self._head_is_complete = True
            self._read_framing()
            self._feed_body(body)
        elif len(self._head) > MAX_HEAD_BYTES or _BARE_LINE_FEED.search(self._head, searched):
            self.complete = True

    def _read_framing(self) -> None:
        lengths, codings = set(), bytearray()
        for line in self._head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                lengths.add(bytes(value.strip()))
            elif name.lower() == b"transfer-encoding":
                codings = value.strip().lower()
        if codings.endswith(b"chunked"):
            self._chunks = _Chunks()
        elif codings:
            self.complete = True  # the length of the body is not known: gunicorn answers 400 or 501
        elif lengths:
            text = lengths.pop()
            if text.isdigit() and not lengths:
                digits = text.lstrip(b"0") or b"0"
                self._content_length = int(digits) if len(digits) <= _MAX_DIGITS else self._max_body_bytes + 1
        self._check_size(self._content_length)
        # Gunicorn would ask for the body when it is here.
        without, found = _EXPECT_CONTINUE.subn(b"", self._head)
        if found and b" HTTP/1.0\r\n" not in self._head[: self._head.index(b"\r\n") + 2]:
            self._head = bytearray(without)
            self.expects_continue = not self.too_large

    def _feed_body(self, data: bytes) -> None:
        if self.complete:
            self._rest += data
            return
        end = len(data)
        if self._chunks is not None:
            end = self._chunks.feed(data)
            self.complete = self._chunks.complete
        else:
            end = min(end, self._content_length - self._body_size)
            self.complete = self._body_size + end == self._content_length
        if end:
            self._body.append(data[:end])
            self._body_size += end
            self.expects_continue = False
        self._rest += data[end:]
        self._check_size(self._body_size if self._chunks is None else self._chunks.content_size)

    def _check_size(self, size: int) -> None:
        if size > self._max_body_bytes:
            self.complete = self.too_large = True


class _Chunks:
    """Finds the end of a chunked body: RFC 9112, section 7.1.

    Attributes:
        complete: whether the end is found, or the encoding is invalid.
        content_size: number of bytes in the chunks so far.
    """

    def __init__(self) -> None:
        self.complete = False
        self.content_size = 0
        self._line = bytearray()
        self._skip = 0
        self._in_trailer = False

    def feed(self, data: bytes) -> int:
        """Return the index in `data` of the end of the body, or the length of `data`."""
        position = 0
        while position < len(data) and not self.complete:
            if self._skip:
                step = min(self._skip, len(data) - position)
                self._skip -= step
                position += step
                continue
            newline = data.find(b"\n", position)
            end = newline + 1 if newline >= 0 else len(data)
            self._line += data[position:end]
            position = end
            if newline >= 0:
                self._end_line()
            elif len(self._line) > _MAX_LINE_BYTES:
                self.complete = True
        return position

    def _end_line(self) -> None:
        line = bytes(self._line).strip()
        self._line.clear()
        if self._in_trailer:
            self.complete = not line
            return
        try:
            size = int(line.partition(b";")[0], 16)
        except ValueError:
            size = -1
        if size < 0:
            self.complete = True
        elif size == 0:
            self._in_trailer = True
        else:
            self.content_size += size
            self._skip = size + len(b"\r\n")


def _with_headers(head: bytes, headers: bytes) -> bytes:
    """Insert headers after the request line."""
    start = head.index(b"\r\n", 2) + 2
    return head[:start] + headers + head[start:]
