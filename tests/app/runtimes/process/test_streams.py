"""Sessions with a shim, from the side of the provider."""

import json
import os
import socket
from pathlib import Path
from threading import Thread

import pytest

from app.core.errors import Unavailable
from app.runtimes import StreamOptions
from app.runtimes.process.shim.record import STREAMS_SOCKET
from app.runtimes.process.streams import ShimStreams


def test_missing_descriptors_are_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process at its limit gets some of the descriptors that a shim has sent; the kernel closes the others."""
    monkeypatch.chdir(tmp_path)
    reader, writer = os.pipe()
    ends: list[bytes] = []

    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            socket.send_fds(connection, [json.dumps({"streams": ["stdin", "stdout"]}).encode() + b"\n"], [writer])
            os.close(writer)
            ends.append(connection.recv(1))

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(STREAMS_SOCKET)
        listener.listen()
        shim = Thread(target=answer)
        shim.start()
        with pytest.raises(Unavailable, match="Too many open files"):
            ShimStreams(tmp_path).run("web", ["cat"], StreamOptions(stdin=True, stdout=True))
        shim.join()
    assert (ends, os.read(reader, 1)) == ([b""], b"")  # the provider has closed both
    os.close(reader)
