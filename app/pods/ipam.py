"""Allocation of pod IP addresses."""

from sqlalchemy import Connection, bindparam, select

from app.core.errors import Unavailable
from app.core.settings import IPNetwork
from app.db.models import Pod
from app.db.statement import Statement

_LIVE = (Pod.node_name == bindparam("node_name"), Pod.deleted_at.is_(None))
_IS_TAKEN = Statement(select(Pod.id).where(*_LIVE, Pod.pod_ip == bindparam("pod_ip")))
_ARE_TAKEN = select(Pod.pod_ip).where(*_LIVE, Pod.pod_ip.in_(bindparam("pod_ips", expanding=True)))
_WINDOW = 256


class NoFreeAddress(Unavailable):
    """Every address of POD_CIDR is taken."""


def free_address(connection: Connection, *, node_name: str, network: IPNetwork, start: int) -> str:
    """Return an address that no live pod of the node has.

    The caller holds the lock on the node's row, so the address stays free until the caller commits.

    Args:
        network: the network of the pods; its first and last addresses are not used.
        start: any number, from which the search begins. The node's revision grows with every write, so with it
            addresses are allocated one after another, and a released address is reused as late as possible.

    Raises:
        NoFreeAddress: every address is taken.
    """
    usable = network.num_addresses - 2  # without the network address and the broadcast address
    first = str(network[1 + start % usable])
    if _IS_TAKEN.first(connection, node_name=node_name, pod_ip=first) is None:
        return first
    # Rare: every address was allocated once, and this one is in use again. Query many at once.
    for offset in range(1, usable, _WINDOW):
        window = range(offset, min(offset + _WINDOW, usable))
        candidates = [str(network[1 + (start + i) % usable]) for i in window]
        parameters = {"node_name": node_name, "pod_ips": candidates}
        taken = set(connection.scalars(_ARE_TAKEN, parameters))
        for candidate in candidates:
            if candidate not in taken:
                return candidate
    raise NoFreeAddress(f"no address is free in {network}: it is too small for the pods of this node (POD_CIDR)")
