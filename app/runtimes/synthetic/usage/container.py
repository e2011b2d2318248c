"""The usage of a container of a simulated pod while it runs: from its annotations, its requests and limits."""

from functools import lru_cache

import msgspec

from app.kubernetes.pod import Container, Pod
from app.kubernetes.resources import amounts
from app.runtimes.synthetic.annotations import ContainerOverrides, jitter
from app.runtimes.synthetic.curves.curve import Sum, constant, first_above
from app.runtimes.synthetic.curves.limit import capped_integral
from app.runtimes.synthetic.curves.parse import Load
from app.runtimes.synthetic.usage.defaults import UsageDefaults
from app.runtimes.usage import UsageLevel


class ContainerUsage(msgspec.Struct, frozen=True):
    """The usage of each run of a container. Times are in seconds since its start.

    Attributes:
        cpu: its CPU in cores, before the limit.
        cpu_limit: the cores to which it is throttled; None for no limit.
        memory: its memory in bytes.
        memory_limit: the bytes above which it is killed; None for no limit.
    """

    cpu: Load
    cpu_limit: float | None
    memory: Sum
    memory_limit: float | None

    def cores(self, time: float, *, share: float = 0.0) -> float:
        """Return the CPU at a time, with its part of a divided load."""
        cores = self.cpu.curve.value(time) + share
        return cores if self.cpu_limit is None else min(cores, self.cpu_limit)

    def core_seconds(self, start: float, end: float, *, share: float = 0.0) -> float:
        """Return the CPU time between two times, with a part of a divided load that is constant between them."""
        if self.cpu_limit is not None and share >= self.cpu_limit:
            return self.cpu_limit * (end - start)
        limit = None if self.cpu_limit is None else self.cpu_limit - share
        curve = self.cpu.curve
        until_start = capped_integral(curve, limit, start) if start else 0.0
        return share * (end - start) + capped_integral(curve, limit, end) - until_start

    def level(self, time: float, *, share: float = 0.0) -> UsageLevel:
        """Return the usage at a time, with its part of a divided load."""
        memory = self.memory.value(time)
        if self.memory_limit is not None:
            memory = min(memory, self.memory_limit)
        return UsageLevel(round(self.cores(time, share=share) * 1e9), round(memory))

    @property
    def is_constant(self) -> bool:
        """Whether it is the same at all times."""
        return self.cpu.curve.is_constant and not self.cpu.share and self.memory.is_constant


_first_above = lru_cache(maxsize=1024)(first_above)


def container_usage(
    container: Container, overrides: ContainerOverrides, pod: Pod, *, defaults: UsageDefaults
) -> ContainerUsage:
    """Return the usage of a container. A limit of the pod applies to each container without a limit of its own."""
    return ContainerUsage(
        cpu=_load("cpu", overrides.usage_cpu, container, pod, defaults=defaults),
        cpu_limit=_limit("cpu", container, pod),
        memory=_load("memory", overrides.usage_memory, container, pod, defaults=defaults).curve,
        memory_limit=_limit("memory", container, pod),
    )


def killed_at(
    container: Container, overrides: ContainerOverrides, pod: Pod, *, defaults: UsageDefaults
) -> int | None:
    """Return the second at which the memory of a container is above its limit, at least 1; None if it never is."""
    limit = _limit("memory", container, pod)
    if limit is None:
        return None
    found = _first_above(_load("memory", overrides.usage_memory, container, pod, defaults=defaults).curve, limit)
    return None if found is None else max(found, 1)


def _load(
    resource: str, annotated: Load | None, container: Container, pod: Pod, *, defaults: UsageDefaults
) -> Load:
    load = annotated or Load(constant(defaults.amount(resource, container)))
    if load.has_noise:
        return load.seeded(jitter(pod.metadata.uid or "", f"usage-{resource}", container.name))
    return load


def _limit(resource: str, container: Container, pod: Pod) -> float | None:
    """Return the limit of a container, else that of its pod; None for none, or one of zero, as in a kubelet."""
    for resources in (container.resources, pod.spec.resources):
        limits = amounts(resources.limits, field="resources.limits") if resources else {}
        if resource in limits:
            return float(limits[resource]) or None
    return None
