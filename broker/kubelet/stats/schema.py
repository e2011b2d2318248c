"""The types of `/stats/summary`: `k8s.io/kubelet/pkg/apis/stats/v1alpha1`.

A provider with the extensions `podStats` and `nodeStats` reports its pods and its machine in the same types. Times
are kept as text, RFC 3339: thousands of them are passed on, and few differ.
"""

from typing import Annotated

import msgspec

from broker.types import PodReference

Amount = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""Clients decode an amount as an unsigned integer of 64 bits, and read nothing at all if one value is none."""


class _Schema(msgspec.Struct, rename="camel", omit_defaults=True, gc=False):
    """Not tracked by the garbage collector, which would visit tens of thousands of objects; none is in a cycle."""


class CPUStats(_Schema):
    """CPU: the total up to `time` in core-nanoseconds, and the current usage in billionths of a core."""

    time: str
    usage_core_nano_seconds: Amount
    usage_nano_cores: Amount | None = None


class MemoryStats(_Schema):
    """Memory in use at `time`, in bytes; a limit is compared with the working set."""

    time: str
    working_set_bytes: Amount
    rss_bytes: Amount | None = None
    usage_bytes: Amount | None = None
    available_bytes: Amount | None = None


class ContainerStats(_Schema):
    """Usage of a container since its start."""

    name: str
    start_time: str
    cpu: CPUStats
    memory: MemoryStats


class InterfaceStats(_Schema):
    """Bytes that a network interface has received and sent."""

    name: str
    rx_bytes: Amount | None = None
    tx_bytes: Amount | None = None


class NetworkStats(_Schema):
    """Traffic of a pod: that of its default interface, and of each interface."""

    time: str
    name: str = ""
    rx_bytes: Amount | None = None
    tx_bytes: Amount | None = None
    interfaces: list[InterfaceStats] = []


class ProcessStats(_Schema):
    """The number of processes."""

    process_count: Amount | None = msgspec.field(name="process_count", default=None)


class FsStats(_Schema):
    """Bytes and inodes of a file system."""

    time: str | None = None
    available_bytes: Amount | None = None
    capacity_bytes: Amount | None = None
    used_bytes: Amount | None = None
    inodes_free: Amount | None = None
    inodes: Amount | None = None
    inodes_used: Amount | None = None


class RlimitStats(_Schema):
    """The greatest possible number of tasks of the machine (processes and threads), and the present one."""

    time: str
    max_pid: Amount | None = msgspec.field(name="maxpid", default=None)
    tasks: Amount | None = msgspec.field(name="curproc", default=None)


class PodIdentity(_Schema):
    """The pod that the usage belongs to."""

    pod_ref: PodReference


class ReportedPod(PodIdentity):
    """Usage of a pod as a provider reports it. Its sums follow from its containers, and are not read."""

    start_time: str
    containers: tuple[ContainerStats, ...]
    network: NetworkStats | None = None
    ephemeral_storage: FsStats | None = msgspec.field(name="ephemeral-storage", default=None)
    process_stats: ProcessStats | None = msgspec.field(name="process_stats", default=None)


class PodStats(ReportedPod, kw_only=True):
    """Usage of a pod, with the sums over its containers."""

    cpu: CPUStats
    memory: MemoryStats


class NodeStats(_Schema):
    """Usage of the node."""

    node_name: str
    start_time: str
    cpu: CPUStats
    memory: MemoryStats
    system_containers: list[ContainerStats] = []
    fs: FsStats | None = None
    rlimit: RlimitStats | None = None


class Summary(_Schema):
    """The answer of `/stats/summary`."""

    node: NodeStats
    pods: list[PodStats]
