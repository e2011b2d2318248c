"""The types `PodStats` and `NodeStats`: usage as a kubelet reports it in `/stats/summary`.

Source of the names and units: `k8s.io/kubelet/pkg/apis/stats/v1alpha1`. A total belongs to the time beside it.
"""

from collections.abc import Iterable, Sequence

import msgspec


class _Stats(msgspec.Struct, rename="camel", frozen=True, omit_defaults=True, gc=False):
    """Not tracked by the garbage collector: thousands are made for each request, and none is in a cycle."""


class PodRef(_Stats, frozen=True):
    """The pod that the values belong to."""

    name: str
    namespace: str
    uid: str


class CPUStats(_Stats, frozen=True):
    """CPU: the current usage, in billionths of a core, and the total since the start, in core-nanoseconds."""

    time: str
    usage_nano_cores: int
    usage_core_nano_seconds: int


class MemoryStats(_Stats, frozen=True):
    """Memory in bytes; the working set is what a kubelet compares with a limit."""

    time: str
    working_set_bytes: int
    rss_bytes: int
    usage_bytes: int


class ProcessStats(_Stats, frozen=True):
    """The number of processes."""

    process_count: int = msgspec.field(name="process_count")


class FsStats(_Stats, frozen=True):
    """Bytes and inodes: of a file system, and those in use by the owner of this object."""

    time: str
    available_bytes: int
    capacity_bytes: int
    used_bytes: int
    inodes_free: int
    inodes: int
    inodes_used: int


class RlimitStats(_Stats, frozen=True):
    """The greatest possible number of tasks of the machine (processes and threads), and the present one."""

    time: str
    max_pid: int = msgspec.field(name="maxpid")
    tasks: int = msgspec.field(name="curproc")


class ContainerStats(_Stats, frozen=True):
    """The usage of a running container; its totals begin at zero with each start."""

    name: str
    start_time: str
    cpu: CPUStats
    memory: MemoryStats


class PodStats(_Stats, frozen=True, kw_only=True):
    """The usage of a pod."""

    pod_ref: PodRef
    start_time: str
    containers: Sequence[ContainerStats]
    ephemeral_storage: FsStats | None = msgspec.field(name="ephemeral-storage", default=None)
    process_stats: ProcessStats | None = msgspec.field(name="process_stats", default=None)

    @property
    def cpu(self) -> CPUStats:
        """The CPU of its containers together, at the latest of their times."""
        parts = [container.cpu for container in self.containers]
        if len(parts) == 1:
            return parts[0]
        return CPUStats(
            max(part.time for part in parts),
            _total(part.usage_nano_cores for part in parts),
            _total(part.usage_core_nano_seconds for part in parts),
        )

    @property
    def memory(self) -> MemoryStats:
        """The memory of its containers together, at the latest of their times."""
        parts = [container.memory for container in self.containers]
        if len(parts) == 1:
            return parts[0]
        return MemoryStats(
            max(part.time for part in parts),
            _total(part.working_set_bytes for part in parts),
            _total(part.rss_bytes for part in parts),
            _total(part.usage_bytes for part in parts),
        )


def _total(amounts: Iterable[int]) -> int:
    """Return a sum, at most what clients can read: an integer of 64 bits with a sign."""
    return min(sum(amounts), 2**63 - 1)


class _Sums(_Stats, frozen=True):
    cpu: CPUStats
    memory: MemoryStats


class NodeMemoryStats(MemoryStats, frozen=True):
    """The memory of a machine; the working set is what is not available."""

    available_bytes: int


class NodeStats(_Stats, frozen=True, kw_only=True):
    """The usage of a machine since `start_time`, its last boot."""

    node_name: str
    start_time: str
    cpu: CPUStats
    memory: NodeMemoryStats
    fs: FsStats
    rlimit: RlimitStats


_ENCODER = msgspec.json.Encoder()


def encode_pod_stats(stats: PodStats, *, sums: bool) -> bytes:
    """Return the usage of a pod as compact JSON.

    Args:
        stats: the usage.
        sums: whether with the `cpu` and `memory` of the pod.
    """
    encoded = _ENCODER.encode(stats)
    return encoded[:-1] + b"," + _ENCODER.encode(_Sums(stats.cpu, stats.memory))[1:] if sums else encoded


def encode_node_stats(stats: NodeStats) -> bytes:
    """Return the usage of a machine as compact JSON."""
    return _ENCODER.encode(stats)
