"""A container: its runs one after another, its log, and when it is to be run again."""

import contextlib
import os
import selectors
import signal
import subprocess
import time
from functools import partial
from typing import Any

from .log import Lines, Log
from .processes import MARK, die_with, in_session, kill_all, marked
from .record import rfc3339_micro

LOST = {
    "code": 137,
    "reason": "ContainerStatusUnknown",
    "message": "the shim that ran this container is gone, and how the container ended with it",
}
"""How a run ends that nobody saw the end of."""

_CHUNK = 64 * 1024
_LARGEST_PIPE = 1024 * 1024


class BackOff:
    """How long a container rests before it is run again.

    The first restart comes at once, then the pauses double; who has run for twice the longest pause starts over.
    Source: `client-go/util/flowcontrol/backoff.go` as a kubelet's `doBackOff` uses it.

    Args:
        initial: the first pause, in seconds.
        longest: where the doubling ends.
    """

    def __init__(self, initial: float, longest: float) -> None:
        self._initial = initial
        self._longest = longest
        self._next = 0.0
        self._restarted = float("-inf")

    def pause(self, ended: float) -> float:
        """Give the pause after a run that ended then."""
        return 0.0 if ended - self._restarted > 2 * self._longest else self._next

    def restart(self, ended: float, now: float) -> None:
        """Take note that the container is run again."""
        self._next = min(2 * self.pause(ended), self._longest) or self._initial
        self._restarted = now


class Container:
    """A container, as a shim runs it. It is run at most once at a time.

    Args:
        spec: its part of the plan: `name`, `kind` (init, sidecar or main), `policy`, `argv`, `env`, `cwd`.
        directory: of this life of the pod.
        mark: what its processes are marked with.
        back_off: how long it rests.
        selector: where its pipes are waited for.
        before: what it was in when another shim left it.
    """

    def __init__(
        self,
        spec: dict[str, Any],
        *,
        directory: str,
        mark: str,
        back_off: BackOff,
        selector: selectors.BaseSelector,
        before: dict[str, Any] | None = None,
    ) -> None:
        self.name: str = spec["name"]
        self.kind: str = spec["kind"]
        self.pid: int | None = None
        self.has_started = False
        self._spec = spec
        self._directory = os.path.join(directory, self.name)
        self._mark = mark
        self._back_off = back_off
        self._selector = selector
        self._runs: int = before["runs"] if before else 0
        self._run: dict[str, Any] | None = before["run"] if before else None
        self._previous: dict[str, Any] | None = before["previous"] if before else None
        self._ended = float("-inf")
        self._told = False
        self._pipes: list[Pipe] = []
        self._log: Log | None = None
        if self._run and self._run["finished"] is None:
            self._run = {**self._run, "finished": _wall(), **LOST}

    @property
    def succeeded(self) -> bool:
        """Whether its last run ended well."""
        return self._run is not None and self._run["finished"] is not None and self._run["code"] == 0

    @property
    def restarts(self) -> bool:
        """Whether it is to be run again, now that a run has ended."""
        policy = self._spec["policy"]
        if self.kind == "init" and policy == "Always":
            policy = "OnFailure"  # its work is done once
        return policy == "Always" or (policy == "OnFailure" and not self.succeeded)

    @property
    def done(self) -> bool:
        """Whether it has run and will not run again."""
        return self._run is not None and self.pid is None and not self.restarts

    def due(self) -> float | None:
        """Say from when on it is to be run, as monotonic time; None where it runs, or has done its work."""
        if self.pid is not None or self.done:
            return None
        return self._ended + self._back_off.pause(self._ended) if self._run else float("-inf")

    def describe(self, *, resting: bool) -> dict[str, Any]:
        """Say what it is in.

        Args:
            resting: who rests until it is run again says so.
        """
        has_ended = self._run is not None and self._run["finished"] is not None
        pause = self._back_off.pause(self._ended) if resting and has_ended and self.restarts else 0.0
        return {"runs": self._runs, "run": self._run, "previous": self._previous, "pause": pause or None}

    def begin(self) -> None:
        """Take note that it is about to be run. What is noted is on the disk before :meth:`execute`."""
        self._before = self._runs, self._run, self._previous
        run = {"started": _wall(), "finished": None, "code": None, "reason": None, "message": None}
        self._runs, self._run, self._previous = self._runs + 1, run, self._run

    def withdraw(self) -> None:
        """Take that back."""
        self._runs, self._run, self._previous = self._before

    def execute(self, now: float) -> None:
        """Run it. A command that cannot be run is a run that failed."""
        if self._runs > 1:
            self._back_off.restart(self._ended, now)
        self._told = False
        self._log = Log(self._directory, self._runs - 1)
        ends = [os.pipe(), os.pipe()]
        try:
            process = subprocess.Popen(  # noqa: S603 - to run what a pod says is what this is for
                self._spec["argv"],
                env={**self._spec["env"], MARK: self._mark},
                cwd=self._spec["cwd"],
                stdin=subprocess.DEVNULL,
                stdout=ends[0][1],
                stderr=ends[1][1],
                start_new_session=True,
                umask=0o022,
                preexec_fn=partial(die_with, os.getpid()),  # noqa: PLW1509 - there are no threads in a shim
            )
        except (OSError, ValueError) as exc:
            # A name of the field and of the error: the command may hold a secret.
            field = "workingDir" if getattr(exc, "filename", None) == self._spec["cwd"] else "command"
            problem = getattr(exc, "strerror", None) or "not what a process can be given"
            self._finish(128, now, reason="StartError", message=f"{field}: {problem}")
            for reading, _ in ends:
                os.close(reading)
        else:
            process.returncode = 0  # this shim reaps its children itself
            self.pid = process.pid
            self.has_started = True
            for stream, (reading, _) in zip(("stdout", "stderr"), ends, strict=True):
                self._pipes.append(Pipe(reading, stream, self._log, self._selector))
        for _, writing in ends:
            os.close(writing)

    def ask_to_end(self) -> None:
        """Send SIGTERM to its process group, once."""
        if self.pid is not None and not self._told:
            self._told = True
            with contextlib.suppress(PermissionError):  # it has become another user's
                os.killpg(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Kill all of its processes."""
        if self.pid is not None:
            kill_all(in_session(self.pid), marked(f"{self._mark}\0"))

    def end(self, code: int, now: float) -> None:
        """Take note that its process has ended. It is a zombie still, so its number is nobody else's."""
        self.kill()
        self.pid = None
        for pipe in self._pipes:
            pipe.release()
        self._finish(code, now, reason="Error" if code else "Completed")

    def _finish(self, code: int, now: float, *, reason: str, message: str | None = None) -> None:
        self._run = {**(self._run or {}), "finished": _wall(), "code": code, "reason": reason, "message": message}
        self._ended = now
        self._pipes = []
        if self._log:
            self._log.close()


class Pipe:
    """What a container writes to one of its streams, on its way into the log."""

    def __init__(self, fd: int, stream: str, log: Log, selector: selectors.BaseSelector) -> None:
        self._fd = fd
        self._stream = stream
        self._log = log
        self._selector = selector
        self._lines = Lines()
        self._is_open = True
        os.set_blocking(fd, False)
        selector.register(fd, selectors.EVENT_READ, self)

    def pump(self) -> bool:
        """Move what is there, up to a chunk; False where nothing can come any more."""
        try:
            data = os.read(self._fd, _CHUNK)
        except BlockingIOError:
            return True
        self._log.write(self._stream, self._lines.feed(data))
        return bool(data)

    def release(self) -> None:
        """Move all that is left, and let go of it: a process that has escaped might write for ever."""
        if not self._is_open:
            return
        for _ in range(_LARGEST_PIPE // _CHUNK):
            if not self.pump():
                break
        self._log.write(self._stream, self._lines.end())
        self._selector.unregister(self._fd)
        os.close(self._fd)
        self._is_open = False


def _wall() -> str:
    return rfc3339_micro(time.time_ns() // 1000)
