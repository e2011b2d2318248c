"""The one log of `vkweb up`."""

import asyncio
import doctest

import pytest

from vkweb import log


def test_the_examples_hold() -> None:
    assert doctest.testmod(log).failed == 0


async def test_a_last_line_without_an_end_is_copied(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    stream = asyncio.StreamReader()
    stream.feed_data(b"first\nsec")
    stream.feed_data(b"ond")
    stream.feed_eof()
    await log.copy_lines(stream, "broker")
    assert capfdbinary.readouterr().err == b"broker   | first\nbroker   | second\n"
