"""The runtime of processes: it starts shims, and tells what they have written down."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import ClassVar

import msgspec
import structlog

from app.core.errors import ConfigurationError, InvalidRequest
from app.core.settings import Settings
from app.kubernetes.pod import Manifest
from app.kubernetes.status import PodStatus, Transition
from app.runtimes.base import AcceptedPod, LogLine, Runtime, Timeline
from app.runtimes.observed import (
    Observation,
    ObservedContainer,
    build_lost_status,
    build_observed_status,
    build_problem_status,
    has_started,
    observed_transitions,
)
from app.runtimes.process.logs import read_log
from app.runtimes.process.plan import check, plan, read
from app.runtimes.process.pod_dir import PodDirectory, ShimError, microseconds
from app.runtimes.process.shim.record import Stop

_KEPT = timedelta(minutes=10)
"""For how long the files of a deleted pod are kept."""
_SCHEME = "process"
_TICK = timedelta(microseconds=1)
_PODS = 110
"""A kubelet's default for `maxPods`."""

log = structlog.get_logger("app")


class ProcessRuntime(Runtime):
    """Runs the command of each container as a process of this machine.

    A shim a pod runs them and outlives this server; see :mod:`app.runtimes.process.shim`. Nothing is kept in here.
    """

    has_pod_network = False
    back_off: ClassVar[tuple[timedelta, timedelta]] = (timedelta(seconds=10), timedelta(seconds=300))
    """The first and the longest pause before a container is run again, as a kubelet's."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._root = settings.runtime_directory.absolute()
        if not sys.platform.startswith("linux"):
            raise ConfigurationError("RUNTIME: ProcessRuntime needs Linux")
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            disk = shutil.disk_usage(self._root).total
        except OSError as exc:
            raise ConfigurationError(f"RUNTIME_DIRECTORY: {self._root}: {exc.strerror}") from exc
        if not os.access(self._root, os.W_OK | os.X_OK):
            raise ConfigurationError(f"RUNTIME_DIRECTORY: {self._root}: may not be written")
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        self._machine = {
            "cpu": str(len(os.sched_getaffinity(0))),
            "memory": f"{memory // 1024}Ki",
            "ephemeral-storage": f"{disk // 1024}Ki",
            "pods": str(_PODS),
        }

    def create(self, pod: AcceptedPod, *, now: datetime) -> Timeline:
        """Take a pod whose containers can all be run as processes. It is pending until its shim has begun."""
        check(pod.manifest, user=os.geteuid())
        status = build_observed_status(pod, Observation(now), at=now, scheme=_SCHEME)
        return Timeline([Transition(now, status)], continues_at=now)

    def update(self, pod: AcceptedPod, *, before: Manifest, current: Transition, now: datetime) -> Timeline:
        """Take what changes no process: labels, an image that is not used anyway, the deadline, the grace."""
        spec = check(pod.manifest, user=os.geteuid())
        if spec.fixed() != read(before).fixed():
            raise InvalidRequest("what runs cannot be changed, only be deleted and created anew", field="spec")
        return Timeline([Transition(now, _observed(current.status, pod.manifest))], continues_at=now)

    def delete(self, pod: AcceptedPod, *, current: Transition, grace: timedelta, now: datetime) -> Timeline:
        """Say nothing yet: how it ends is seen when it does."""
        return Timeline([], continues_at=now)

    def sync(self, pod: AcceptedPod) -> None:
        """Start the pod's shim, or have it stop."""
        self._attend(PodDirectory.of(pod, root=self._root), pod, may_begin=pod.deleted_at is None)

    def advance(self, pod: AcceptedPod, *, current: Transition, now: datetime) -> Timeline | None:
        """Tell what the shim has written down since; start one where one should be at work and is not."""
        try:
            return self._advance(pod, current=current, now=now)
        except ShimError as exc:
            log.warning("a pod cannot be attended to", uid=pod.manifest.pod.metadata.uid, problem=str(exc))
            at = max(now, current.effective_at + _TICK)
            status = build_problem_status(pod, str(exc), at=at, previous=current.status)
            if pod.deleted_at or has_started(current.status) or status == current.status:
                return None
            return Timeline([Transition(at, status)], continues_at=now)

    def _advance(self, pod: AcceptedPod, *, current: Transition, now: datetime) -> Timeline | None:
        life = PodDirectory.of(pod, root=self._root)
        moments = life.moments()
        if not _is_final(moments):
            # What has run and left nothing behind is not run once more.
            may_begin = pod.deleted_at is None and not has_started(current.status)
            is_at_work = self._attend(life, pod, may_begin=may_begin)
            moments = life.moments()
            if is_at_work and not moments:
                return None
        transitions = list(observed_transitions(pod, moments, current=current, scheme=_SCHEME))
        if not moments:
            at = max(now, current.effective_at + _TICK)
            lost = build_lost_status(pod, at=at, previous=current.status)
            transitions = [Transition(at, lost)] if lost != current.status else []
        if moments and not _is_final(moments):
            return Timeline(transitions, continues_at=now) if transitions else None
        if pod.deleted_at is None:
            return Timeline(transitions)
        remove_at = pod.deleted_at + _KEPT
        if transitions or now < remove_at:
            return Timeline(transitions, continues_at=remove_at)
        return Timeline([]) if life.remove() else None

    def logs(
        self, pod: AcceptedPod, container: str, *, previous: bool, status: Callable[[], PodStatus]
    ) -> Iterator[LogLine | None]:
        """Read the log that the shim has written."""
        life = PodDirectory.of(pod, root=self._root)
        now = _last(life.moments(), container)
        # Of a container that rests, the run before is the last one.
        run = now.runs - (2 if previous and now.pause is None else 1)

        def is_over() -> bool:
            moments = life.moments()
            latest = _last(moments, container)
            is_running = latest.run is not None and latest.run.finished is None and latest.runs - 1 == run
            return not is_running or not life.is_at_work

        return read_log(life.directory / container, run, is_over=is_over)

    def capacity(self) -> dict[str, str]:
        """Give what CAPACITY says where it is set, else what this machine has."""
        return super().capacity() if "capacity" in self.settings.model_fields_set else dict(self._machine)

    def _attend(self, life: PodDirectory, pod: AcceptedPod, *, may_begin: bool) -> bool:
        """See to it that a shim does what is to be done; False where nothing is."""
        deadline = read(pod.manifest).active_deadline_seconds
        grace = pod.manifest.pod.spec.grace if pod.grace is None else pod.grace
        if pod.deleted_at:
            life.ask_to_stop(Stop(at=0, grace=grace.total_seconds(), reason=None))
        elif deadline is not None:
            at = microseconds(pod.accepted_at + timedelta(seconds=deadline))
            life.ask_to_stop(Stop(at=at, grace=grace.total_seconds(), reason="DeadlineExceeded"))
        return life.keep_going(
            lambda: plan(pod.manifest, pod.placement, mark=life.mark, back_off=self.back_off),
            may_begin=may_begin,
        )


def _is_final(moments: tuple[Observation, ...]) -> bool:
    return bool(moments) and moments[-1].final


def _last(moments: tuple[Observation, ...], container: str) -> ObservedContainer:
    return moments[-1].containers.get(container, ObservedContainer()) if moments else ObservedContainer()


def _observed(status: PodStatus, manifest: Manifest) -> PodStatus:
    """Say that a new generation of a pod was seen, which changes nothing else."""
    generation = manifest.pod.metadata.generation
    conditions = tuple(msgspec.structs.replace(c, observed_generation=generation) for c in status.conditions)
    return msgspec.structs.replace(status, observed_generation=generation, conditions=conditions)
