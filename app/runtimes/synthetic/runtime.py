"""Pods that only seem to run: their statuses and logs are those of pods that do."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from app.core.settings import Settings
from app.kubernetes.pod import Manifest
from app.kubernetes.status import PodStatus, Transition
from app.runtimes.base import AcceptedPod, LogLine, Runtime, Timeline
from app.runtimes.synthetic import timeline
from app.runtimes.synthetic.logs import synthetic_lines
from app.runtimes.synthetic.pod import SECOND, Defaults, SimulatedPod, simulate


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

    def create(self, pod: AcceptedPod, *, now: datetime) -> Timeline:
        """Compute the whole course, or its beginning where it has no end."""
        return timeline.create(self._simulate(pod), now=now)

    def update(self, pod: AcceptedPod, *, before: Manifest, current: Transition, now: datetime) -> Timeline:
        """Compute the course from now on."""
        return timeline.update(self._simulate(pod), before=self._simulate(pod, before), current=current, now=now)

    def delete(self, pod: AcceptedPod, *, current: Transition, grace: timedelta, now: datetime) -> Timeline:
        """Compute how the pod ends."""
        return timeline.delete(self._simulate(pod), current=current, grace=grace, now=now)

    def advance(self, pod: AcceptedPod, *, current: Transition, now: datetime) -> Timeline | None:
        """Compute the next stretch of a course without an end; that of a deleted pod is whole from the first."""
        return None if pod.deleted_at else timeline.advance(self._simulate(pod), current=current, now=now)

    def logs(
        self, pod: AcceptedPod, container: str, *, previous: bool, status: Callable[[], PodStatus]
    ) -> Iterator[LogLine | None]:
        """Give the lines that such a container would have written."""
        for line in synthetic_lines(self._simulate(pod), container, previous=previous, status=status):
            yield line and LogLine(line[0], line[1].encode())

    def _simulate(self, pod: AcceptedPod, manifest: Manifest | None = None) -> SimulatedPod:
        return simulate(
            (manifest or pod.manifest).pod,
            placement=pod.placement,
            accepted_at=pod.accepted_at,
            defaults=self._defaults,
        )
