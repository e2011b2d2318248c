"""Pods that only seem to run."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from app.lifecycle import logs
from app.lifecycle.course import Course, course
from app.lifecycle.manifest import Manifest
from app.lifecycle.status import PodStatus, Transition
from app.runtimes.runtime import AcceptedPod, LogLine, Runtime


class SyntheticRuntime(Runtime):
    """Nothing runs; the statuses are those of pods that do."""

    def begin(self, pod: AcceptedPod, *, now: datetime) -> Course:
        return self._course(pod, now=now)

    def change(self, pod: AcceptedPod, *, before: Manifest, current: Transition, now: datetime) -> Course:
        return self._course(pod, now=now, current=current.status)

    def end(self, pod: AcceptedPod, *, current: Transition, grace: timedelta, now: datetime) -> Course:
        return Course([])

    def proceed(self, pod: AcceptedPod, *, current: Transition, now: datetime) -> Course | None:
        return None

    def logs(
        self, pod: AcceptedPod, container: str, *, previous: bool, status: Callable[[], PodStatus]
    ) -> Iterator[LogLine | None]:
        found = next(c for c in pod.manifest.pod.spec.all_containers if c.name == container)
        now = status().container(container)
        assert now
        for line in logs.log_lines(found, now):
            yield LogLine(pod.accepted_at, line.encode())

    def _course(self, pod: AcceptedPod, *, now: datetime, current: PodStatus | None = None) -> Course:
        transitions = course(
            pod.manifest.pod,
            placement=pod.placement,
            start_delay=self.settings.start_delay,
            accepted_at=pod.accepted_at,
            now=now,
            current=current,
        )
        return Course(transitions)
