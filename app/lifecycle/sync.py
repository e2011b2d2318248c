"""What a pod comes to from one status to the next: a kubelet's sync, with nothing but the status to remember.

Source: `computePodActions` of the kubelet, "Init Containers" and "Sidecar Containers" in the Kubernetes
documentation.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from msgspec.structs import replace

from app.lifecycle.containers import running, terminated
from app.lifecycle.endings import befall, settled, stop_one
from app.lifecycle.life import SECOND, Life, Part
from app.lifecycle.report import report
from app.lifecycle.resize import IN_PROGRESS, resources
from app.lifecycle.status import ContainerStatus, PodStatus
from app.lifecycle.step import Step, is_over, step
from app.lifecycle.times import parse_rfc3339, rfc3339


class Sync(NamedTuple):
    """A pod's status, and when it is to be looked at again; None where it will not change by itself."""

    status: PodStatus
    due: datetime | None


def sync(life: Life, before: PodStatus | None, *, at: datetime) -> Sync:
    """Bring a pod up to a time.

    Asked again for the same time, or for one before it is due, it changes nothing more.

    Args:
        life: its life.
        before: its status until now, None for a new pod.
        at: the present.
    """
    if before and (before.is_terminal or before.phase == "Unknown"):
        return Sync(before, None)
    if before and life.ending and at >= life.ending.at:
        return Sync(*befall(life, life.ending, before, at=at))
    stage = _Stage(life, before, at)
    if stage.has_run:
        regular = stage.steps(life.regular, since=life.begun)
        init = stage.init()
    else:
        init = stage.init()
        regular = stage.steps(life.regular, since=stage.since)
    ephemeral = stage.steps(life.ephemeral, since=life.begun if at >= life.starts_at else None)
    over_at = stage.over_at(init, regular)
    if over_at is not None:
        init = [stage.wound_down(part, now, over_at) for part, now in zip(life.init, init, strict=True)]
        if not any(now.status.state.running for now in init):
            ephemeral = [stage.let_go(part, now) for part, now in zip(life.ephemeral, ephemeral, strict=True)]
    status = report(
        life,
        before=before,
        at=at,
        init=tuple([now.status for now in init]),
        regular=tuple([now.status for now in regular]),
        ephemeral=tuple([now.status for now in ephemeral]),
    )
    if status.is_terminal:
        return Sync(status, None)
    dues = [now.due for steps in (init, regular, ephemeral) for now in steps if now.due]
    dues += [time for time in (life.sandbox_at, life.starts_at) if time > at]
    if life.ending:
        dues.append(life.ending.at)
    return Sync(status, min(dues, default=None))


class _Stage:
    """One sync of a pod: what was, and how far its init containers let it go."""

    def __init__(self, life: Life, before: PodStatus | None, at: datetime) -> None:
        self._life, self._at = life, at
        self._known: dict[str, ContainerStatus] = {}
        self._resizing: datetime | None = None
        self.has_run = False
        self.since: datetime | None = life.begun if at >= life.starts_at else None
        if before:
            self._known = {status.name: status for status in before.all_containers}
            self.has_run = any(status.container_id for status in before.container_statuses)
            started = [c.last_transition_time for c in before.conditions if c.type == IN_PROGRESS]
            self._resizing = parse_rfc3339(started[0]) if started else None

    def steps(self, parts: Iterable[Part], *, since: datetime | None) -> list[Step]:
        """Bring containers that do not wait for each other up to now."""
        return [self._step(part, since) for part in parts]

    def init(self) -> list[Step]:
        """Bring the init containers up to now, each after those before it.

        In a pod whose containers have run before, they are done, and sidecars start anew on their own. One that is
        new in such a pod is taken for done.
        """
        life = self._life
        if self.has_run:
            return [
                self._done(part)
                if part.kind == "init" and part.container.name not in self._known
                else self._step(part, life.begun)
                for part in life.init
            ]
        steps = []
        for part in life.init:
            now = self._step(part, self.since)
            steps.append(now)
            if self.since is not None:
                done_at = _done_at(part, now.status)
                self.since = None if done_at is None else max(self.since, done_at)
        return steps

    def over_at(self, init: list[Step], regular: list[Step]) -> datetime | None:
        """Say since when nothing more is to come of the pod; None while something is."""
        life = self._life
        failed = [
            now.status
            for part, now in zip(life.init, init, strict=True)
            if part.kind == "init" and is_over(life, part, now.status) and not now.status.ready
        ]
        over = failed or [now.status for now in regular]
        if not failed and not all(
            is_over(life, part, now.status) for part, now in zip(life.regular, regular, strict=True)
        ):
            return None
        ends = [status.state.terminated.finished_at for status in over if status.state.terminated]
        return max((parse_rfc3339(end) for end in ends if end), default=self._at)

    def wound_down(self, part: Part, now: Step, over_at: datetime) -> Step:
        """End a sidecar whose pod is over: a second later it is told to, and it is not restarted."""
        status = self._known.get(part.container.name, now.status)
        if part.kind != "sidecar":
            return now
        if not status.state.running:
            return Step(settled(status))
        told_at = over_at + SECOND
        ends_at = told_at + min(part.orders.stop_after, self._life.grace) * SECOND
        if self._at < ends_at:
            return Step(now.status if now.status.state.running else status, ends_at)
        in_time = part.orders.stop_after <= self._life.grace
        return Step(stop_one(part, status, at=self._at, in_time=in_time))

    def let_go(self, part: Part, now: Step) -> Step:
        """End an ephemeral container whose pod has ended."""
        if not now.status.state.running:
            return Step(now.status)
        return Step(stop_one(part, now.status, at=self._at, in_time=True))

    def _step(self, part: Part, since: datetime | None) -> Step:
        before = self._known.get(part.container.name)
        return step(self._life, part, before, at=self._at, since=since, resizing=self._resizing)

    def _done(self, part: Part) -> Step:
        now = rfc3339(self._at)
        ran = running(part.container, pod_uid=self._life.uid, at=now, resources=resources(part.container))
        return Step(replace(terminated(ran, at=now, exit_code=0), ready=True))


def _done_at(part: Part, status: ContainerStatus) -> datetime | None:
    """Say when an init container was done; None while it is not."""
    if part.kind == "init":
        ended = status.state.terminated
        return parse_rfc3339(ended.finished_at) if ended and ended.finished_at and ended.exit_code == 0 else None
    if status.state.running and status.started:
        return parse_rfc3339(status.state.running.started_at) + (part.run.started or 0) * SECOND
    return None
