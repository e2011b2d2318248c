"""The order in which the containers of a pod start and end.

Init containers run one after another, each until it succeeds. Sidecars (init containers with `restartPolicy:
Always`) start in the same order and keep running. Then the main containers start in their order. They do not
wait for each other, except that none starts while the postStart hook of another one runs: a proxy uses such a
hook to be ready before the application. The pod ends when no main container runs again, when an init container
fails without a restart, or when a stop is requested. Then the main containers are ended, and after them the
sidecars in reverse order, in one grace period.

Ephemeral containers are added while the pod runs. They start at once, run once, and end with the main containers.

Source: "Init Containers", "Sidecar Containers", "Ephemeral Containers" and "Pod Lifecycle" in the Kubernetes
documentation; of the hooks `SyncPod` in `kuberuntime_manager.go`.
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
from .container import BackOff, Container
from .record import Record, StopRequest
from .sessions import Sessions
from .usage import UsageMeter
from .volumes import VolumeProblem, Volumes

_MAX_SLEEP_SECONDS = 3600.0
_RETRY_SECONDS = 1.0
"""The delay before a failed write is repeated, or volumes that were not ready are tried again."""
_EVICTION_GRACE_SECONDS = 1.0
"""The grace period of an eviction, as in a kubelet."""


class Supervisor:
    """Runs one instance of a pod, and continues from its recorded state.

    Args:
        plan: `mark`, `grace` in seconds, `back_off` as two numbers of seconds, `containers`, and what
            :class:`Volumes` needs.
        record: the files of this instance.

    Raises:
        OSError: the state cannot be written.
    """

    def __init__(self, plan: dict[str, Any], record: Record) -> None:
        self._mark: str = plan["mark"]
        self._meter = UsageMeter(record.directory, self._mark)
        self._grace: float = plan["grace"]
        self._record = record
        self._volumes = Volumes(plan, record.directory)
        self._evicted: str | None = None  # the message of the eviction
        self._selector = selectors.DefaultSelector()
        self._containers: list[Container] = []
        self._back_off: list[float] = plan["back_off"]
        self._sessions = Sessions(record.streams_socket, self._containers, self._selector)
        self._add_containers(plan)
        self._stop: StopRequest | None = None
        self._deadline: float | None = None  # monotonic end of the grace period; None until the pod is being ended
        self._reason: str | None = None
        self._handing_over = False
        self._restart_by: float | None = None  # monotonic time from which all containers are ended for a restart
        self._save_state()

    def _add_containers(self, plan: dict[str, Any]) -> None:
        """Add the containers of a plan that are new: all of the first one, then ephemeral ones."""
        names = {container.name for container in self._containers}
        self._containers += [
            Container(
                spec,
                directory=self._record.directory,
                mark=f"{self._mark}{spec['name']}",
                back_off=BackOff(*self._back_off),
                selector=self._selector,
                before=self._record.containers.get(spec["name"]),
            )
            for spec in plan["containers"]
            if spec["name"] not in names
        ]

    def run(self) -> None:
        """Run the pod until it ends, and save its final state."""
        # Kill the processes that a killed shim has left behind.
        processes.kill_all(processes.marked(self._mark))
        processes.adopt_orphans()
        self._listen()
        self._read_stop()
        while True:
            now = time.monotonic()
            self._reap(now)
            polled = self._poll(now)
            wake = self._reconcile(now)
            if self._deadline is not None and wake is None:
                break
            self._meter.measure(now, self._containers)
            wakes = [wake, polled, self._sessions.reconcile(now), self._volumes.due()]
            if not self._try_save_state():
                wakes.append(now + _RETRY_SECONDS)
            self._wait(min((wake for wake in wakes if wake is not None), default=None))
        processes.kill_all(processes.child)
        self._reap(time.monotonic())
        if not self._may_continue:
            self._volumes.remove()
        while not self._try_save_state(over=True):
            time.sleep(_RETRY_SECONDS)
        self._sessions.drain()

    @property
    def _may_continue(self) -> bool:
        """Whether another shim may continue the pod, which then needs its volumes."""
        return self._handing_over

    @property
    def exit_code(self) -> int:
        """The code of the first container that has failed; 0 if none has."""
        runs = [c.describe(resting=False)["run"] for c in self._containers if c.kind in ("init", "main")]
        return next((run["code"] for run in runs if run and run["code"]), 0)

    def _poll(self, now: float) -> float | None:
        """Read the files of the provider; return the monotonic time of the next read.

        None: the provider wakes the shim.
        """
        return None

    def _take_plan(self) -> None:
        """Use the plan that a provider sends."""
        self._use_plan(self._record.receive_plan())

    def _use_plan(self, plan: Any) -> None:
        """Use the plan of a changed pod for the next run of each container; None is no plan."""
        if plan:
            self._grace = plan["grace"]
            specs = {spec["name"]: spec for spec in plan["containers"]}
            for container in self._containers:
                container.spec = specs.get(container.name, container.spec)
            self._volumes.add(plan)
            self._add_containers(plan)

    def _reconcile(self, now: float) -> float | None:
        """Start or end due containers. Return the time of the next action; None to wait for an event."""
        self._set_deadline_if_ending(now)
        if self._deadline is not None:
            return self._end_containers(now)
        if any(container.restarts_all for container in self._containers):
            return self._restart_all(now)
        wakes = [now + max(0, self._stop.at / 1e6 - time.time())] if self._stop else []
        for container in sorted(self._containers, key=lambda container: container.kind != "ephemeral"):
            due = container.due()
            is_held = container.kind != "ephemeral" and any(other.is_starting for other in self._containers)
            if due is not None and due <= now and not is_held:
                if not self._start(container, now):
                    return now + _RETRY_SECONDS
                due = container.due()
            if due is not None and not is_held:
                wakes.append(due)
            if container.stop_by is not None:
                wakes.append(container.stop(now, container.stop_by, is_turn=True))
            if container.kind == "init" and not container.succeeded:
                break
            if container.kind == "sidecar" and not container.has_started:
                break
        if self._is_done():  # because a command could not be started
            return self._reconcile(now)
        return min(wakes, default=None)

    def _restart_all(self, now: float) -> float | None:
        """End all containers but ephemeral ones without a grace period, then begin again with the first."""
        restarted = [container for container in self._containers if container.kind != "ephemeral"]
        alive = [container for container in restarted if container.pid is not None]
        if alive:
            self._restart_by = now if self._restart_by is None else self._restart_by
            return min(container.stop(now, self._restart_by, is_turn=True) for container in alive)
        self._restart_by = None
        for container in restarted:
            container.reset()
        return self._reconcile(now)

    def _start(self, container: Container, now: float) -> bool:
        """Save that a container runs, then run it: a shim that is killed in between never runs it twice.

        Return False if it could not be saved. A container whose volumes are not ready is held.
        """
        try:
            prepared = self._volumes.prepare(container.spec)
        except VolumeProblem as exc:
            container.hold(exc.waiting, until=now + _RETRY_SECONDS)
            return True
        container.begin(prepared)
        try:
            self._save_state()
        except OSError:
            container.withdraw()
            return False
        container.execute(now)
        return True

    def _set_deadline_if_ending(self, now: float) -> None:
        """Set the end of the grace period if a stop is due or the pod is done."""
        self._evicted = self._evicted or self._volumes.exceeded(now)
        grace: float
        reason: str | None
        if self._evicted:
            grace, reason = _EVICTION_GRACE_SECONDS, "Evicted"
        elif self._stop and self._stop.is_due(time.time()):
            grace, reason = self._stop.remaining_grace(time.time()), self._stop.reason
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

    def _end_containers(self, now: float) -> float | None:
        """End the next containers. Return the time of the next action; None if all have ended."""
        alive = [container for container in self._containers if container.pid is not None]
        if not alive or self._deadline is None:
            return None
        mains = [container for container in alive if container.kind in ("init", "main")]
        turn = [container for container in alive if container.kind == "ephemeral"]
        turn += mains or [container for container in alive if container.kind == "sidecar"][-1:]
        return min(container.stop(now, self._deadline, is_turn=container in turn) for container in alive)

    def _reap(self, now: float) -> None:
        running = [container for container in self._containers if container.pid is not None]
        while ended := _ended_child():
            exited = ended.si_code == os.CLD_EXITED
            code = ended.si_status if exited else 128 + ended.si_status
            owner = self._owner(ended.si_pid, running)
            for container in self._containers:
                if container.hook_pid == ended.si_pid:
                    container.end_hook(now, succeeded=exited and ended.si_status == 0)
                elif container.pid == ended.si_pid:
                    container.end(code, now)
                    self._sessions.container_ended(container)
            self._sessions.reaped(ended.si_pid, code)
            _, _, usage = os.wait4(ended.si_pid, 0)
            self._meter.reaped(ended.si_pid, usage, owner)

    def _owner(self, pid: int, running: list[Container]) -> Container | None:
        """Return the container of a child of the shim; None if its session is not that of a process on record.

        Args:
            pid: the child, a zombie.
            running: the containers that ran before this child and others with it were reaped: the processes of a
                container that ends are killed, and reaped with it.
        """
        if len(running) == 1:
            return running[0]
        session = os.getsid(pid)
        leads = [container for container in running if session in (container.pid, container.hook_pid)]
        return leads[0] if leads else self._sessions.container_of(session)

    def _save_state(self, *, over: bool = False) -> None:
        final = over and not self._handing_over
        self._record.add(
            {c.name: c.describe(resting=self._deadline is None) for c in self._containers},
            final=final,
            reason=self._reason if final else None,
            message=self._evicted if final and self._reason == "Evicted" else self._volumes.note,
        )

    def _try_save_state(self, *, over: bool = False) -> bool:
        try:
            self._save_state(over=over)
        except OSError as exc:
            print(f"cannot save the state: {exc.strerror}", file=sys.stderr, flush=True)  # noqa: T201
            return False
        return True

    def _listen(self) -> None:
        """Register the events that wake the shim, with their handlers: pipe, sockets, SIGCHLD and SIGTERM."""
        self._selector.register(self._record.wake_fifo, selectors.EVENT_READ, self._read_stop)
        self._selector.register(self._record.plan_socket, selectors.EVENT_READ, self._take_plan)
        self._selector.register(self._record.streams_socket, selectors.EVENT_READ, self._sessions.accept)
        self._woken, wakeup = os.pipe()
        for fd in (self._woken, wakeup):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(wakeup)
        self._selector.register(self._woken, selectors.EVENT_READ, lambda: os.read(self._woken, select.PIPE_BUF))
        # A handler instead of SIG_IGN: a container would inherit SIG_IGN.
        for signal_ in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(signal_, self._handle)

    def _handle(self, signal_: int, _: FrameType | None) -> None:
        if signal_ == signal.SIGTERM:
            self._handing_over = True

    def _wait(self, wake: float | None) -> None:
        timeout = None if wake is None else min(max(0.0, wake - time.monotonic()), _MAX_SLEEP_SECONDS)
        for key, _ in self._selector.select(timeout):
            key.data()

    def _read_stop(self) -> None:
        if self._record.empty_pipe():
            self._meter.ask()
        self._stop = self._record.stop()


def _ended_child() -> os.waitid_result | None:
    """Return a child that has ended, without reaping it; None if there is none."""
    try:
        return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
