"""`/metrics/probes`: how often the probes of containers have succeeded and failed.

The provider runs the probes; its statuses say whether a container has started and is ready, not how often it was
asked. So the probes are counted here: one for each period that has passed since the last scrape, with the result
that the status shows now. A readiness probe fails while the container is not ready, a startup probe until it has
started, and a liveness probe of a running container succeeds.

Source of the names: `pkg/kubelet/prober/prober_manager.go`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from broker.kubelet.schema import Container, ContainerStatus, Pod, Probe
from broker.kubelet.stats.exposition import family, labels

_KINDS = "Startup", "Liveness", "Readiness"


@dataclass
class _Count:
    """Number of probes of one container, by result.

    Attributes:
        counted_until: the time of the last probe that was counted.
        started_at: the start of the run whose successful startup probe was counted.
        results: result → number.
    """

    counted_until: datetime
    started_at: datetime | None = None
    results: dict[str, int] = field(default_factory=lambda: {"successful": 0, "failed": 0})

    def add(self, probe: Probe, result: str, now: datetime) -> None:
        """Count a probe for each period until now."""
        period = timedelta(seconds=max(probe.period_seconds, 1))
        if (passed := (now - self.counted_until) // period) > 0:
            self.results[result] += passed
            self.counted_until += passed * period

    def succeed(self, started_at: datetime) -> None:
        """Count the success of the startup probe, after which it does not run again, once for each run."""
        if self.started_at != started_at:
            self.started_at = started_at
            self.results["successful"] += 1


class ProbeCounter:
    """Counts the probes of the pods on this node.

    A container that restarts is counted on. While it waits for that, or its startup probe runs, the counters of
    its other probes stay as they are: for a client, one that is missing at a scrape begins again at the next.
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, str], _Count] = {}

    def metrics(self, pods: Iterable[Pod], *, now: datetime) -> bytes:
        """Count the probes until now, and return the counters in the text format."""
        counts: dict[tuple[str, str, str], _Count] = {}
        samples: list[str] = []
        for pod in pods:
            for container, status in _known(pod):
                for kind, probe, succeeds in _probes(container, status):
                    key = (pod.metadata.uid, container.name, kind)
                    first = _first(probe, status, now)
                    count = counts[key] = self._counts.get(key) or _Count(first)
                    if kind == "Startup" and succeeds:
                        count.succeed(first)
                    else:
                        count.counted_until = max(count.counted_until, first)
                        count.add(probe, "successful" if succeeds else "failed", now)
                for kind in _KINDS:
                    key = (pod.metadata.uid, container.name, kind)
                    if found := counts.get(key) or self._counts.get(key):
                        counts[key] = found
                        samples += _samples(pod, container.name, kind, found)
        self._counts = counts
        text = "Probes of a container so far, by kind and result"
        return family("prober_probe_total", "counter", text, samples).encode()


def _known(pod: Pod) -> Iterator[tuple[Container, ContainerStatus]]:
    containers = pod.containers()
    for status in pod.container_statuses():
        if status.name in containers:
            yield containers[status.name], status


def _probes(container: Container, status: ContainerStatus) -> Iterator[tuple[str, Probe, bool]]:
    """Yield kind, probe and whether it succeeds; while a container starts, only the startup probe runs."""
    if not status.state.running:
        return
    is_started = status.started is not False
    if container.startup_probe and not is_started:
        yield "Startup", container.startup_probe, False
        return
    if container.startup_probe:
        yield "Startup", container.startup_probe, True
    if container.liveness_probe:
        yield "Liveness", container.liveness_probe, True
    if container.readiness_probe:
        yield "Readiness", container.readiness_probe, status.ready


def _first(probe: Probe, status: ContainerStatus, now: datetime) -> datetime:
    """Return the time from which the probes of a container count: its start, and the initial delay."""
    started = (status.state.running and status.state.running.started_at) or now
    return started + timedelta(seconds=probe.initial_delay_seconds)


def _samples(pod: Pod, container: str, kind: str, count: _Count) -> Iterator[str]:
    for result, number in count.results.items():
        if number:
            where = labels(
                container=container,
                namespace=pod.metadata.namespace,
                pod=pod.metadata.name,
                pod_uid=pod.metadata.uid,
                probe_type=kind,
                result=result,
            )
            yield f"{{{where}}} {number}"
