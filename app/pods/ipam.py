"""Allocation of pod IP addresses."""

from collections.abc import Iterator

from sqlalchemy import Connection, bindparam, select

from app.core.errors import Unavailable
from app.core.setting_types import IPNetwork
from app.db.lists import encode, strings
from app.db.models import Pod
from app.db.statement import Statement

_LIVE = (Pod.fleet == bindparam("fleet"), Pod.deleted_at.is_(None))
_IS_TAKEN = Statement(select(Pod.id).where(*_LIVE, Pod.pod_ip == bindparam("pod_ip")))
_ARE_TAKEN = Statement(
    lambda dialect: select(Pod.pod_ip).where(*_LIVE, Pod.pod_ip.in_(strings("pod_ips", dialect)))
)
_FIRST_WINDOW, _LARGEST_WINDOW = 8, 256


class NoFreeAddress(Unavailable):
    """Every address of POD_CIDR is taken."""


class FreeAddresses:
    """The addresses that no live pod of a fleet has, for one transaction.

    The caller holds the lock on the fleet's row, so the addresses stay free until the caller commits.

    Args:
        network: the network of the pods; its first and last addresses are not used.
        start: any number, from which the search begins. The fleet's revision grows with every write, so with it
            addresses are allocated one after another, and a released address is reused as late as possible.
    """

    def __init__(self, connection: Connection, *, fleet: str, network: IPNetwork, start: int) -> None:
        self._connection = connection
        self._fleet_name = fleet
        self._network = network
        self._start = start
        self._found = self._find()

    def take(self) -> str:
        """Return an address, each once.

        Raises:
            NoFreeAddress: every address is taken.
        """
        if address := next(self._found, None):
            return address
        raise NoFreeAddress(
            f"no address is free in {self._network}: it is too small for the pods of this fleet (POD_CIDR)"
        )

    def _find(self) -> Iterator[str]:
        usable = self._network.num_addresses - 2  # without the network address and the broadcast address
        first = str(self._network[1 + self._start % usable])
        if _IS_TAKEN.first(self._connection, fleet=self._fleet_name, pod_ip=first) is None:
            yield first
        # A further pod of the transaction, or every address was allocated once: query more and more at once.
        offset, window = 1, _FIRST_WINDOW
        while offset < usable:
            offsets = range(offset, min(offset + window, usable))
            candidates = [str(self._network[1 + (self._start + i) % usable]) for i in offsets]
            taken = self._taken(candidates)
            yield from (candidate for candidate in candidates if candidate not in taken)
            offset, window = offset + window, min(2 * window, _LARGEST_WINDOW)

    def _taken(self, addresses: list[str]) -> set[str]:
        rows = _ARE_TAKEN.all(self._connection, fleet=self._fleet_name, pod_ips=encode(addresses))
        return {row.pod_ip for row in rows}
