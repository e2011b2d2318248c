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

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Self

import msgspec

from app.core.timestamps import format_age, parse_rfc3339

Status = Mapping[str, Any]
"""A PodStatus as JSON, or a part of it."""


class _Schema(msgspec.Struct, rename="camel", frozen=True):
    """Optional fields can be null, as in every Pod."""


class _Container(_Schema, frozen=True):
    name: str
    restart_policy: str | None = None


class _Spec(_Schema, frozen=True):
    containers: tuple[_Container, ...]
    init_containers: tuple[_Container, ...] | None = None

    @property
    def sidecars(self) -> set[str]:
        """The names of the init containers that run beside the containers."""
        return {container.name for container in self.init_containers or () if container.restart_policy == "Always"}


class PodOutline(_Schema, frozen=True):
    """The fields of a Pod on which its columns depend: no value from inside a container."""

    spec: _Spec

    @classmethod
    def parse(cls, text: str) -> Self:
        """Decode the stored text of a Pod."""
        return msgspec.json.decode(text, type=cls)


class PodColumns(msgspec.Struct, frozen=True):
    """A pod in `kubectl get pods`.

    Attributes:
        ready: ready containers and all containers: `1/2`.
        status: such as `Running`, `CrashLoopBackOff` or `Init:0/2`.
        restarts: the number of restarts.
        restarted_at: the end of the run before the last restart; None without one.
    """

    ready: str
    status: str
    restarts: int
    restarted_at: datetime | None

    def format_restarts(self, at: datetime) -> str:
        """Return the column RESTARTS at a time: `3 (5m ago)`."""
        if not self.restarts or self.restarted_at is None:
            return str(self.restarts)
        return f"{self.restarts} ({format_age(at - self.restarted_at)} ago)"

    def reason(self, phase: str) -> str | None:
        """Return what the status says beyond a phase; None if nothing."""
        return None if self.status in (phase, "Completed") else self.status


def print_pod(
    pod: PodOutline, status: Status, *, at: datetime, deletion_requested_at: datetime | None
) -> PodColumns:
    """Return the columns of a pod with a status at a time.

    Args:
        pod: the Pod.
        status: the PodStatus.
        at: the time; a deletion that was requested later is ignored.
        deletion_requested_at: when the deletion of the pod was requested; None while it is not.
    """
    init = _Init(pod.spec, status.get("initContainerStatuses") or ())
    conditions = {condition.get("type"): condition for condition in status.get("conditions") or ()}
    text = str(status.get("reason") or status.get("phase") or "Unknown")
    if (conditions.get("PodScheduled") or {}).get("reason") == "SchedulingGated":
        text = "SchedulingGated"
    text, ready, counted = init.reason or text, init.ready_sidecars, init.statuses
    if init.reason is None or _is_true(conditions, "Initialized"):
        containers = status.get("containerStatuses") or ()
        text = _status_of_containers(containers, text, is_ready=_is_true(conditions, "Ready"))
        ready += sum(1 for container in containers if container.get("ready") and _state(container, "running"))
        counted = [*init.sidecar_statuses, *containers]
    is_deleted = deletion_requested_at is not None and deletion_requested_at <= at
    if is_deleted and status.get("reason") == "NodeLost":
        text = "Unknown"
    elif is_deleted and status.get("phase") not in ("Succeeded", "Failed"):
        text = "Terminating"
    return PodColumns(
        ready=f"{ready}/{len(pod.spec.containers) + len(pod.spec.sidecars)}",
        status=text,
        restarts=sum(int(container.get("restartCount") or 0) for container in counted),
        restarted_at=max(_ends_of_last_runs(counted), default=None),
    )


class _Init:
    """The init containers of a pod, up to the first that has not completed.

    Attributes:
        reason: `Init:…` of that container; None if all have completed.
        ready_sidecars: the number of sidecars that are ready.
        statuses: the statuses up to that container.
        sidecar_statuses: those of the sidecars.
    """

    def __init__(self, spec: _Spec, statuses: Iterable[Status]) -> None:
        sidecars = spec.sidecars
        self.reason: str | None = None
        self.ready_sidecars = 0
        self.statuses: list[Status] = []
        for index, status in enumerate(statuses):
            self.statuses.append(status)
            is_started_sidecar = status.get("name") in sidecars and status.get("started")
            terminated = _state(status, "terminated")
            if terminated and not terminated.get("exitCode"):
                continue
            if is_started_sidecar:
                self.ready_sidecars += bool(status.get("ready"))
                continue
            self.reason = f"Init:{_init_reason(status) or f'{index}/{len(spec.init_containers or ())}'}"
            break
        self.sidecar_statuses = [status for status in self.statuses if status.get("name") in sidecars]


def _init_reason(status: Status) -> str | None:
    """Return the reason of an init container that has not completed; None for one that runs or did not start."""
    if terminated := _state(status, "terminated"):
        return _ended(terminated)
    reason = (_state(status, "waiting") or {}).get("reason")
    return str(reason) if reason and reason != "PodInitializing" else None


def _status_of_containers(containers: Iterable[Status], text: str, *, is_ready: bool) -> str:
    """Return the column STATUS of a pod whose init containers have completed."""
    failed, runs = None, False
    for container in reversed(list(containers)):
        waiting, terminated = _state(container, "waiting"), _state(container, "terminated")
        if waiting and waiting.get("reason"):
            text = str(waiting["reason"])
        elif terminated:
            text = _ended(terminated)
            failed = text if terminated.get("exitCode") else failed
        elif container.get("ready") and _state(container, "running"):
            runs = True
    if text != "Completed":
        return text
    if runs and is_ready:
        return "Running"
    return failed or ("NotReady" if runs else text)


def _ended(terminated: Status) -> str:
    """Return the reason of a container that has ended, else its signal or its exit code."""
    if terminated.get("reason"):
        return str(terminated["reason"])
    if terminated.get("signal"):
        return f"Signal:{terminated['signal']}"
    return f"ExitCode:{terminated.get('exitCode', 0)}"


def _state(container: Status, kind: str) -> Status | None:
    found: Status | None = (container.get("state") or {}).get(kind)
    return found


def _is_true(conditions: Mapping[Any, Status], kind: str) -> bool:
    return (conditions.get(kind) or {}).get("status") == "True"


def _ends_of_last_runs(statuses: Iterable[Status]) -> Iterable[datetime]:
    for status in statuses:
        terminated = (status.get("lastState") or {}).get("terminated") or {}
        if terminated.get("finishedAt"):
            yield parse_rfc3339(terminated["finishedAt"])
