"""The labels and taints that the broker has set on a Node, in an annotation of the Node, as `kubectl apply` does.

Labels and taints that the node is no longer to have are removed, although the broker was started again meanwhile.
Those that other clients have set are not in the annotation, and stay.
"""

from collections.abc import Iterable

import msgspec

from broker.types import Object

APPLIED = "virtual-kubelet.io/applied"
"""Annotation with the names of the labels and the keys of the taints, in JSON."""


class Applied(msgspec.Struct, frozen=True):
    """Names of labels, and keys of taints."""

    labels: frozenset[str] = frozenset()
    taints: frozenset[str] = frozenset()

    @classmethod
    def of(cls, labels: Iterable[str], taints: Iterable[Object]) -> "Applied":
        """Return the names and the keys of labels and taints."""
        return cls(frozenset(labels), frozenset(taint["key"] for taint in taints))

    @classmethod
    def read(cls, node: Object) -> "Applied":
        """Read the annotation of a Node; empty where it has none, or another client has made it invalid."""
        try:
            return _decoder.decode((node["metadata"].get("annotations") or {}).get(APPLIED, "{}"))
        except msgspec.DecodeError:
            return cls()

    def __or__(self, other: "Applied") -> "Applied":
        return Applied(self.labels | other.labels, self.taints | other.taints)

    def __sub__(self, other: "Applied") -> "Applied":
        return Applied(self.labels - other.labels, self.taints - other.taints)

    @property
    def annotation(self) -> dict[str, str]:
        """The annotation."""
        return {APPLIED: _encoder.encode(self).decode()}


_decoder, _encoder = msgspec.json.Decoder(Applied), msgspec.json.Encoder(order="deterministic")
