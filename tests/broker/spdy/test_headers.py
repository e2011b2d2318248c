import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.spdy import ProtocolError
from broker.spdy.headers import DICTIONARY, MAX_HEADER_BLOCK, HeaderReader, HeaderWriter

names = st.text("abcdefgh-\xff", min_size=1, max_size=20)
values = st.text("aZ09 \0\xe4", max_size=50)
blocks = st.lists(st.dictionaries(names, values, max_size=5), max_size=4)


def compressed(*plain: bytes) -> list[bytes]:
    compressor = zlib.compressobj(zdict=DICTIONARY)
    return [compressor.compress(block) + compressor.flush(zlib.Z_SYNC_FLUSH) for block in plain]


def string(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


def test_the_dictionary_is_that_of_spdy_3() -> None:
    assert (len(DICTIONARY), zlib.adler32(DICTIONARY)) == (1423, 0xE3C6A7C2)


@settings(max_examples=50)
@given(blocks)
def test_a_reader_returns_what_was_written(written: list[dict[str, str]]) -> None:
    writer, reader = HeaderWriter(), HeaderReader()
    assert [reader.read(writer.write(headers)) for headers in written] == written


def test_names_are_sent_in_lower_case() -> None:
    assert HeaderReader().read(HeaderWriter().write({"streamType": "Error"})) == {"streamtype": "Error"}


def test_inflation_stops_at_the_limit() -> None:
    (bomb,) = compressed(struct.pack(">I", 1) + string(b"a") + string(bytes(10 << 20)))
    assert len(bomb) < MAX_HEADER_BLOCK
    with pytest.raises(ProtocolError, match="inflates to more than"):
        HeaderReader().read(bomb)


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        (b"", "truncated"),
        (struct.pack(">I", 1), "truncated"),
        (struct.pack(">I", 1) + string(b"a"), "truncated"),
        (struct.pack(">I", 1) + string(b"a") + struct.pack(">I", 9) + b"short", "truncated"),
        (struct.pack(">I", 0xFFFFFFFF), "truncated"),
        (struct.pack(">I", 1) + string(b"Port") + string(b"80"), "lower case"),
        (struct.pack(">I", 1) + string(b"") + string(b"80"), "empty"),
        (struct.pack(">I", 2) + (string(b"port") + string(b"80")) * 2, "repeated"),
        (struct.pack(">I", 0) + b"more", "after its last header"),
    ],
)
def test_malformed_blocks_are_refused(plain: bytes, message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        HeaderReader().read(*compressed(plain))


def test_a_block_needs_those_before_it() -> None:
    with pytest.raises(ProtocolError, match="cannot be decompressed"):
        HeaderReader().read(compressed(struct.pack(">I", 0), struct.pack(">I", 0))[1])


def test_the_compression_may_not_end() -> None:
    compressor = zlib.compressobj(zdict=DICTIONARY)
    with pytest.raises(ProtocolError, match="ends the compression"):
        HeaderReader().read(compressor.compress(struct.pack(">I", 0)) + compressor.flush())


@settings(max_examples=50)
@given(st.binary(max_size=200))
def test_random_bytes_are_refused_or_parsed(block: bytes) -> None:
    try:
        HeaderReader().read(block)
    except ProtocolError:
        return
