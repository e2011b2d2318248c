"""Copy between a WebSocket and the descriptors of a session, until the session ends or the client has gone."""

import asyncio
import os
import select
import socket
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from enum import Enum
from threading import Thread
from typing import Any, NamedTuple, TypeVar

import orjson
import structlog

from app.core.errors import ProviderError
from app.runtimes import Session, set_window_size
from app.web.streams import descriptors
from app.web.streams.channels import Channel, ChannelProtocol, Data, EndOfInput, Resize

_CLOSE_SECONDS = 5.0
"""How long a client may take to close the WebSocket when its connection has taken everything."""
_WATCH_SECONDS = 1.0
_MAX_REPLIES = 16
"""Responses to pings that are held while the client takes no output."""
_HUNG_UP = select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0)


_T = TypeVar("_T")

log = structlog.get_logger("app")


class Outcome(Enum):
    """How a session ended."""

    EXITED = "exited"
    DISCONNECTED = "the client disconnected"
    STOPPED = "the provider stopped"
    FAILED = "failed"


class Ending(NamedTuple):
    """The end of a session.

    Attributes:
        exit_code: that of the command; None unless it has exited.
        received: bytes from the client.
        sent: bytes to the client.
    """

    outcome: Outcome
    exit_code: int | None
    seconds: float
    received: int
    sent: int


class _Disconnected(Exception):
    """The client takes no more data."""


class Copier:
    """Copies for one session.

    Args:
        client: the connection of the WebSocket, after its handshake.
        session: the session; this object closes its descriptors.
        half_close: whether each direction ends by itself, as those of a TCP connection. The session then ends when
            both have.
    """

    def __init__(self, client: socket.socket, session: Session, *, half_close: bool = False) -> None:
        self._client = client
        self._session = session
        self._half_close = half_close
        self._stdin = session.stdin if session.terminal is None else session.terminal
        self._protocol = ChannelProtocol()
        self._sending = asyncio.Lock()
        self._unsent = memoryview(b"")
        self._input_ended = asyncio.Event()
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[Any]] = []
        self._waited = False
        self._received = self._sent = 0

    def stop(self) -> None:
        """End the session with a Failure, because the provider stops."""
        self._stopping.set()

    def hang_up(self) -> None:
        """End the session at once, in any thread."""
        try:
            self._session.hang_up()
        except Exception:
            log.exception("the runtime failed to hang up")

    async def run(self) -> Ending:
        """Copy until the end; then close everything."""
        began = time.monotonic()
        outcome, code = Outcome.FAILED, None
        try:
            for descriptor in (self._client.fileno(), *self._descriptors()):
                os.set_blocking(descriptor, False)
            outcome, code, status = await self._copy()
            if outcome is not Outcome.DISCONNECTED:
                await self._close(status)
        finally:
            await self._cancel()
            if outcome is not Outcome.EXITED:
                self.hang_up()
            for descriptor in set(self._descriptors()):
                os.close(descriptor)
            self._client.close()
            if not self._waited:
                Thread(target=_reap, args=(self._session,), daemon=True, name="stream-end").start()
        return Ending(outcome, code, time.monotonic() - began, self._received, self._sent)

    async def _copy(self) -> tuple[Outcome, int | None, dict[str, object]]:
        """Return how the session ended, its exit code, and its Status."""
        finishing = self._spawn(self._finish())
        stopping = self._spawn(self._stopping.wait())
        leaving = {self._spawn(self._receive()), self._spawn(self._watch())}
        await asyncio.wait({finishing, stopping, *leaving}, return_when=asyncio.FIRST_COMPLETED)
        if finishing.done():
            return _finished(finishing)
        if stopping.done():
            return Outcome.STOPPED, None, _failure("the provider stops")
        for task in leaving:
            if task.done():
                task.result()
        return Outcome.DISCONNECTED, None, {}

    async def _finish(self) -> int:
        """Send all output; return the exit code."""
        session = self._session
        outputs = (
            [(Channel.STDOUT, session.stdout), (Channel.STDERR, session.stderr)]
            if session.terminal is None
            else [(Channel.STDOUT, session.terminal)]
        )
        await asyncio.gather(
            *(self._spawn(self._send_output(channel, from_)) for channel, from_ in outputs if from_ is not None)
        )
        if self._half_close:
            await self._send(Channel.CLOSE, bytes((Channel.STDOUT,)))
            await self._input_ended.wait()
        self._waited = True
        return await _in_thread(session.wait)

    async def _send_output(self, channel: Channel, descriptor: int) -> None:
        while data := await descriptors.read(descriptor):
            self._sent += len(data)
            await self._send(channel, data)

    async def _send(self, channel: Channel, data: bytes) -> None:
        """Send a message; return when the client's connection has taken it.

        Raises:
            _Disconnected: the connection is closed.
        """
        self._protocol.send(channel, data)
        await self._flush()

    async def _flush(self) -> None:
        async with self._sending:
            while self._unsent or (data := self._protocol.to_send()):
                self._unsent = self._unsent or memoryview(data)
                try:
                    sent = await descriptors.write_some(self._client.fileno(), self._unsent)
                except OSError:
                    raise _Disconnected from None
                self._unsent = self._unsent[sent:]  # kept if this is cancelled: the next frame must not cut it off

    async def _receive(self) -> None:
        """Handle what the client sends, until it closes the WebSocket."""
        while self._protocol.is_open:
            try:
                data = await descriptors.read(self._client.fileno())
            except OSError:
                return
            for event in self._protocol.receive(data):
                await self._handle(event)
            if not self._sending.locked() or self._protocol.replies > _MAX_REPLIES:
                with suppress(_Disconnected):
                    await self._flush()
            if not data:
                return

    async def _handle(self, event: Data | EndOfInput | Resize) -> None:
        match event:
            case Data(data):
                self._received += len(data)
                if self._stdin is not None:
                    try:
                        await descriptors.write(self._stdin, data)
                    except OSError:  # the command reads no more
                        self._end_input()
            case EndOfInput():
                self._end_input()
            case Resize(width, height):
                with suppress(OSError):
                    if self._session.resize:
                        self._session.resize(width, height)
                    elif self._session.terminal is not None:
                        set_window_size(self._session.terminal, width, height)

    def _end_input(self) -> None:
        """Close standard input; that of a terminal stays open, as at a kubelet."""
        if self._stdin is not None and self._session.terminal is None:
            descriptors.end_input(self._stdin)
            self._stdin = None
            if self._session.input_ended:
                self._session.input_ended()
        self._input_ended.set()

    async def _watch(self) -> None:
        """Return when the client has gone, also while nothing is read because the command takes no input."""
        poll = select.poll()
        poll.register(self._client, _HUNG_UP)
        while not poll.poll(0):
            await asyncio.sleep(_WATCH_SECONDS)

    async def _close(self, status: dict[str, object]) -> None:
        """Send the Status, and wait until the client has closed, or has gone.

        A client may pause for any time, unless the provider stops. The kernel would discard the last output of a
        connection that is closed while its client reads nothing for minutes.
        """
        await self._cancel()
        self._protocol.send(Channel.STATUS, orjson.dumps(status))
        self._protocol.close()
        ends = {self._spawn(end) for end in (self._until_closed(), self._watch())}
        taken = False
        while not taken and not any(end.done() for end in ends):
            taken = self._stopping.is_set() or not (self._unsent or descriptors.unsent(self._client.fileno()))
            await asyncio.wait(ends, timeout=_CLOSE_SECONDS, return_when=asyncio.FIRST_COMPLETED)

    async def _until_closed(self) -> None:
        """Send what is left, and read until the client has closed: unread data would discard it."""
        with suppress(_Disconnected, OSError):
            await self._flush()
            while not self._protocol.is_closed and (data := await descriptors.read(self._client.fileno())):
                list(self._protocol.receive(data))

    async def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    def _spawn(self, coroutine: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        task = asyncio.create_task(coroutine)
        self._tasks.append(task)
        return task

    def _descriptors(self) -> list[int]:
        session = self._session
        every = (self._stdin, session.stdout, session.stderr, session.terminal)
        return [descriptor for descriptor in every if descriptor is not None]


def _finished(task: asyncio.Task[int]) -> tuple[Outcome, int | None, dict[str, object]]:
    """Return what :meth:`Copier._copy` does, of a task that returns the exit code."""
    try:
        code = task.result()
    except _Disconnected:
        return Outcome.DISCONNECTED, None, {}
    except (ProviderError, OSError) as exc:
        return Outcome.FAILED, None, _failure(getattr(exc, "strerror", None) or str(exc))
    except Exception:
        log.exception("the runtime failed to end a stream")
        return Outcome.FAILED, None, _failure("internal error")
    return Outcome.EXITED, code, _exited(code)


async def _in_thread(function: Callable[[], int]) -> int:
    """Return the result of a function that waits, in a thread that does not hold up the end of the process."""
    future: Future[int] = Future()
    future.set_running_or_notify_cancel()  # from now on, a cancellation of this coroutine does not reach it

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as exc:
            future.set_exception(exc)

    Thread(target=run, daemon=True, name="stream-end").start()
    return await asyncio.wrap_future(future)


def _reap(session: Session) -> None:
    """Wait for the end of a session that was hung up, so that no process without a parent is left."""
    with suppress(Exception):
        session.wait()


def _exited(code: int) -> dict[str, object]:
    """Return the Status of an exit code. Source: `exec.go` of the kubelet's CRI streaming server."""
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def _failure(message: str) -> dict[str, object]:
    return {"metadata": {}, "status": "Failure", "message": message, "reason": "InternalError", "code": 500}
