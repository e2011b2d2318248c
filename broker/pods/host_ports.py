"""Ports of the node that pods use, and conflicts between them.

Source: `GetHostPorts` in `pkg/scheduler/util` and `HostPortInfo` in `kube-scheduler/framework`.
"""

from collections.abc import Iterable
from typing import NamedTuple

from broker.types import Object

_ALL_ADDRESSES = "0.0.0.0"  # noqa: S104 - compared, not listened on


class HostPort(NamedTuple):
    """A port of the node.

    Attributes:
        protocol: `TCP`, `UDP` or `SCTP`.
        port: number of the port.
        ip: address of the node; `0.0.0.0` stands for all.
    """

    protocol: str
    port: int
    ip: str = _ALL_ADDRESSES


def host_ports(pod: Object) -> frozenset[HostPort]:
    """Return the host ports of a pod's containers and sidecars.

    Other init containers are left out, since they do not run for the whole time. With `hostNetwork`, the API
    server has set the `hostPort` of each container port.
    """
    spec = pod["spec"]
    sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    return frozenset(
        HostPort(port.get("protocol") or "TCP", port["hostPort"], port.get("hostIP") or _ALL_ADDRESSES)
        for container in (*sidecars, *spec["containers"])
        for port in container.get("ports") or ()
        if port.get("hostPort")
    )


def has_conflict(wanted: Iterable[HostPort], used: Iterable[HostPort]) -> bool:
    """Return whether a wanted port is in use: same protocol and number, on the same or on all addresses."""
    in_use = list(used)
    return any(
        one.protocol == other.protocol
        and one.port == other.port
        and (one.ip == other.ip or _ALL_ADDRESSES in (one.ip, other.ip))
        for one in wanted
        for other in in_use
    )
