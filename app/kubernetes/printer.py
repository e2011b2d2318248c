"""The columns READY, STATUS and RESTARTS of `kubectl get pods`.

Source: `printPod` of the API server's printers. The API server computes these columns from a Pod whenever kubectl
asks for a table; nothing stores them. The rules, for a pod and its status:

1. STATUS is the pod's reason, else its phase. `SchedulingGated` replaces it.
2. While an init container has not completed, it is `Init:` and that container's reason, or the number of init
   containers that have completed: `Init:0/2`. A sidecar counts as completed when it has started.
3. After that, it is the reason of the first container that waits or has ended. If that is `Completed` while
   another container runs, it is `Running` if the pod is ready, else `NotReady`.
4. A pod that is being deleted and has not ended is `Terminating`.

READY counts containers and sidecars. RESTARTS counts init containers until these have completed, then sidecars and
containers; it names the time of the last restart.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Self

import msgspec

from app.core.timestamps import format_age, parse_rfc3339
from app.kubernetes import status as full
from app.kubernetes.pod import Pod, PodSpec


class _Schema(msgspec.Struct, rename="camel", frozen=True):
    """Optional fields can be null, as in every Pod."""


class _Container(_Schema, frozen=True):
    name: str
    restart_policy: str | None = None


class _Spec(_Schema, frozen=True):
    containers: tuple[_Container, ...]
    init_containers: tuple[_Container, ...] | None = None


class PodOutline(_Schema, frozen=True):
    """The fields of a Pod on which its columns depend: no value from inside a container."""

    spec: _Spec

    @classmethod
    def parse(cls, text: str) -> Self:
        """Decode the stored text of a Pod."""
        return msgspec.json.decode(text, type=cls)


class _Waiting(_Schema, frozen=True):
    reason: str | None = None


class _Running(_Schema, frozen=True):
    pass


class _Terminated(_Schema, frozen=True):
    exit_code: int = 0
    reason: str | None = None
    signal: int | None = None
    finished_at: str | None = None


class _State(_Schema, frozen=True):
    waiting: _Waiting | None = None
    running: _Running | None = None
    terminated: _Terminated | None = None


class _ContainerStatus(_Schema, frozen=True):
    name: str | None = None
    state: _State | None = None
    last_state: _State | None = None
    ready: bool | None = None
    started: bool | None = None
    restart_count: int | None = None


class _Condition(_Schema, frozen=True):
    type: str | None = None
    status: str | None = None
    reason: str | None = None


class StatusOutline(_Schema, frozen=True):
    """The fields of a PodStatus on which the columns depend."""

    phase: str | None = None
    reason: str | None = None
    conditions: tuple[_Condition, ...] | None = None
    init_container_statuses: tuple[_ContainerStatus, ...] | None = None
    container_statuses: tuple[_ContainerStatus, ...] | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Decode the stored text of a PodStatus."""
        return msgspec.json.decode(text, type=cls)

    @classmethod
    def of(cls, status: dict[str, Any]) -> Self:
        """Convert a decoded PodStatus."""
        return msgspec.convert(status, cls)


_AnyStatus = _ContainerStatus | full.ContainerStatus
_AnyTerminated = _Terminated | full.ContainerStateTerminated
_Conditions = dict[str | None, _Condition | full.PodCondition]


class PodColumns(msgspec.Struct, frozen=True):
    """A pod in `kubectl get pods`.

    Attributes:
        ready_containers: the number of ready containers.
        containers: the number of containers and sidecars.
        status: such as `Running`, `CrashLoopBackOff` or `Init:0/2`.
        restarts: the number of restarts.
        restarted_at: the end of the run before the last restart; None without one.
    """

    ready_containers: int
    containers: int
    status: str
    restarts: int
    restarted_at: datetime | None

    @property
    def ready(self) -> str:
        """The column READY: `1/2`."""
        return f"{self.ready_containers}/{self.containers}"

    def format_restarts(self, at: datetime) -> str:
        """Return the column RESTARTS at a time: `3 (5m ago)`."""
        if not self.restarts or self.restarted_at is None:
            return str(self.restarts)
        return f"{self.restarts} ({format_age(at - self.restarted_at)} ago)"

    def reason(self, phase: str) -> str | None:
        """Return what the status says beyond a phase; None if nothing."""
        return None if self.status in (phase, "Completed") else self.status


def print_pod(
    pod: PodOutline | Pod,
    status: StatusOutline | full.PodStatus,
    *,
    at: datetime | None = None,
    deletion_requested_at: datetime | None = None,
) -> PodColumns:
    """Return the columns of a pod with a status at a time.

    Args:
        pod: the Pod.
        status: the PodStatus.
        at: the time; a deletion that was requested later is ignored. None ignores every deletion.
        deletion_requested_at: when the deletion of the pod was requested; None while it is not.
    """
    sidecars = _sidecars(pod.spec)
    init = _Init(pod.spec, status.init_container_statuses or (), sidecars)
    conditions: _Conditions = {condition.type: condition for condition in status.conditions or ()}
    text = status.reason or status.phase or "Unknown"
    scheduled = conditions.get("PodScheduled")
    if scheduled and scheduled.reason == "SchedulingGated":
        text = "SchedulingGated"
    text, ready, counted = init.reason or text, init.ready_sidecars, init.statuses
    if init.reason is None or _is_true(conditions, "Initialized"):
        containers = status.container_statuses or ()
        text = _status_of_containers(containers, text, is_ready=_is_true(conditions, "Ready"))
        ready += sum(
            1 for container in containers if container.ready and container.state and container.state.running
        )
        counted = [*init.sidecar_statuses, *containers]
    is_deleted = at is not None and deletion_requested_at is not None and deletion_requested_at <= at
    if is_deleted and status.reason == "NodeLost":
        text = "Unknown"
    elif is_deleted and status.phase not in ("Succeeded", "Failed"):
        text = "Terminating"
    ends = [last for container in counted if (last := _terminated(container.last_state)) and last.finished_at]
    return PodColumns(
        ready_containers=ready,
        containers=len(pod.spec.containers) + len(sidecars),
        status=text,
        restarts=sum(container.restart_count or 0 for container in counted),
        restarted_at=max((parse_rfc3339(end.finished_at or "") for end in ends), default=None),
    )


def termination_reason(status: StatusOutline | full.PodStatus) -> str | None:
    """Return why the container that ended last did so, such as `OOMKilled`; None if no container has failed."""
    containers = (*(status.init_container_statuses or ()), *(status.container_statuses or ()))
    ends = [
        end
        for container in containers
        for end in (_terminated(container.state), _terminated(container.last_state))
        if end and end.exit_code
    ]
    return _ended(max(ends, key=lambda end: end.finished_at or "")) if ends else None


class _Init:
    """The init containers of a pod, up to the first that has not completed.

    Attributes:
        reason: `Init:…` of that container; None if all have completed.
        ready_sidecars: the number of sidecars that are ready.
        statuses: the statuses up to that container.
        sidecar_statuses: those of the sidecars.
    """

    def __init__(self, spec: _Spec | PodSpec, statuses: Sequence[_AnyStatus], sidecars: set[str]) -> None:
        self.reason: str | None = None
        self.ready_sidecars = 0
        self.statuses: list[_AnyStatus] = []
        for index, status in enumerate(statuses):
            self.statuses.append(status)
            terminated = _terminated(status.state)
            if terminated and not terminated.exit_code:
                continue
            if status.name in sidecars and status.started:
                self.ready_sidecars += bool(status.ready)
                continue
            self.reason = f"Init:{_init_reason(status) or f'{index}/{len(spec.init_containers or ())}'}"
            break
        self.sidecar_statuses = [status for status in self.statuses if status.name in sidecars]


def _sidecars(spec: _Spec | PodSpec) -> set[str]:
    """Return the names of the init containers that run beside the containers."""
    return {container.name for container in spec.init_containers or () if container.restart_policy == "Always"}


def _init_reason(status: _AnyStatus) -> str | None:
    """Return the reason of an init container that has not completed; None for one that runs or did not start."""
    if terminated := _terminated(status.state):
        return _ended(terminated)
    waiting = status.state.waiting if status.state else None
    return waiting.reason if waiting and waiting.reason != "PodInitializing" else None


def _status_of_containers(containers: Iterable[_AnyStatus], text: str, *, is_ready: bool) -> str:
    """Return the column STATUS of a pod whose init containers have completed."""
    failed, runs = None, False
    for container in reversed(list(containers)):
        state = container.state
        if state is None:
            continue
        if state.waiting and state.waiting.reason:
            text = state.waiting.reason
        elif state.terminated:
            text = _ended(state.terminated)
            failed = text if state.terminated.exit_code else failed
        elif container.ready and state.running:
            runs = True
    if text != "Completed":
        return text
    if runs and is_ready:
        return "Running"
    return failed or ("NotReady" if runs else text)


def _ended(terminated: _AnyTerminated) -> str:
    """Return the reason of a container that has ended, else its signal or its exit code."""
    if terminated.reason:
        return terminated.reason
    if terminated.signal:
        return f"Signal:{terminated.signal}"
    return f"ExitCode:{terminated.exit_code}"


def _terminated(state: _State | full.ContainerState | None) -> _AnyTerminated | None:
    return state.terminated if state else None


def _is_true(conditions: _Conditions, kind: str) -> bool:
    condition = conditions.get(kind)
    return condition is not None and condition.status == "True"
