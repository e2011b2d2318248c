"""Output of a container for its log and its clients: nothing is lost, and nothing is collected in memory."""

import os
import select
import selectors
from pathlib import Path

from app.runtimes.process.shim.log import Log
from app.runtimes.process.shim.output import Output, Sink

CHUNK = b"x" * 65536
"""As much as a pipe holds, and as is read at once."""


class Client:
    """A client of an output."""

    def __init__(self, output: Output, selector: selectors.BaseSelector) -> None:
        self.fd, writing = os.pipe()
        self.is_closed = False
        self.sink = Sink(writing, selector, on_close=self._close)
        output.attach(self.sink)

    def _close(self) -> None:
        self.is_closed = True


def handle(selector: selectors.BaseSelector) -> None:
    """Call the handlers until nothing is ready."""
    while found := selector.select(0):
        for key, _ in found:
            key.data()


def is_readable(fd: int) -> bool:
    return bool(select.select([fd], [], [], 0)[0])


def test_output_waits_for_its_slowest_client(tmp_path: Path) -> None:
    with selectors.DefaultSelector() as selector:
        reading, writing = os.pipe()
        output = Output(reading, "stdout", Log(str(tmp_path), 0), selector)
        slow, fast = Client(output, selector), Client(output, selector)
        for _ in range(2):
            os.write(writing, CHUNK)
            handle(selector)
            assert os.read(fast.fd, len(CHUNK)) == CHUNK
        os.write(writing, b"end\n")
        handle(selector)
        assert slow.sink.is_behind
        assert is_readable(reading)  # the container's pipe fills

        assert os.read(slow.fd, len(CHUNK)) == CHUNK
        handle(selector)
        assert not is_readable(reading)
        assert os.read(slow.fd, len(CHUNK)) == CHUNK
        assert os.read(fast.fd, len(CHUNK)) == b"end\n"

        os.close(writing)
        handle(selector)
        assert slow.is_closed
        assert os.read(slow.fd, len(CHUNK)) == b"end\n"
        assert os.read(slow.fd, 1) == b""
        os.close(slow.fd)
        os.close(fast.fd)
    written = b"".join(line.split(b" ", 3)[3] for line in (tmp_path / "0.0.log").read_bytes().splitlines())
    assert written == CHUNK + CHUNK + b"end"


def test_output_goes_on_without_clients(tmp_path: Path) -> None:
    with selectors.DefaultSelector() as selector:
        reading, writing = os.pipe()
        output = Output(reading, "stdout", Log(str(tmp_path), 0), selector)
        client = Client(output, selector)
        for _ in range(2):
            os.write(writing, CHUNK)
            handle(selector)
        assert client.sink.is_behind
        os.close(client.fd)
        os.write(writing, b"end\n")
        handle(selector)
        assert client.is_closed
        assert not is_readable(reading)
        output.release()
        os.close(writing)


def test_the_end_of_output_waits_for_a_client(tmp_path: Path) -> None:
    with selectors.DefaultSelector() as selector:
        reading, writing = os.pipe()
        output = Output(reading, "stdout", Log(str(tmp_path), 0), selector)
        client = Client(output, selector)
        for _ in range(2):
            os.write(writing, CHUNK)
            handle(selector)
        os.write(writing, b"end\n")
        os.close(writing)
        output.release()
        assert not client.is_closed
        found = b""
        while not client.is_closed:
            found += os.read(client.fd, len(CHUNK))
            handle(selector)
        found += os.read(client.fd, len(CHUNK))
        assert found == CHUNK + CHUNK + b"end\n"
        os.close(client.fd)
