"""The order in which the containers of a pod are run, and ended.

Init containers run one after another, each until it has succeeded; sidecars (init containers that restart always)
are started among them and stay; then come the others, all at once. The pod is over when none of these will run
again, when an init container has failed for good, or when it is told to stop. Then the containers are ended, and
after them the sidecars, the last one first.

Source: "Init Containers", "Sidecar Containers" and "Pod Lifecycle" in the Kubernetes documentation.
"""

import os
import select
import selectors
import signal
import sys
import time
from types import FrameType
from typing import Any

from . import processes
from .container import BackOff, Container, Pipe
from .record import Record, Stop

_LONGEST_SLEEP = 3600.0
_RETRY_SECONDS = 1.0
"""After how long something is written again that a full disk did not take."""


class Supervisor:
    """Runs one life of a pod from wherever its record says that it is.

    Args:
        plan: what to run: `mark`, `grace` in seconds, `back_off` as two numbers of seconds, `containers`.
        record: the files of this life.

    Raises:
        OSError: nothing can be written.
    """

    def __init__(self, plan: dict[str, Any], record: Record) -> None:
        self._mark: str = plan["mark"]
        self._grace: float = plan["grace"]
        self._record = record
        self._selector = selectors.DefaultSelector()
        self._containers = [
            Container(
                spec,
                directory=record.directory,
                mark=f"{self._mark}{spec['name']}",
                back_off=BackOff(*plan["back_off"]),
                selector=self._selector,
                before=record.containers.get(spec["name"]),
            )
            for spec in plan["containers"]
        ]
        self._stop: Stop | None = None
        self._deadline: float | None = None  # when what has not ended is killed; None while the pod goes on
        self._reason: str | None = None
        self._handing_over = False
        self._write_down()

    def run(self) -> None:
        """Run the pod until it is over, and write down how it ended."""
        # Whatever still runs of this pod, another shim has left behind when it was killed.
        processes.kill_all(processes.marked(self._mark))
        processes.adopt_orphans()
        self._listen()
        self._stop = self._record.stop()
        while True:
            now = time.monotonic()
            self._reap(now)
            wake = self._decide(now)
            if self._deadline is not None and wake is None:
                break
            if not self._try_to_write_down():
                wake = min(now + _RETRY_SECONDS, wake or float("inf"))
            self._wait(wake)
        processes.kill_all(processes.child)
        while not self._try_to_write_down(over=True):
            time.sleep(_RETRY_SECONDS)

    def _decide(self, now: float) -> float | None:
        """Do what is due, and say when something will be; None where only an event can tell."""
        self._look_whether_to_end(now)
        if self._deadline is not None:
            return self._end(now)
        wakes = [now + max(0, self._stop.at / 1e6 - time.time())] if self._stop else []
        for container in self._containers:  # in their order
            due = container.due()
            if due is not None and due <= now:
                if not self._start(container, now):
                    return now + _RETRY_SECONDS
                due = container.due()
            if due is not None:
                wakes.append(due)
            if container.kind == "init" and not container.succeeded:
                break
            if container.kind == "sidecar" and not container.has_started:
                break
        if self._is_done():  # by a command that could not be run
            return self._decide(now)
        return min(wakes, default=None)

    def _start(self, container: Container, now: float) -> bool:
        """Run a container, once it is on the disk that it runs: so it is never run twice, whenever this ends."""
        container.begin()
        try:
            self._write_down()
        except OSError:
            container.withdraw()
            return False
        container.execute(now)
        return True

    def _look_whether_to_end(self, now: float) -> None:
        if self._stop and self._stop.at <= time.time_ns() // 1000:
            grace, reason = self._stop.grace, self._stop.reason
        elif self._handing_over or self._is_done():
            grace, reason = self._grace, None
        else:
            return
        if self._deadline is None:
            self._deadline, self._reason = now + grace, reason
        self._deadline = min(self._deadline, now + grace)

    def _is_done(self) -> bool:
        mains = [container for container in self._containers if container.kind == "main"]
        inits = [container for container in self._containers if container.kind == "init"]
        failed = any(container.done and not container.succeeded for container in inits)
        return failed or all(container.done for container in mains)

    def _end(self, now: float) -> float | None:
        """End those whose turn it is; None where all have ended."""
        alive = [container for container in self._containers if container.pid is not None]
        if not alive or self._deadline is None:
            return None
        if now >= self._deadline:
            for container in alive:
                container.kill()
            return now + _RETRY_SECONDS
        for container in [c for c in alive if c.kind != "sidecar"] or alive[-1:]:
            container.ask_to_end()
        return self._deadline

    def _reap(self, now: float) -> None:
        while ended := _ended_child():
            for container in self._containers:
                if container.pid == ended.si_pid:
                    exited = ended.si_code == os.CLD_EXITED
                    container.end(ended.si_status if exited else 128 + ended.si_status, now)
            os.waitpid(ended.si_pid, 0)

    def _write_down(self, *, over: bool = False) -> None:
        final = over and not self._handing_over
        self._record.add(
            {c.name: c.describe(resting=self._deadline is None) for c in self._containers},
            final=final,
            reason=self._reason if final else None,
        )

    def _try_to_write_down(self, *, over: bool = False) -> bool:
        try:
            self._write_down(over=over)
        except OSError as exc:
            print(f"cannot write down what happens: {exc.strerror}", file=sys.stderr, flush=True)  # noqa: T201
            return False
        return True

    def _listen(self) -> None:
        """Be woken by the bell, by children that end and by SIGTERM."""
        self._selector.register(self._record.bell, selectors.EVENT_READ)
        self._woken, wakeup = os.pipe()
        for fd in (self._woken, wakeup):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(wakeup)
        self._selector.register(self._woken, selectors.EVENT_READ)
        # A handler, and not SIG_IGN, which a container would inherit.
        for signal_ in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(signal_, self._handle)

    def _handle(self, signal_: int, _: FrameType | None) -> None:
        if signal_ == signal.SIGTERM:
            self._handing_over = True

    def _wait(self, wake: float | None) -> None:
        timeout = None if wake is None else min(max(0.0, wake - time.monotonic()), _LONGEST_SLEEP)
        for key, _ in self._selector.select(timeout):
            if isinstance(key.data, Pipe):
                if not key.data.pump():
                    key.data.release()
            elif key.fd == self._record.bell:
                self._stop = self._record.stop()
            else:
                os.read(self._woken, select.PIPE_BUF)


def _ended_child() -> os.waitid_result | None:
    """Find a child that has ended, and leave it a zombie."""
    try:
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
