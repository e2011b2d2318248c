"""Header blocks: names and values, compressed with the dictionary of SPDY/3."""

import struct
import zlib
from collections.abc import Mapping

from broker.spdy.errors import ProtocolError

MAX_HEADER_BLOCK = 16 * 1024
"""Bytes that a header block may inflate to. Kubernetes sends three headers of a few bytes each."""

_LENGTH = struct.Struct(">I")

# draft-mbelshe-httpbis-spdy-00, 2.6.10.1: strings with their lengths, then text without lengths.
_NAMES = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age "
    "allow authorization cache-control connection content-base content-encoding content-language content-length "
    "content-location content-md5 content-range content-type date etag expect expires from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
    "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status"
)
_STRINGS = [
    *_NAMES.split(),
    "200 OK",
    "version",
    "HTTP/1.1",
    "url",
    "public",
    "set-cookie",
    "keep-alive",
    "origin",
]
_TEXT = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
    "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)


def _string(text: str) -> bytes:
    encoded = text.encode("latin-1")
    return _LENGTH.pack(len(encoded)) + encoded


DICTIONARY = b"".join(map(_string, _STRINGS)) + _TEXT.encode()


class HeaderWriter:
    """Compresses the header blocks of one direction of a connection."""

    def __init__(self) -> None:
        # The smallest window and tables that hold the dictionary: the defaults need 256 KiB for each connection.
        self._compressor = zlib.compressobj(wbits=11, memLevel=1, zdict=DICTIONARY)

    def write(self, headers: Mapping[str, str]) -> bytes:
        """Return a block."""
        plain = _LENGTH.pack(len(headers))
        plain += b"".join(_string(name.lower()) + _string(value) for name, value in headers.items())
        return self._compressor.compress(plain) + self._compressor.flush(zlib.Z_SYNC_FLUSH)


class HeaderReader:
    """Decompresses the header blocks of one direction of a connection."""

    def __init__(self) -> None:
        self._decompressor = zlib.decompressobj(zdict=DICTIONARY)

    def read(self, block: bytes) -> dict[str, str]:
        """Parse a block.

        Raises:
            ProtocolError: the block is malformed or too large.
        """
        try:
            plain = self._decompressor.decompress(block, MAX_HEADER_BLOCK + 1)
        except zlib.error as exc:
            raise ProtocolError("header block cannot be decompressed") from exc
        if len(plain) > MAX_HEADER_BLOCK:
            raise ProtocolError(f"header block inflates to more than {MAX_HEADER_BLOCK} bytes")
        if self._decompressor.eof:
            raise ProtocolError("header block ends the compression, which lasts as long as the connection")
        return _parse(plain)


def _parse(plain: bytes) -> dict[str, str]:
    try:
        (count,) = _LENGTH.unpack_from(plain)
        position = _LENGTH.size
        headers: dict[str, str] = {}
        for _ in range(count):
            name, position = _read_string(plain, position)
            value, position = _read_string(plain, position)
            if not name or name != name.lower() or name in headers:
                raise ProtocolError(f"header name {name!r} is empty, repeated or not in lower case")
            headers[name] = value
    except struct.error as exc:
        raise ProtocolError("header block is truncated") from exc
    if position != len(plain):
        raise ProtocolError("header block has bytes after its last header")
    return headers


def _read_string(plain: bytes, position: int) -> tuple[str, int]:
    (length,) = _LENGTH.unpack_from(plain, position)
    start = position + _LENGTH.size
    if length > len(plain) - start:
        raise ProtocolError("header block is truncated")
    return plain[start : start + length].decode("latin-1"), start + length
