"""The thread of quick reads, with handlers of the tests in place of the application."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from queue import SimpleQueue

import pytest

from app.web.connection import Connection
from app.web.read_loop import ReadLoop

READ = b"GET /getPodStatus?name=%b HTTP/1.1\r\n\r\n"
WRITE = b"POST /createPod HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
SECONDS = 10


class Readers:
    """Connections to a loop whose handler answers with the first line of the request.

    Attributes:
        handled: names and threads of the handled requests, in order.
        released: the connections that were passed to the main thread.
        before: called by the handler with the name of each request, before it answers.
    """

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.handled: list[tuple[bytes, int]] = []
        self.released: SimpleQueue[Connection] = SimpleQueue()
        self.before: Callable[[bytes], None] = lambda _: None
        self.loop = ReadLoop(self._handle, self.released.put, threads=2)

    def connect(self, sent: bytes) -> tuple[socket.socket, Connection]:
        """Return both ends of a connection whose first request has arrived."""
        client, accepted = (self._stack.enter_context(closing(end)) for end in socket.socketpair())
        client.settimeout(SECONDS)
        conn = Connection(None, accepted, ("", 0), server=("", 0), max_body_bytes=1024, timeout=SECONDS)
        self._stack.callback(conn.close)
        client.sendall(sent)
        conn.receive()
        self.loop.add(conn)
        return client, conn

    def _handle(self, conn: Connection) -> bool:
        line = b"".join(conn.take_request()).partition(b" HTTP/")[0]
        name = line.rpartition(b"=")[2]
        self.before(name)
        self.handled.append((name, threading.get_ident()))
        conn.sock.sendall(b"%b\n" % name)
        return True


@pytest.fixture
def readers() -> Iterator[Readers]:
    with ExitStack() as stack:
        made = Readers(stack)
        stack.callback(made.loop.stop)
        yield made


def read_line(client: socket.socket) -> bytes:
    with client.makefile("rb") as lines:
        return lines.readline().strip()


def test_one_thread_handles_the_reads_of_all_connections(readers: Readers) -> None:
    clients = [readers.connect(READ % b"first")[0] for _ in range(8)]
    assert [read_line(client) for client in clients] == [b"first"] * 8
    for client in clients:
        client.sendall(READ % b"next")
    assert [read_line(client) for client in clients] == [b"next"] * 8
    assert len({thread for _, thread in readers.handled}) == 1


def test_a_client_with_endless_reads_does_not_hold_up_others(readers: Readers) -> None:
    is_connected = threading.Event()

    def wait(_: bytes) -> None:
        is_connected.wait(SECONDS)

    readers.before = wait
    readers.connect((READ % b"greedy") * 1000)
    modest, _ = readers.connect(READ % b"modest")
    is_connected.set()
    assert read_line(modest) == b"modest"
    assert [name for name, _ in readers.handled].index(b"modest") < 5


@pytest.mark.parametrize(
    "sent", [WRITE, b"GET /getPods HTTP/1.1\r\n\r\n", b"GET /healthz HTTP/1.1\r\n\r\n", b"GET /getPodSt"]
)
def test_other_requests_return_to_the_main_thread(readers: Readers, sent: bytes) -> None:
    client, conn = readers.connect(READ % b"first")
    assert read_line(client) == b"first"
    client.sendall(sent)
    assert readers.released.get(timeout=SECONDS) is conn
    assert b"".join(conn.take_request()).startswith(sent[:12])
    assert [name for name, _ in readers.handled] == [b"first"]


def test_a_request_behind_a_read_returns_to_the_main_thread(readers: Readers) -> None:
    client, conn = readers.connect(READ % b"first" + READ % b"second" + WRITE)
    assert readers.released.get(timeout=SECONDS) is conn
    assert conn.incoming.complete
    assert client.recv(1024) == b"first\nsecond\n"


def test_idle_and_closed_connections_return_to_the_main_thread(readers: Readers) -> None:
    idle, conn = readers.connect(READ % b"idle")
    assert read_line(idle) == b"idle"
    assert readers.released.get(timeout=SECONDS) is conn
    closed, conn = readers.connect(READ % b"closed")
    closed.shutdown(socket.SHUT_WR)
    assert readers.released.get(timeout=SECONDS) is conn


def test_a_read_that_waits_for_a_write_holds_up_no_other_read(readers: Readers) -> None:
    may_write = threading.Event()

    def wait(name: bytes) -> None:
        if name == b"waits":
            readers.loop.detach()
            may_write.wait(SECONDS)

    readers.before = wait
    waiting, conn = readers.connect(READ % b"waits")
    other, _ = readers.connect(READ % b"other")
    assert read_line(other) == b"other"
    waiting.sendall(READ % b"next")  # must not be handled at the same time as the first
    other.sendall(READ % b"again")
    assert read_line(other) == b"again"
    may_write.set()
    assert read_line(waiting) == b"waits"
    assert readers.released.get(timeout=SECONDS) is conn
    assert b"next" not in {name for name, _ in readers.handled}


def test_more_waiting_reads_than_threads_are_all_answered(readers: Readers) -> None:
    may_write = threading.Event()

    def wait(_: bytes) -> None:
        readers.loop.detach()
        may_write.wait(SECONDS)

    readers.before = wait
    clients = [readers.connect(READ % b"%d" % number)[0] for number in range(8)]
    may_write.set()
    assert [read_line(client) for client in clients] == [b"%d" % number for number in range(8)]


def test_the_thread_ends_at_a_stop_during_a_read(readers: Readers) -> None:
    has_begun, may_end = threading.Event(), threading.Event()
    threads = []

    def wait(_: bytes) -> None:
        threads.append(threading.current_thread())
        has_begun.set()
        may_end.wait(SECONDS)

    readers.before = wait
    client, _ = readers.connect(READ % b"last")
    assert has_begun.wait(SECONDS)
    readers.loop.stop()
    may_end.set()
    assert read_line(client) == b"last"
    threads[0].join(SECONDS)
    assert not threads[0].is_alive()
