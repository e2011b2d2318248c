"""Compute the usage of a simulated pod from its status and the time."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from app.core.timestamps import parse_rfc3339, rfc3339
from app.kubernetes.pod import Pod
from app.kubernetes.stats import ContainerStats, CPUStats, MemoryStats
from app.kubernetes.status import ContainerStatus, PodStatus
from app.runtimes.synthetic.usage.defaults import UsageDefaults
from app.runtimes.usage import PodUsage


class ContainerUsage(NamedTuple):
    """The usage of a container while it runs, in cores and bytes."""

    cpu: float
    memory: float


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
        memory = round(usage.memory)
        return ContainerStats(
            status.name,
            started_at,
            CPUStats(time, round(usage.cpu * 1e9), round(usage.cpu * elapsed * 1e6) * 1000),
            MemoryStats(time, memory, memory, memory),
        )


def usage_of(pod: Pod, *, defaults: UsageDefaults) -> SyntheticUsage:
    """Return what computes the usage of a pod."""
    return SyntheticUsage({
        container.name: ContainerUsage(defaults.amount("cpu", container), defaults.amount("memory", container))
        for container in pod.spec.all_containers
    })  # fmt: skip
