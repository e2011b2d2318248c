"""Which address a new pod gets."""

from sqlalchemy import Connection, bindparam, select

from app.core.errors import Unavailable
from app.core.settings import IPNetwork
from app.db.models import Pod
from app.db.statement import Statement

_LIVE = (Pod.node_name == bindparam("node_name"), Pod.deleted_at.is_(None))
_IS_TAKEN = Statement(select(Pod.id).where(*_LIVE, Pod.pod_ip == bindparam("pod_ip")))
_ARE_TAKEN = select(Pod.pod_ip).where(*_LIVE, Pod.pod_ip.in_(bindparam("pod_ips", expanding=True)))
_WINDOW = 256


def free_address(connection: Connection, *, node_name: str, network: IPNetwork, start: int) -> str:
    """Find an address that no live pod of the node has.

    The caller holds the node's row, so the answer stays true until it commits.

    Args:
        start: where to begin to look, any number. With the revision, which grows, addresses are given out
            in turn, and one that was given back rests for as long as can be.

    Raises:
        Unavailable: every address is taken.
    """
    usable = network.num_addresses - 2  # the first names the network, the last is the broadcast's
    first = str(network[1 + start % usable])
    if _IS_TAKEN.first(connection, node_name=node_name, pod_ip=first) is None:
        return first
    # Seldom: the addresses have come round, and this one is still in use. Then ask for many at once.
    for offset in range(1, usable, _WINDOW):
        window = range(offset, min(offset + _WINDOW, usable))
        candidates = [str(network[1 + (start + i) % usable]) for i in window]
        parameters = {"node_name": node_name, "pod_ips": candidates}
        taken = set(connection.scalars(_ARE_TAKEN, parameters))
        for candidate in candidates:
            if candidate not in taken:
                return candidate
    raise Unavailable(f"no address is free in {network}: it is too small for the pods of this node (POD_CIDR)")
