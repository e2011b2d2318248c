"""The labels, taints and extended resources that the broker has set on a Node, in an annotation of the Node.

As with `kubectl apply`, those that the node is no longer to have are removed, although the broker was started
again meanwhile. Those that other clients have set are not in the annotation, and stay. Other resources, such as
`cpu`, are always the broker's.
"""

from collections.abc import Iterable

import msgspec

from broker.kubernetes.quantity import is_extended
from broker.types import Object

APPLIED = "virtual-kubelet.io/applied"
"""Annotation with the names of the labels and resources and the keys of the taints, in JSON."""


class Applied(msgspec.Struct, frozen=True, omit_defaults=True):
    """Names of labels, keys of taints, and names of extended resources."""

    labels: frozenset[str] = frozenset()
    taints: frozenset[str] = frozenset()
    resources: frozenset[str] = frozenset()

    @classmethod
    def of(cls, labels: Iterable[str], taints: Iterable[Object], resources: Iterable[str]) -> "Applied":
        """Return the names and the keys of labels, taints and extended resources."""
        keys = frozenset(taint["key"] for taint in taints)
        return cls(frozenset(labels), keys, frozenset(filter(is_extended, resources)))

    @classmethod
    def is_on(cls, node: Object) -> bool:
        """Return whether a Node has the annotation."""
        return APPLIED in (node["metadata"].get("annotations") or {})

    @classmethod
    def read(cls, node: Object) -> "Applied":
        """Read the annotation of a Node; empty where it has none, or another client has made it invalid."""
        try:
            return _decoder.decode((node["metadata"].get("annotations") or {}).get(APPLIED, "{}"))
        except msgspec.DecodeError:
            return cls()

    def __or__(self, other: "Applied") -> "Applied":
        return Applied(self.labels | other.labels, self.taints | other.taints, self.resources | other.resources)

    def __sub__(self, other: "Applied") -> "Applied":
        return Applied(self.labels - other.labels, self.taints - other.taints, self.resources - other.resources)

    @property
    def annotation(self) -> dict[str, str]:
        """The annotation."""
        return {APPLIED: _encoder.encode(self).decode()}


_decoder, _encoder = msgspec.json.Decoder(Applied), msgspec.json.Encoder(order="deterministic")
