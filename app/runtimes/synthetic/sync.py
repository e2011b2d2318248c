"""What a pod comes to from one status to the next: a kubelet's sync, with nothing but the status to remember.

Source: `computePodActions` of the kubelet, "Init Containers" and "Sidecar Containers" in the Kubernetes
documentation.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from msgspec.structs import replace

from app.core.timestamps import parse_rfc3339, rfc3339
from app.kubernetes.container_status import running, terminated
from app.kubernetes.status import ContainerStatus, PodStatus
from app.runtimes.synthetic.container import ContainerUpdate, is_over, reconcile_container
from app.runtimes.synthetic.pod import SECOND, SimulatedContainer, SimulatedPod
from app.runtimes.synthetic.resize import IN_PROGRESS, resources
from app.runtimes.synthetic.status import build_pod_status
from app.runtimes.synthetic.termination import apply_failure, settled, stop_container


class SyncResult(NamedTuple):
    """A pod's status, and when it is to be looked at again; None where it will not change by itself."""

    status: PodStatus
    due: datetime | None


def sync_pod(pod: SimulatedPod, before: PodStatus | None, *, at: datetime) -> SyncResult:
    """Bring a pod up to a time.

    Asked again for the same time, or for one before it is due, it changes nothing more.

    Args:
        life: its life.
        before: its status until now, None for a new pod.
        at: the present.
    """
    if before and (before.is_terminal or before.phase == "Unknown"):
        return SyncResult(before, None)
    if before and pod.failure and at >= pod.failure.at:
        return SyncResult(*apply_failure(pod, pod.failure, before, at=at))
    stage = _Stage(pod, before, at)
    if stage.has_run:
        regular = stage.steps(pod.regular, since=pod.begun)
        init = stage.init()
    else:
        init = stage.init()
        regular = stage.steps(pod.regular, since=stage.since)
    ephemeral = stage.steps(pod.ephemeral, since=pod.begun if at >= pod.starts_at else None)
    over_at = stage.over_at(init, regular)
    if over_at is not None:
        init = [stage.stop_sidecar(container, now, over_at) for container, now in zip(pod.init, init, strict=True)]
        if not any(now.status.state.running for now in init):
            ephemeral = [
                stage.end_ephemeral(container, now)
                for container, now in zip(pod.ephemeral, ephemeral, strict=True)
            ]
    status = build_pod_status(
        pod,
        before=before,
        at=at,
        init=tuple([now.status for now in init]),
        regular=tuple([now.status for now in regular]),
        ephemeral=tuple([now.status for now in ephemeral]),
    )
    if status.is_terminal:
        return SyncResult(status, None)
    dues = [now.due for steps in (init, regular, ephemeral) for now in steps if now.due]
    dues += [time for time in (pod.sandbox_at, pod.starts_at) if time > at]
    if pod.failure:
        dues.append(pod.failure.at)
    return SyncResult(status, min(dues, default=None))


class _Stage:
    """One sync of a pod: what was, and how far its init containers let it go."""

    def __init__(self, pod: SimulatedPod, before: PodStatus | None, at: datetime) -> None:
        self._pod, self._at = pod, at
        self._known: dict[str, ContainerStatus] = {}
        self._resizing: datetime | None = None
        self.has_run = False
        self.since: datetime | None = pod.begun if at >= pod.starts_at else None
        if before:
            self._known = {status.name: status for status in before.all_containers}
            self.has_run = any(status.container_id for status in before.container_statuses)
            started = [c.last_transition_time for c in before.conditions if c.type == IN_PROGRESS]
            self._resizing = parse_rfc3339(started[0]) if started else None

    def steps(self, parts: Iterable[SimulatedContainer], *, since: datetime | None) -> list[ContainerUpdate]:
        """Bring containers that do not wait for each other up to now."""
        return [self._step(container, since) for container in parts]

    def init(self) -> list[ContainerUpdate]:
        """Bring the init containers up to now, each after those before it.

        In a pod whose containers have run before, they are done, and sidecars start anew on their own. One that is
        new in such a pod is taken for done.
        """
        pod = self._pod
        if self.has_run:
            return [
                self._done(container)
                if container.kind == "init" and container.spec.name not in self._known
                else self._step(container, pod.begun)
                for container in pod.init
            ]
        steps = []
        for container in pod.init:
            now = self._step(container, self.since)
            steps.append(now)
            if self.since is not None:
                done_at = _done_at(container, now.status)
                self.since = None if done_at is None else max(self.since, done_at)
        return steps

    def over_at(self, init: list[ContainerUpdate], regular: list[ContainerUpdate]) -> datetime | None:
        """Say since when nothing more is to come of the pod; None while something is."""
        pod = self._pod
        failed = [
            now.status
            for container, now in zip(pod.init, init, strict=True)
            if container.kind == "init" and is_over(pod, container, now.status) and not now.status.ready
        ]
        over = failed or [now.status for now in regular]
        if not failed and not all(
            is_over(pod, container, now.status) for container, now in zip(pod.regular, regular, strict=True)
        ):
            return None
        ends = [status.state.terminated.finished_at for status in over if status.state.terminated]
        return max((parse_rfc3339(end) for end in ends if end), default=self._at)

    def stop_sidecar(
        self, container: SimulatedContainer, now: ContainerUpdate, over_at: datetime
    ) -> ContainerUpdate:
        """End a sidecar whose pod is over: a second later it is told to, and it is not restarted."""
        status = self._known.get(container.spec.name, now.status)
        if container.kind != "sidecar":
            return now
        if not status.state.running:
            return ContainerUpdate(settled(status))
        told_at = over_at + SECOND
        ends_at = told_at + min(container.overrides.stop_after, self._pod.grace) * SECOND
        if self._at < ends_at:
            return ContainerUpdate(now.status if now.status.state.running else status, ends_at)
        in_time = container.overrides.stop_after <= self._pod.grace
        return ContainerUpdate(stop_container(container, status, at=self._at, in_time=in_time))

    def end_ephemeral(self, container: SimulatedContainer, now: ContainerUpdate) -> ContainerUpdate:
        """End an ephemeral container whose pod has ended."""
        if not now.status.state.running:
            return ContainerUpdate(now.status)
        return ContainerUpdate(stop_container(container, now.status, at=self._at, in_time=True))

    def _step(self, container: SimulatedContainer, since: datetime | None) -> ContainerUpdate:
        before = self._known.get(container.spec.name)
        return reconcile_container(self._pod, container, before, at=self._at, since=since, resizing=self._resizing)

    def _done(self, container: SimulatedContainer) -> ContainerUpdate:
        now = rfc3339(self._at)
        ran = running(container.spec, pod_uid=self._pod.uid, at=now, resources=resources(container.spec))
        return ContainerUpdate(replace(terminated(ran, at=now, exit_code=0), ready=True))


def _done_at(container: SimulatedContainer, status: ContainerStatus) -> datetime | None:
    """Say when an init container was done; None while it is not."""
    if container.kind == "init":
        ended = status.state.terminated
        return parse_rfc3339(ended.finished_at) if ended and ended.finished_at and ended.exit_code == 0 else None
    if status.state.running and status.started:
        return parse_rfc3339(status.state.running.started_at) + (container.plan.started or 0) * SECOND
    return None
