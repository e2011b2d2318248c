"""Accounting of the pods of this node: requested resources and host ports.

A pod holds its room from its admission until its containers have ended, wherever that is known first: from the
provider's status, from the status in Kubernetes, or from the provider's answer that it has no such pod. Before
that, a pod may be on its way out: it is being deleted, was deleted without a grace period, or was set to Failed
by another client. The scheduler no longer counts some of these pods, so a new pod that fits once they have left
waits for them; it is rejected only if it does not fit even then. For example, on a node with 4 cpu:

* A with 4 cpu is being deleted and B with 4 cpu arrives: B waits until A has ended.
* A with 4 cpu runs and B with 4 cpu arrives: B is rejected with `OutOfcpu`.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from broker.kubernetes.quantity import Amounts, less, total
from broker.pods.admission import Allocated
from broker.pods.host_ports import HostPort


class _Claim(NamedTuple):
    key: str
    requested: Amounts


@dataclass
class Claims:
    """Which ledger has a pod, for the nodes of one broker: a pod of the same name may come to another node.

    Attributes:
        ledgers: UID → the ledger of the pod's node.
        uids: `namespace/name` → UIDs.
    """

    ledgers: "dict[str, ResourceLedger]" = field(default_factory=dict)
    uids: dict[str, set[str]] = field(default_factory=dict)

    def __contains__(self, uid: str) -> bool:
        return uid in self.ledgers

    def add(self, uid: str, key: str, ledger: "ResourceLedger") -> None:
        """Record the ledger of a pod."""
        self.ledgers[uid] = ledger
        self.uids.setdefault(key, set()).add(uid)

    def remove(self, uid: str, key: str) -> None:
        """Forget the ledger of a pod."""
        del self.ledgers[uid]
        of_key = self.uids[key]
        of_key.discard(uid)
        if not of_key:
            del self.uids[key]

    def mark_leaving(self, uid: str) -> None:
        """Record that an admitted pod is on its way out."""
        if ledger := self.ledgers.get(uid):
            ledger.mark_leaving(uid)

    def release(self, uid: str) -> None:
        """Release what a pod holds: its containers have ended."""
        if ledger := self.ledgers.get(uid):
            ledger.release(uid)

    def release_others(self, key: str, known: Collection[str]) -> None:
        """Release what pods of a name hold, except the pods that Kubernetes or the provider still has.

        Args:
            key: `namespace/name`.
            known: UIDs of the pods of that name that still exist.
        """
        for uid in self.uids.get(key, set()).difference(known):
            self.release(uid)


class ResourceLedger:
    """Resources and host ports of each admitted pod of a node, by UID.

    Args:
        on_release: is called whenever a pod has released what it held.
        index: gets the pods of all nodes.
    """

    def __init__(self, on_release: Callable[[], None] = lambda: None, *, index: Claims | None = None) -> None:
        self._on_release = on_release
        self._index = index or Claims()
        self._claims: dict[str, _Claim] = {}
        self._used: dict[str, Decimal] = {}
        self._host_ports: dict[str, frozenset[HostPort]] = {}  # of the pods that have any
        self._leaving: set[str] = set()

    def __contains__(self, uid: str) -> bool:
        return uid in self._claims

    @property
    def usage(self) -> Allocated:
        """Resources and host ports of all admitted pods."""
        return Allocated(self._used, frozenset().union(*self._host_ports.values()))

    @property
    def staying(self) -> Allocated:
        """Resources and host ports that are in use once the pods on their way out have left."""
        leaving = total(self._claims[uid].requested for uid in self._leaving)
        staying = (ports for uid, ports in self._host_ports.items() if uid not in self._leaving)
        return Allocated(less(self._used, leaving), frozenset().union(*staying))

    @property
    def running(self) -> dict[str, str]:
        """UID → `namespace/name` of the pods that hold something and are not on their way out."""
        return {uid: claim.key for uid, claim in self._claims.items() if uid not in self._leaving}

    def requested(self, uid: str) -> Amounts:
        """Return the resources that a pod holds."""
        return self._claims[uid].requested if uid in self._claims else {}

    def admit(self, uid: str, key: str, requested: Amounts, ports: frozenset[HostPort] = frozenset()) -> None:
        """Record what a pod holds, or replace what was recorded before.

        Args:
            uid: UID of the pod.
            key: `namespace/name`.
            requested: resource name → amount.
            ports: host ports.
        """
        self._drop(uid)
        self._claims[uid] = _Claim(key, requested)
        self._index.add(uid, key, self)
        if ports:
            self._host_ports[uid] = ports
        self._used = total((self._used, requested))

    def mark_leaving(self, uid: str) -> None:
        """Record that an admitted pod is on its way out."""
        if uid in self._claims:
            self._leaving.add(uid)

    def release(self, uid: str) -> None:
        """Release what a pod holds: its containers have ended."""
        if uid in self._claims:
            self._drop(uid)
            self._leaving.discard(uid)
            self._on_release()

    def _drop(self, uid: str) -> None:
        claim = self._claims.pop(uid, None)
        if claim is None:
            return
        self._host_ports.pop(uid, None)
        self._used = less(self._used, claim.requested)
        self._index.remove(uid, claim.key)
