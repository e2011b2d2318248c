"""Pods that only seem to run: their statuses and logs are those of pods that do."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from app.lifecycle import course
from app.lifecycle.course import Course
from app.lifecycle.life import SECOND, Defaults, Life, life
from app.lifecycle.logs import lines
from app.lifecycle.manifest import Manifest
from app.lifecycle.status import PodStatus, Transition
from app.runtimes.runtime import AcceptedPod, LogLine, Runtime
from app.settings import Settings


class SyntheticRuntime(Runtime):
    """Nothing runs. What a pod seems to do follows from what it is, when it came and what its status says."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._defaults = Defaults(
            start_delay=settings.start_delay,
            init_duration=settings.init_duration // SECOND,
            job_duration=settings.job_duration // SECOND,
            capacity=settings.capacity,
        )

    def begin(self, pod: AcceptedPod, *, now: datetime) -> Course:
        """Compute the whole course, or its beginning where it has no end."""
        return course.begin(self._life(pod), now=now)

    def change(self, pod: AcceptedPod, *, before: Manifest, current: Transition, now: datetime) -> Course:
        """Compute the course from now on."""
        return course.change(self._life(pod), before=self._life(pod, before), current=current, now=now)

    def end(self, pod: AcceptedPod, *, current: Transition, grace: timedelta, now: datetime) -> Course:
        """Compute how the pod ends."""
        return course.end(self._life(pod), current=current, grace=grace, now=now)

    def proceed(self, pod: AcceptedPod, *, current: Transition, now: datetime) -> Course | None:
        """Compute the next stretch of a course without an end; that of a deleted pod is whole from the first."""
        return None if pod.deleted_at else course.proceed(self._life(pod), current=current, now=now)

    def logs(
        self, pod: AcceptedPod, container: str, *, previous: bool, status: Callable[[], PodStatus]
    ) -> Iterator[LogLine | None]:
        """Give the lines that such a container would have written."""
        for line in lines(self._life(pod), container, previous=previous, status=status):
            yield line and LogLine(line[0], line[1].encode())

    def _life(self, pod: AcceptedPod, manifest: Manifest | None = None) -> Life:
        return life(
            (manifest or pod.manifest).pod,
            placement=pod.placement,
            accepted_at=pod.accepted_at,
            defaults=self._defaults,
        )
