"""Kubernetes objects as plain JSON, so that fields of a newer API version are preserved."""

from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from broker.types import Object

__all__ = [
    "Metadata",
    "Object",
    "RawObject",
    "controller",
    "drop_managed_fields",
    "from_time",
    "key",
    "to_micro_time",
    "to_time",
]


class Metadata(msgspec.Struct, frozen=True, rename="camel"):
    """The fields of an object's metadata that are read before the object is decoded."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    node_name: str = ""


_UNBOUND = _Spec()


class _HasMetadata(msgspec.Struct, frozen=True):
    metadata: Metadata


class _Marks(msgspec.Struct, frozen=True):
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class _Marked(msgspec.Struct, frozen=True):
    metadata: _Marks


class _Pod(msgspec.Struct, frozen=True):
    spec: _Spec | None = None


_decoder = msgspec.json.Decoder(_HasMetadata)
_pods = msgspec.json.Decoder(_Pod)
_marked = msgspec.json.Decoder(_Marked)


class RawObject(NamedTuple):
    """An object as received, with its metadata decoded: most objects of a watch need no more."""

    metadata: Metadata
    raw: bytes

    @classmethod
    def parse(cls, raw: bytes) -> "RawObject":
        """Decode an object's metadata.

        Raises:
            msgspec.DecodeError: not a JSON object with metadata.
        """
        return cls(_decoder.decode(raw).metadata, raw)

    @property
    def node(self) -> str:
        """`spec.nodeName` of a pod; empty for a pod that is bound to no node."""
        return (_pods.decode(self.raw).spec or _UNBOUND).node_name

    @property
    def marks(self) -> dict[str, str]:
        """The annotations and the labels of the object together."""
        metadata = _marked.decode(self.raw).metadata
        return {**(metadata.annotations or {}), **(metadata.labels or {})}

    @property
    def key(self) -> str:
        """`namespace/name`; the name alone for a cluster-scoped object."""
        return _key(self.metadata.namespace, self.metadata.name)

    def decode(self) -> Object:
        """Return the decoded object, a new copy on each call."""
        decoded: Object = msgspec.json.decode(self.raw)
        return decoded


def key(obj: Object) -> str:
    """Return `namespace/name`; the name alone for a cluster-scoped object."""
    return _key(obj["metadata"].get("namespace", ""), obj["metadata"]["name"])


def _key(namespace: str, name: str) -> str:
    return f"{namespace}/{name}" if namespace else name


def drop_managed_fields(obj: Object) -> Object:
    """Remove `managedFields`, most of the memory that a small object takes, and return the object."""
    obj["metadata"].pop("managedFields", None)
    return obj


def controller(obj: Object) -> Object | None:
    """Return the owner reference of an object's controller, such as a DaemonSet; None without one."""
    owners: list[Object] = obj["metadata"].get("ownerReferences") or []
    return next((owner for owner in owners if owner.get("controller")), None)


def to_time(time: datetime) -> str:
    """Format a time as `metav1.Time`: RFC 3339, UTC, whole seconds."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def to_micro_time(time: datetime) -> str:
    """Format a time as `metav1.MicroTime`: RFC 3339, UTC, microseconds."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def from_time(text: str) -> datetime:
    """Parse a `metav1.Time` or `metav1.MicroTime`.

    Raises:
        ValueError: not a time, without a time zone, or before the year 1 or after 9999 in UTC.
    """
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    try:
        return time.astimezone(UTC)
    except OverflowError as exc:
        raise ValueError(f"{text!r}: {exc}") from exc
