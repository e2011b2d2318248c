"""The pods that Kubernetes has on this node, as its watch tells, kept small."""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from broker.kubernetes.objects import Metadata, Object, RawObject, controller
from broker.pods.status_merge import TERMINAL

_MIRROR = "kubernetes.io/config.mirror"


class StoredPod(NamedTuple):
    """A pod in JSON, decoded no further than its metadata, without `managedFields`."""

    metadata: Metadata
    raw: bytes
    phase: str
    of_daemon_set: bool
    has_deadline: bool

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.metadata.namespace}/{self.metadata.name}"

    @property
    def uid(self) -> str:
        """Its UID."""
        return self.metadata.uid

    @property
    def version(self) -> str:
        """Its resourceVersion."""
        return self.metadata.resource_version

    @property
    def is_terminating(self) -> bool:
        """Whether it is being deleted."""
        return self.metadata.deletion_timestamp is not None

    @property
    def has_ended(self) -> bool:
        """Whether Kubernetes has been told that it ended."""
        return self.phase in TERMINAL

    def decode(self) -> Object:
        """Decode all of it: a new copy each time."""
        decoded: Object = msgspec.json.decode(self.raw)
        return decoded


class PodStore:
    """Pods by key, which is `namespace/name`. Mirror pods are not among them: only a kubelet can run those."""

    def __init__(self) -> None:
        self._pods: dict[str, StoredPod] = {}

    def __len__(self) -> int:
        return len(self._pods)

    def __contains__(self, key: str) -> bool:
        return key in self._pods

    def get(self, key: str) -> StoredPod | None:
        """Give a pod; None where Kubernetes has none of that name."""
        return self._pods.get(key)

    def find(self, namespace: str, name: str) -> bytes | None:
        """Give a pod in JSON; None where Kubernetes has none of that name."""
        stored = self._pods.get(f"{namespace}/{name}")
        return stored.raw if stored else None

    def all(self) -> Iterable[bytes]:
        """Give every pod in JSON."""
        return [stored.raw for stored in self._pods.values()]

    def put(self, obj: RawObject) -> bool:
        """Take in a pod that was added or has changed.

        Returns:
            Whether it is news; a change that this broker made itself is none, once :meth:`written` has told of it.
        """
        before = self._pods.get(obj.key)
        if before and before.uid == obj.metadata.uid and before.version == obj.metadata.resource_version:
            return False
        pod = obj.decode()
        if _MIRROR in (pod["metadata"].get("annotations") or {}):
            return False
        self._pods[obj.key] = _stored(obj.metadata, pod)
        return True

    def remove(self, key: str) -> StoredPod | None:
        """Forget a pod that is gone; give what it was last."""
        return self._pods.pop(key, None)

    def written(self, base: StoredPod, pod: Object) -> None:
        """Take in the answer to a write that was made on condition that the pod was still as in `base`.

        Nothing can have happened in between. Where the watch has already told more, that stays.
        """
        if (stored := self._pods.get(base.key)) and stored.uid == base.uid and stored.version == base.version:
            metadata = RawObject.parse(msgspec.json.encode({"metadata": pod["metadata"]})).metadata
            self._pods[base.key] = _stored(metadata, pod)


def _stored(metadata: Metadata, pod: Object) -> StoredPod:
    pod["metadata"].pop("managedFields", None)
    owner = controller(pod)
    return StoredPod(
        metadata,
        msgspec.json.encode(pod),
        phase=(pod.get("status") or {}).get("phase") or "Pending",
        of_daemon_set=owner is not None and owner.get("kind") == "DaemonSet",
        has_deadline=pod["spec"].get("activeDeadlineSeconds") is not None,
    )
