"""Compute a pod's status at a time from its previous status, as one sync of a kubelet does.

The problem: the status at any time must be computable in any process, after any restart, without stored state
beside the status itself.

The rule: :func:`sync_pod` is level-triggered. From the previous status and the time it derives the status that
should hold, and the next time at which the status changes by itself (`due`). Called again for the same time, or
for a time before `due`, it changes nothing. Init containers run one after another; the containers start after the
last of them; sidecars are stopped when the last container has ended for good.

An example: an init container that runs for 5 s. At 0 s it is running and `due` is 5 s. At 5 s it has terminated,
the containers are running and `due` is None.

Source: `computePodActions` of the kubelet, "Init Containers" and "Sidecar Containers" in the Kubernetes
documentation.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from msgspec.structs import replace

from app.core.timestamps import parse_rfc3339, rfc3339
from app.kubernetes.container_status import ContainerStatuses, running, terminated, without_restart
from app.kubernetes.status import ContainerStatus, PodStatus
from app.runtimes.synthetic.container import ContainerUpdate, has_ended_for_good, reconcile_container
from app.runtimes.synthetic.pod import SECOND, SimulatedContainer, SimulatedPod
from app.runtimes.synthetic.resize import IN_PROGRESS
from app.runtimes.synthetic.restart_all import reset_containers, restart_all_at
from app.runtimes.synthetic.status import build_pod_status
from app.runtimes.synthetic.stop_order import ContainersByKind, plan_stops
from app.runtimes.synthetic.termination import apply_failure, stop_container

Updates = list[ContainerUpdate]


class SyncResult(NamedTuple):
    """A pod's status, and the time of its next change; None where it will not change by itself."""

    status: PodStatus
    due: datetime | None


def sync_pod(pod: SimulatedPod, before: PodStatus | None, *, at: datetime) -> SyncResult:
    """Return the status of a pod at a time.

    Args:
        pod: the pod.
        before: its previous status; None for a new pod.
        at: the time.
    """
    if before and (before.is_terminal or before.phase == "Unknown"):
        return SyncResult(before, None)
    failure = pod.failure if pod.failure and at >= pod.failure.at else None
    if before and failure:
        return SyncResult(*apply_failure(pod, failure, before, at=at))
    if before and (restart_at := restart_all_at(pod, before)) and at >= restart_at:
        before = reset_containers(before)
    updates = _PodSync(pod, before, at, may_start=failure is None).updates()
    statuses = ContainerStatuses(*[[update.status for update in kind] for kind in updates])
    status = build_pod_status(pod, statuses, before=before, at=at)
    if failure:  # its deadline has passed while it waited for another pod of its name: no container starts
        return SyncResult(*apply_failure(pod, failure, status, at=at))
    if status.is_terminal:
        return SyncResult(status, None)
    dues = [update.due for kind in updates for update in kind if update.due]
    dues += [time for time in (pod.sandbox_at, pod.starts_at) if time > at]
    if restart_at := restart_all_at(pod, status):
        dues.append(restart_at)
    if pod.failure:
        dues.append(pod.failure.at)
    return SyncResult(status, min(dues, default=None))


class _PodSync:
    """One sync: the previous statuses, and the time from which the next container may start.

    Args:
        may_start: whether containers of a new pod start.
    """

    def __init__(
        self, pod: SimulatedPod, before: PodStatus | None, at: datetime, *, may_start: bool = True
    ) -> None:
        self._pod, self._at = pod, at
        self._known: dict[str, ContainerStatus] = {}
        self._resize_started_at: datetime | None = None
        self._has_run = False
        self._start: datetime | None = pod.start_second if may_start and at >= pod.starts_at else None
        self._may_start_at = self._start
        if before:
            self._known = {status.name: status for status in before.all_containers}
            self._has_run = any(status.container_id for status in before.container_statuses)
            started = [c.last_transition_time for c in before.conditions if c.type == IN_PROGRESS]
            self._resize_started_at = parse_rfc3339(started[0]) if started else None

    def updates(self) -> tuple[Updates, Updates, Updates]:
        """Return the updates of the init, regular and ephemeral containers, each in the order of the spec."""
        pod = self._pod
        if self._has_run:
            regular = self._reconcile_all(pod.regular, since=pod.start_second)
            init = self._reconcile_init()
        else:
            init = self._reconcile_init()
            regular = self._reconcile_all(pod.regular, since=self._may_start_at)
        ephemeral = self._reconcile_all(pod.ephemeral, since=self._start)
        ended_at = self._ended_at(init, regular)
        if ended_at is not None:
            init, ephemeral = self._stop_rest(init, regular, ephemeral, ended_at)
        return init, regular, ephemeral

    def _reconcile_all(self, containers: Iterable[SimulatedContainer], *, since: datetime | None) -> Updates:
        return [self._reconcile(container, since) for container in containers]

    def _reconcile_init(self) -> Updates:
        """Reconcile the init containers, each after those before it.

        After the regular containers have run, init containers are not run again and sidecars restart
        independently. An init container that was added to such a pod counts as completed.
        """
        pod = self._pod
        if self._has_run:
            return [
                self._completed(container)
                if container.kind == "init" and container.spec.name not in self._known
                else self._reconcile(container, pod.start_second)
                for container in pod.init
            ]
        updates = []
        for container in pod.init:
            update = self._reconcile(container, self._may_start_at)
            updates.append(update)
            if self._may_start_at is not None:
                done_at = _done_at(container, update.status)
                self._may_start_at = None if done_at is None else max(self._may_start_at, done_at)
        return updates

    def _ended_at(self, init: Updates, regular: Updates) -> datetime | None:
        """Return the time at which the pod's work ended; None while a container is running or will restart."""
        pod = self._pod
        failed = [
            update.status
            for container, update in zip(pod.init, init, strict=True)
            if container.kind == "init"
            and has_ended_for_good(pod, container, update.status)
            and not update.status.ready
        ]
        ended = failed or [update.status for update in regular]
        if not failed and not all(
            has_ended_for_good(pod, container, update.status)
            for container, update in zip(pod.regular, regular, strict=True)
        ):
            return None
        ends = [status.state.terminated.finished_at for status in ended if status.state.terminated]
        return max((parse_rfc3339(end) for end in ends if end), default=self._at)

    def _stop_rest(
        self, init: Updates, regular: Updates, ephemeral: Updates, ended_at: datetime
    ) -> tuple[Updates, Updates]:
        """Stop the sidecars and the ephemeral containers of a pod whose work ended."""
        pod = self._pod
        init = [self._not_restarted(*pair) for pair in zip(pod.init, init, strict=True)]
        pairs = ContainersByKind(*(
            [(container, update.status) for container, update in zip(containers, updates, strict=True)]
            for containers, updates in ((pod.init, init), (pod.regular, regular), (pod.ephemeral, ephemeral))
        ))  # fmt: skip
        stops = plan_stops(pairs, stopped_at=ended_at, grace=pod.grace)

        def stopped(container: SimulatedContainer, update: ContainerUpdate) -> ContainerUpdate:
            stop = stops.get(container.spec.name)
            if stop is None:
                return ContainerUpdate(update.status)
            if self._at >= stop.at:
                return ContainerUpdate(stop_container(container, update.status, stop, at=self._at))
            return ContainerUpdate(update.status, min(update.due or stop.at, stop.at))

        return (
            [stopped(*pair) for pair in zip(pod.init, init, strict=True)],
            [stopped(*pair) for pair in zip(pod.ephemeral, ephemeral, strict=True)],
        )

    def _not_restarted(self, container: SimulatedContainer, update: ContainerUpdate) -> ContainerUpdate:
        """Return the update of an init container without a restart of a sidecar."""
        if container.kind != "sidecar":
            return update
        before = self._known.get(container.spec.name, update.status)
        if before.state.running:
            return update if update.status.state.running else ContainerUpdate(before)
        return ContainerUpdate(without_restart(before))

    def _reconcile(self, container: SimulatedContainer, since: datetime | None) -> ContainerUpdate:
        before = self._known.get(container.spec.name)
        return reconcile_container(
            self._pod, container, before, at=self._at, since=since, resize_started_at=self._resize_started_at
        )

    def _completed(self, container: SimulatedContainer) -> ContainerUpdate:
        """Return a run that started and completed at this time."""
        at = rfc3339(self._at)
        run = running(container.spec, pod_uid=self._pod.uid, at=at, resources=container.resources)
        return ContainerUpdate(replace(terminated(run, at=at, exit_code=0), ready=True))


def _done_at(container: SimulatedContainer, status: ContainerStatus) -> datetime | None:
    """Return the time from which the next container may start; None while the init container blocks it.

    An init container must have succeeded; a sidecar must be started.
    """
    if container.kind == "init":
        ended = status.state.terminated
        return parse_rfc3339(ended.finished_at) if ended and ended.finished_at and ended.exit_code == 0 else None
    if status.state.running and status.started:
        return parse_rfc3339(status.state.running.started_at) + (container.plan.started or 0) * SECOND
    return None
