"""Kubernetes objects: plain JSON, so that fields of a newer cluster pass through untouched."""

from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

Object = dict[str, Any]
"""A Kubernetes object, as JSON has it."""


class Metadata(msgspec.Struct, frozen=True, rename="camel"):
    """What is looked at first in the metadata of any object; the rest is in the object itself."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None


class _HasMetadata(msgspec.Struct, frozen=True):
    metadata: Metadata


_decoder = msgspec.json.Decoder(_HasMetadata)


class RawObject(NamedTuple):
    """An object as it came, decoded no further than its metadata: an API server sends many that nobody reads."""

    metadata: Metadata
    raw: bytes

    @classmethod
    def parse(cls, raw: bytes) -> "RawObject":
        """Read an object's metadata.

        Raises:
            msgspec.DecodeError: it is no JSON object with metadata.
        """
        return cls(_decoder.decode(raw).metadata, raw)

    @property
    def key(self) -> str:
        """`namespace/name`, or the name of an object that has no namespace."""
        return _key(self.metadata.namespace, self.metadata.name)

    def decode(self) -> Object:
        """Decode all of it: a new copy each time."""
        decoded: Object = msgspec.json.decode(self.raw)
        return decoded


def key(obj: Object) -> str:
    """Give `namespace/name`, or the name of an object that has no namespace."""
    return _key(obj["metadata"].get("namespace", ""), obj["metadata"]["name"])


def _key(namespace: str, name: str) -> str:
    return f"{namespace}/{name}" if namespace else name


def controller(obj: Object) -> Object | None:
    """Give the owner reference of the controller that manages an object, such as a pod's DaemonSet."""
    owners: list[Object] = obj["metadata"].get("ownerReferences") or []
    return next((owner for owner in owners if owner.get("controller")), None)


def to_time(moment: datetime) -> str:
    """Write a moment as `metav1.Time` does: RFC 3339, UTC, whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def to_micro_time(moment: datetime) -> str:
    """Write a moment as `metav1.MicroTime` does: RFC 3339, UTC, six digits of a second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def from_time(text: str) -> datetime:
    """Read a time of Kubernetes, of either kind.

    Raises:
        ValueError: it is none, or has no zone.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment.astimezone(UTC)
