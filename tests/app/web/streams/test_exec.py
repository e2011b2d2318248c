"""Exec through gunicorn: data, exit codes, half close, terminals, and clients that go away."""

import os
import resource
import signal
import socket
import struct
import threading
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.app.web.streams.conftest import open_exec, query
from tests.server import Server
from tests.streams import HANDSHAKE, STDIN, STDOUT, Stream
from tests.waiting import eventually, is_alive


def memory(server: Server) -> int:
    """Return the resident memory of the worker, in bytes."""
    (worker,) = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    return int(Path(f"/proc/{worker}/statm").read_text().split()[1]) * resource.getpagesize()


def test_output_and_errors_arrive_apart(shell: Server) -> None:
    with open_exec(shell, "sh", "-c", "echo out; echo err >&2") as stream:
        assert stream.finish() == (b"out\n", b"err\n", 0)


def test_a_script_may_be_long(shell: Server) -> None:
    with open_exec(shell, "sh", "-c", f": {'x' * 100_000}; echo $#", "sh", *["word"] * 10_000) as stream:
        assert stream.finish() == (b"10000\n", b"", 0)


@pytest.mark.parametrize(("script", "code"), [("exit 3", 3), ("kill -9 $$", 137)])
def test_the_exit_code_arrives(shell: Server, script: str, code: int) -> None:
    with open_exec(shell, "sh", "-c", script) as stream:
        assert stream.finish() == (b"", b"", code)


def test_closed_input_ends_a_reader(shell: Server) -> None:
    with open_exec(shell, "cat") as stream:
        stream.send(b"one ")
        stream.send(b"two")
        stream.end_input()
        assert stream.finish() == (b"one two", b"", 0)


def test_input_after_the_reader_ended_is_dropped(shell: Server, tmp_path: Path) -> None:
    sent = tmp_path / "sent"
    script = f"exec <&-; echo ready; until [ -e {sent} ]; do sleep 0.01; done; exit 4"
    with open_exec(shell, "sh", "-c", script) as stream:
        stream.read_until(b"ready\n")
        for _ in range(100):
            stream.send(b"x" * 1024)
        sent.touch()
        assert stream.finish() == (b"", b"", 4)


def test_streams_not_asked_for_do_not_arrive(shell: Server) -> None:
    with open_exec(shell, "sh", "-c", "cat; echo out; echo err >&2", streams="stderr") as stream:
        assert stream.finish() == (b"", b"err\n", 0)


def test_a_large_input_comes_back_whole(shell: Server) -> None:
    data = os.urandom(8 * 1024 * 1024)
    with open_exec(shell, "cat") as stream:
        sender = threading.Thread(target=send_all, args=(stream, data))
        sender.start()
        assert stream.finish() == (data, b"", 0)
        sender.join()


def send_all(stream: Stream, data: bytes) -> None:
    for start in range(0, len(data), 1024 * 1024):
        stream.send(data[start : start + 1024 * 1024])
    stream.end_input()


def test_a_message_in_fragments_is_one(shell: Server) -> None:
    with open_exec(shell, "cat") as stream:
        stream.websocket.send([b"\x00one", b" two"])
        stream.end_input()
        assert stream.finish() == (b"one two", b"", 0)


def test_a_terminal_has_the_size_of_the_client(shell: Server) -> None:
    with open_exec(shell, "sh", "-c", "read go; stty size", streams="stdin stdout tty") as stream:
        stream.resize(120, 40)
        stream.send(b"go\n")
        assert stream.read_until(b"120\r\n") == b"go\r\n40 120\r\n"


@pytest.mark.parametrize("message", [b"", b"no JSON", b'{"Width":0,"Height":70000}', b'{"Width":"wide"}'])
def test_an_invalid_size_is_ignored(shell: Server, message: bytes) -> None:
    with open_exec(shell, "sh", "-c", "read go", streams="stdin stdout tty") as stream:
        stream.send(message, channel=4)
        stream.send(b"go\n")
        assert stream.finish() == (b"go\r\n", b"", 0)


def test_ctrl_c_interrupts_a_command(shell: Server) -> None:
    with open_exec(shell, "cat", streams="stdin stdout tty") as stream:
        stream.send(b"typed\n")
        stream.read_until(b"typed\r\ntyped\r\n")
        stream.send(b"\x03")
        assert stream.finish() == (b"^C", b"", 128 + signal.SIGINT)


@pytest.mark.parametrize("streams", ["stdout", "stdin stdout tty"])
@pytest.mark.parametrize("leave", ["close", "abort"])
def test_a_client_that_goes_ends_the_command(shell: Server, streams: str, leave: str) -> None:
    stream = open_exec(shell, "sh", "-c", "echo $$; exec sleep 60", streams=streams)
    pid = int(stream.read_until(b"\n"))
    getattr(stream, leave)()
    eventually(lambda: not is_alive(pid))


def test_a_client_that_goes_while_input_waits(shell: Server) -> None:
    client = raw_exec(shell, "sh", "-c", "echo $$; exec sleep 60")
    pid = int(client.recv(100)[3:])
    frame = masked_frame(b"\0" + b"x" * 65000)
    with suppress(BlockingIOError):  # the command reads nothing, so that at last nothing is taken
        while client.send(frame, socket.MSG_DONTWAIT):
            pass
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    eventually(lambda: not is_alive(pid))


def raw_exec(server: Server, *command: str, **headers: str) -> socket.socket:
    """Return the connection of an exec, after its handshake."""
    client = socket.create_connection(("127.0.0.1", server.port))
    lines = [f"{name}: {value}" for name, value in ({"Host": "localhost"} | headers | HANDSHAKE).items()]
    client.sendall("\r\n".join([f"GET /exec?{urlencode(query(*command))} HTTP/1.1", *lines, "", ""]).encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += client.recv(1)
    assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    return client


def test_an_upgrade_continues_a_connection_to_close(shell: Server) -> None:
    with raw_exec(shell, "echo", "out", connection="close") as client, client.makefile("rb") as frames:
        client.settimeout(30)
        assert frames.read(7) == b"\x82\x05\x01out\n"


def masked_frame(data: bytes) -> bytes:
    """Return a binary frame with a mask of zeros."""
    return b"\x82\xfe" + len(data).to_bytes(2, "big") + b"\0\0\0\0" + data


def test_a_slow_reader_slows_the_command(shell: Server) -> None:
    before = memory(shell)
    with open_exec(
        shell, "sh", "-c", "head -c 200000000 /dev/zero; echo $? >&2", streams="stdout stderr"
    ) as stream:
        first = stream.read_until(b"\0")
        assert memory(shell) - before < 4 * 1024 * 1024
        data = stream.read_all()
        assert len(first) + len(data[STDOUT]) == 200_000_000
        assert memory(shell) - before < 8 * 1024 * 1024


def test_pings_are_answered(shell: Server) -> None:
    with open_exec(shell, "cat") as stream:
        assert stream.websocket.ping().wait(30)


def test_a_frame_that_is_none_closes(shell: Server) -> None:
    stream = open_exec(shell, "sh", "-c", "echo $$; exec sleep 60")
    pid = int(stream.read_until(b"\n"))
    stream.websocket.socket.sendall(b"\xff" * 16)
    eventually(lambda: not is_alive(pid))
    assert stream.read_all() == {}
    assert stream.websocket.close_code == 1002


def test_an_unknown_channel_is_ignored(shell: Server) -> None:
    with open_exec(shell, "cat") as stream:
        stream.send(b"x", channel=9)
        stream.send(b"\x07", channel=255)
        stream.websocket.send(b"")
        stream.send(b"typed", channel=STDIN)
        stream.end_input()
        assert stream.finish() == (b"typed", b"", 0)
