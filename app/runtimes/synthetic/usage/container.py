"""The usage of a container of a simulated pod while it runs: from its annotations, its requests and limits."""

from decimal import Decimal
from functools import lru_cache

import msgspec

from app.kubernetes.pod import Container, Pod
from app.kubernetes.resources import amounts
from app.runtimes.synthetic.annotations import ContainerOverrides, jitter
from app.runtimes.synthetic.curves.curve import Sum, constant, first_above
from app.runtimes.synthetic.curves.limit import capped_integral
from app.runtimes.synthetic.curves.parse import Load
from app.runtimes.synthetic.usage.defaults import UsageDefaults


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
        return share * (end - start) + capped_integral(curve, limit, end) - capped_integral(curve, limit, start)

    def bytes(self, time: float) -> int:
        """Return the memory at a time."""
        amount = self.memory.value(time)
        return round(amount if self.memory_limit is None else min(amount, self.memory_limit))

    @property
    def is_constant(self) -> bool:
        """Whether it is the same at all times."""
        return self.cpu.curve.is_constant and not self.cpu.share and self.memory.is_constant

    @property
    def killed_at(self) -> int | None:
        """The whole second at which its memory is above the limit, at least 1; None if it never is."""
        if self.memory_limit is None:
            return None
        found = _first_above(self.memory, self.memory_limit)
        return None if found is None else max(found, 1)


_first_above = lru_cache(maxsize=1024)(first_above)


def container_usage(
    container: Container, overrides: ContainerOverrides, pod: Pod, *, defaults: UsageDefaults
) -> ContainerUsage:
    """Return the usage of a container. A limit of the pod applies to each container without a limit of its own."""
    uid = pod.metadata.uid or ""
    limits = {
        **amounts(pod.spec.resources.limits if pod.spec.resources else None, field="spec.resources.limits"),
        **amounts(container.resources.limits if container.resources else None, field="resources.limits"),
    }
    cpu = overrides.usage_cpu or Load(constant(defaults.amount("cpu", container)))
    memory = overrides.usage_memory or Load(constant(defaults.amount("memory", container)))
    return ContainerUsage(
        cpu=cpu.seeded(jitter(uid, "usage-cpu", container.name)),
        cpu_limit=_limit(limits.get("cpu")),
        memory=memory.seeded(jitter(uid, "usage-memory", container.name)).curve,
        memory_limit=_limit(limits.get("memory")),
    )


def _limit(amount: Decimal | None) -> float | None:
    """Return a limit; one of zero is none, as in a kubelet."""
    return float(amount) if amount else None
