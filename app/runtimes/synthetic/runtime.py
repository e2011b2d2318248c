"""The synthetic runtime: it simulates pods. Nothing runs; statuses and logs are those of a pod that does."""

import socket
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

import msgspec

from app.core.settings import Settings
from app.kubernetes.container_status import RUNTIME
from app.kubernetes.manifest import Manifest
from app.kubernetes.status import PodStatus, Transition
from app.runtimes.base import AcceptedPod, LogLine, Runtime, Timeline
from app.runtimes.observed import build_lost_status
from app.runtimes.streams import Session, StreamOptions
from app.runtimes.synthetic import timeline
from app.runtimes.synthetic.logs import synthetic_lines
from app.runtimes.synthetic.pod import SECOND, Defaults, SimulatedPod, simulate
from app.runtimes.synthetic.streams import connect, follow_log, start_shell
from app.runtimes.synthetic.usage.defaults import UsageDefaults
from app.runtimes.synthetic.usage.measure import SyntheticUsage, usage_of
from app.runtimes.usage import EarlierUsage


class SyntheticRuntime(Runtime):
    """Simulates pods from their manifest, the time of their acceptance and their current status."""

    reports_usage = True
    keeps_deadlines = True
    waits_for_environments = True
    reports_past_usage = True
    keeps_logs = None
    takes_volumes = True  # and drops them: nothing reads a file of a simulated pod

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._defaults = Defaults(
            start_delay=settings.start_delay,
            init_duration=settings.init_duration // SECOND,
            job_duration=settings.job_duration // SECOND,
            capacity=settings.capacity,
            usage=UsageDefaults(settings.usage_cpu, settings.usage_memory),
        )

    def create(self, pod: AcceptedPod, *, now: datetime) -> Timeline:
        """Return the timeline of a new pod, or its first part if it has no end."""
        return timeline.create(self._simulate(pod), now=now)

    def update(self, pod: AcceptedPod, *, before: Manifest, current: Transition, now: datetime) -> Timeline:
        """Return the timeline from `now` on."""
        return timeline.update(self._simulate(pod), before=self._simulate(pod, before), current=current, now=now)

    def delete(self, pod: AcceptedPod, *, current: Transition, grace: timedelta, now: datetime) -> Timeline:
        """Return the complete timeline of the pod's termination."""
        requested_at = pod.deletion_requested_at
        return timeline.delete(
            self._simulate(pod),
            current=current,
            grace=grace,
            now=now,
            requested_at=None if requested_at == now else requested_at,
            is_current=pod.continues_at is None or pod.continues_at > now,
        )

    def advance(self, pod: AcceptedPod, *, current: Transition, now: datetime) -> Timeline | None:
        """Return the next part of a timeline without an end; the timeline of a deletion is complete."""
        # The timeline of a deletion is complete, unless another runtime began it.
        is_left = pod.deletion_requested_at is not None and not current.status.is_terminal
        if is_left or _is_of_another_runtime(current.status):
            at = current.next_timestamp(now)
            return Timeline([Transition(at, build_lost_status(pod, at=at, previous=current.status))])
        if pod.deletion_requested_at:
            return None
        return timeline.advance(self._simulate(pod), current=current, now=now)

    def logs(
        self, pod: AcceptedPod, container: str, *, previous: bool, status: Callable[[], PodStatus]
    ) -> Iterator[LogLine | None]:
        """Yield the simulated log of a container."""
        for line in synthetic_lines(self._simulate(pod), container, previous=previous, status=status):
            yield line and LogLine(line[0], line[1].encode())

    def exec(self, pod: AcceptedPod, container: str, command: Sequence[str], streams: StreamOptions) -> Session:
        """Simulate a command."""
        return start_shell(self._simulate(pod), container, command, streams)

    def attach(
        self, pod: AcceptedPod, container: str, streams: StreamOptions, *, status: Callable[[], PodStatus]
    ) -> Session:
        """Show the log of a container as it is written."""
        return follow_log(self._simulate(pod), container, streams, status)

    def port_forward(self, pod: AcceptedPod, port: int) -> socket.socket:
        """Return a connection to a page that names the pod."""
        return connect(self._simulate(pod), port)

    def usage(self, pod: AcceptedPod, *, earlier: Sequence[EarlierUsage] = ()) -> SyntheticUsage:
        """Return what computes the usage of a pod."""
        return usage_of(pod.manifest.pod, earlier, defaults=self._defaults.usage)

    def _simulate(self, pod: AcceptedPod, manifest: Manifest | None = None) -> SimulatedPod:
        defaults, capacity = self._defaults, self.node_override(pod.node_name).capacity
        if capacity is not None:
            defaults = msgspec.structs.replace(defaults, capacity=capacity)
        return simulate(
            (manifest or pod.manifest).pod,
            placement=pod.placement,
            accepted_at=pod.accepted_at,
            starts_from=pod.starts_at or pod.accepted_at,
            defaults=defaults,
        )


def _is_of_another_runtime(status: PodStatus) -> bool:
    """Return whether another runtime has started a container of the pod, which is not simulated further."""
    ids = [container.container_id for container in status.all_containers if container.container_id]
    return not status.is_terminal and any(not id_.startswith(f"{RUNTIME}://") for id_ in ids)
