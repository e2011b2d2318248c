"""The pods that Kubernetes has on the nodes of this broker, as received from its watch.

A node may have thousands of pods, so each is kept as the exact bytes of its JSON (docs/decisions/0012) together
with the few fields that are read without decoding. A :class:`PodSnapshot` decodes a pod at most once: the
controller takes one snapshot for each reconcile, and hands it to every function that needs a field of the pod.
"""

import sys
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import NamedTuple

import msgspec

from broker.kubernetes.objects import Metadata, RawObject, drop_managed_fields
from broker.kubernetes.pods import is_mirror, is_of_daemon_set, pod_path
from broker.nodes import node_name
from broker.pods.actions import active_deadline
from broker.pods.phase import TERMINAL
from broker.types import Object


class StoredPod(NamedTuple):
    """A pod in JSON without `managedFields`, and the fields that are read without decoding it.

    Attributes:
        metadata: the pod's metadata.
        raw: the pod in JSON.
        phase: `status.phase`.
        of_daemon_set: whether the pod belongs to a DaemonSet.
        deadline: the time at which the pod exceeds its `activeDeadlineSeconds`; None: never.
        node: the name of its node.
    """

    metadata: Metadata
    raw: bytes
    phase: str
    of_daemon_set: bool
    deadline: datetime | None
    node: str

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.metadata.namespace}/{self.metadata.name}"

    @property
    def path(self) -> str:
        """Path of the pod at the API server."""
        return pod_path(self.metadata)

    @property
    def uid(self) -> str:
        """UID of the pod."""
        return self.metadata.uid

    @property
    def version(self) -> str:
        """The pod's `resourceVersion`."""
        return self.metadata.resource_version

    @property
    def is_terminating(self) -> bool:
        """Whether the pod is being deleted."""
        return self.metadata.deletion_timestamp is not None

    @property
    def has_ended(self) -> bool:
        """Whether the phase in Kubernetes is Succeeded or Failed."""
        return self.phase in TERMINAL


class PodSnapshot:
    """One version of a pod, decoded at most once. Keep it no longer than a reconcile: the decoded pod is large.

    Args:
        stored: the pod.
        pod: the pod decoded, where the caller has done so already.
    """

    def __init__(self, stored: StoredPod, pod: Object | None = None) -> None:
        self.stored = stored
        self._pod = pod

    @property
    def pod(self) -> Object:
        """The decoded pod; not to be changed."""
        if self._pod is None:
            decoded: Object = msgspec.json.decode(self.stored.raw)
            self._pod = decoded
        return self._pod


class PodStore:
    """Pods by `namespace/name`. Mirror pods are kept apart: only a kubelet runs static pods."""

    def __init__(self) -> None:
        self._pods: dict[str, StoredPod] = {}
        self._by_node: dict[str, dict[str, str]] = {}  # node → key → UID
        self._mirrors: dict[str, Metadata] = {}

    def __len__(self) -> int:
        return len(self._pods)

    def __contains__(self, key: str) -> bool:
        return key in self._pods

    def get(self, key: str) -> StoredPod | None:
        """Return a pod; None where Kubernetes has none under the key."""
        return self._pods.get(key)

    def snapshot(self, key: str, previous: PodSnapshot | None = None) -> PodSnapshot | None:
        """Return the present version of a pod; None where Kubernetes has none under the key.

        Args:
            key: `namespace/name`.
            previous: an earlier snapshot, which is returned again unless the pod has changed.
        """
        stored = self._pods.get(key)
        if previous and previous.stored is stored:
            return previous
        return PodSnapshot(stored) if stored else None

    def find(self, namespace: str, name: str) -> bytes | None:
        """Return a pod in JSON; None where Kubernetes has none of that name."""
        stored = self._pods.get(f"{namespace}/{name}")
        return stored.raw if stored else None

    def all(self) -> Iterable[bytes]:
        """Return every pod in JSON."""
        return [stored.raw for stored in self._pods.values()]

    def uids(self) -> list[str]:
        """Return the UID of every pod."""
        return [stored.metadata.uid for stored in self._pods.values()]

    def on(self, node: str) -> "NodePods":
        """Return the pods of one node."""
        return NodePods(self, node)

    def node_of(self, namespace: str, name: str) -> str | None:
        """Return the node of a pod; None where Kubernetes has none of that name."""
        stored = self._pods.get(f"{namespace}/{name}")
        return stored.node if stored else None

    def uids_on(self, node: str) -> Collection[str]:
        """Return the UIDs of the pods that are bound to a node."""
        return self._by_node.get(node, {}).values()

    def stored_on(self, node: str) -> list[StoredPod]:
        """Return the pods that are bound to a node."""
        return [self._pods[key] for key in self._by_node.get(node, ())]

    def terminating(self) -> list[StoredPod]:
        """Return the pods that are being deleted and have no terminal phase yet."""
        return [stored for stored in self._pods.values() if stored.is_terminating and not stored.has_ended]

    def put(self, obj: RawObject) -> PodSnapshot | None:
        """Store a pod that was added or modified.

        Returns:
            The pod; None for a mirror pod, and for a version that is stored already: the answer to a write of this
            broker was stored by :meth:`put_written`.
        """
        before = self._pods.get(obj.key)
        if before and before.uid == obj.metadata.uid and before.version == obj.metadata.resource_version:
            return None
        pod = obj.decode()
        if is_mirror(pod):
            self._mirrors[obj.key] = obj.metadata
            return None
        return self._put(obj.key, obj.metadata, pod)

    def remove(self, key: str) -> StoredPod | None:
        """Remove a deleted pod and return its last version; None where there was none."""
        self._mirrors.pop(key, None)
        removed = self._pods.pop(key, None)
        if removed:
            self._unbind(key, removed.node)
        return removed

    def mirror(self, key: str) -> Metadata | None:
        """Return the metadata of a mirror pod; None where there is none under the key."""
        return self._mirrors.get(key)

    def put_written(self, base: StoredPod, pod: Object) -> None:
        """Store the answer to a write with the resourceVersion of `base` as its precondition.

        The precondition excludes changes between the two versions. A newer version from the watch is kept.
        """
        if (stored := self._pods.get(base.key)) and stored.uid == base.uid and stored.version == base.version:
            self._put(base.key, msgspec.convert(pod["metadata"], Metadata), pod)

    def _put(self, key: str, metadata: Metadata, pod: Object) -> PodSnapshot:
        drop_managed_fields(pod)
        node, before = sys.intern(node_name(pod)), self._pods.get(key)
        if before and before.node != node:  # another pod of the same name
            self._unbind(key, before.node)
        self._by_node.setdefault(node, {})[key] = metadata.uid
        stored = self._pods[key] = StoredPod(
            metadata,
            msgspec.json.encode(pod),
            phase=(pod.get("status") or {}).get("phase") or "Pending",
            of_daemon_set=is_of_daemon_set(pod),
            deadline=active_deadline(pod),
            node=node,
        )
        return PodSnapshot(stored, pod)

    def _unbind(self, key: str, node: str) -> None:
        keys = self._by_node[node]
        keys.pop(key, None)
        if not keys:
            del self._by_node[node]


class NodePods:
    """The pods of one node."""

    def __init__(self, store: PodStore, node: str) -> None:
        self._store = store
        self._node = node

    def find(self, namespace: str, name: str) -> bytes | None:
        """Return a pod in JSON; None where the node has none of that name."""
        stored = self._store.get(f"{namespace}/{name}")
        return stored.raw if stored and stored.node == self._node else None

    def all(self) -> Iterable[bytes]:
        """Return every pod in JSON."""
        return [stored.raw for stored in self._store.stored_on(self._node)]

    def uids(self) -> Collection[str]:
        """Return the UID of every pod."""
        return self._store.uids_on(self._node)
