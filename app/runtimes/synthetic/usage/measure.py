"""Compute the usage of a simulated pod from its status and the time."""

from collections.abc import Mapping
from datetime import datetime

from app.core.timestamps import parse_rfc3339, rfc3339
from app.kubernetes.pod import Pod
from app.kubernetes.stats import ContainerStats, CPUStats, MemoryStats
from app.kubernetes.status import ContainerStatus, PodStatus
from app.runtimes.synthetic.annotations import NO_OVERRIDES, parse_annotations
from app.runtimes.synthetic.usage.container import ContainerUsage, container_usage
from app.runtimes.synthetic.usage.defaults import UsageDefaults
from app.runtimes.usage import PodUsage


class SyntheticUsage(PodUsage):
    """Computes the usage of a simulated pod."""

    def __init__(self, containers: Mapping[str, ContainerUsage]) -> None:
        self._containers = containers

    def containers(self, status: PodStatus, *, at: datetime) -> list[ContainerStats]:
        """Return the usage of the containers that run."""
        time = rfc3339(at)
        return [
            self._container(container, container.state.running.started_at, at=at, time=time)
            for container in status.all_containers
            if container.state.running
        ]

    def _container(self, status: ContainerStatus, started_at: str, *, at: datetime, time: str) -> ContainerStats:
        usage = self._containers[status.name]
        elapsed = max(0.0, (at - parse_rfc3339(started_at)).total_seconds())
        cores, total, memory = usage.cores(elapsed), usage.core_seconds(0, elapsed), usage.bytes(elapsed)
        return ContainerStats(
            status.name,
            started_at,
            CPUStats(time, round(cores * 1e9), _microseconds(total)),
            MemoryStats(time, memory, memory, memory),
        )


def _microseconds(core_seconds: float) -> int:
    """Return a total in nanoseconds, to the microsecond as from a cgroup: rounding errors cannot make it fall."""
    return round(core_seconds * 1e6) * 1000


def usage_of(pod: Pod, *, defaults: UsageDefaults) -> SyntheticUsage:
    """Return what computes the usage of a pod."""
    overrides = parse_annotations(pod).containers
    return SyntheticUsage({
        container.name: container_usage(
            container, overrides.get(container.name, NO_OVERRIDES), pod, defaults=defaults
        )
        for container in pod.spec.all_containers
    })  # fmt: skip
