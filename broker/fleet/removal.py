"""Removal of nodes: cordon and drain, as `kubectl drain` does, then delete the Node and its Lease.

A pod that comes later than a few seconds after the cordon is not evicted: it tolerates the cordon, or names the
node itself, and so would its replacement, without an end.

The pods that are left on a deleted Node are deleted by Kubernetes' pod garbage collector; the broker then ends
them at the provider.

Source: `staging/src/k8s.io/kubectl/pkg/drain/drain.go`.
"""

import asyncio
from collections.abc import Callable

import structlog

from broker.backoff import Backoff
from broker.dependencies import Dependencies
from broker.kubernetes.errors import ApiError, Conflict, NotFound
from broker.kubernetes.pods import eviction
from broker.node.leases import LEASES
from broker.pods.store import PodStore, StoredPod
from broker.types import Object

CORDON = "fleet.virtual-kubelet.io/cordoned"
"""Annotation of a Node that is cordoned for its removal."""

_POLL = 1.0
"""Seconds between two reads of the pods of a node that is removed."""
_EVICTION_RETRY = 5.0
"""Seconds after which a pod is evicted again that its disruption budget protects: those of kubectl."""
_SETTLING = 5.0
"""Seconds after the cordon in which a pod may arrive that was bound before."""
_SHORTEST_DELAY, _LONGEST_DELAY = 0.2, 30.0

log = structlog.get_logger()


class Removal:
    """Removes nodes.

    Args:
        dependencies: of the broker.
        store: the pods of the nodes.
    """

    def __init__(self, dependencies: Dependencies, store: PodStore) -> None:
        self._client = dependencies.client
        self._log = dependencies.node_log
        self._store = store

    async def drain(self, node: str, *, unless: Callable[[], bool], wanted: Callable[[], bool]) -> bool:
        """Cordon a node and evict its pods, except those of DaemonSets and those that come later.

        Args:
            node: name of the node.
            unless: returns whether the node is to stay after all: it is then uncordoned.
            wanted: returns whether the pods are still to be evicted; otherwise the node counts as drained.

        Returns:
            Whether the node is drained: the pods have left.
        """
        self._log.info("node is drained", node, pods=len(self._to_evict(node)))
        await self._patch(node, _cordon)
        time = asyncio.get_running_loop().time
        pods, known, settled_at = self._to_evict(node), set[str](), time() + _SETTLING
        while wanted() and pods:
            known |= {pod.uid for pod in pods}
            if unless():
                self._log.info("node is no longer drained", node)
                await self._patch(node, _uncordon)
                return False
            refused = [pod for pod in pods if not pod.is_terminating and not await self._evict(pod)]
            await asyncio.sleep(_EVICTION_RETRY if refused else _POLL)
            pods = [pod for pod in self._to_evict(node) if pod.uid in known or time() < settled_at]
        return True

    async def uncordon(self, node: Object) -> None:
        """Undo the cordon of a drain that was not finished, by an earlier broker; that of a user stays."""
        if node and _uncordon(node):
            await self._patch(node["metadata"]["name"], _uncordon)

    async def _patch(self, name: str, change: Callable[[Object], Object | None]) -> None:
        """Change a Node; retry until that succeeds."""
        path = f"/api/v1/nodes/{name}"
        backoff = Backoff(_SHORTEST_DELAY, _LONGEST_DELAY)
        while True:
            try:
                if patch := change(await self._client.get(path)):
                    await self._client.patch(path, patch)
                return
            except NotFound:
                return
            except ApiError as exc:
                log.warning("node not cordoned or uncordoned", node=name, error=str(exc))
                await asyncio.sleep(backoff.after(exc))

    async def delete(self, node: str, uid: str) -> None:
        """Delete a Node and its Lease; neither where the Node has another UID, as somebody else has made it."""
        wanted = {"preconditions": {"uid": uid}} if uid else None
        for path, options in ((f"/api/v1/nodes/{node}", wanted), (f"{LEASES}/{node}", None)):
            backoff = Backoff(_SHORTEST_DELAY, _LONGEST_DELAY)
            while True:
                try:
                    await self._client.delete(path, options)
                    break
                except NotFound:
                    break
                except Conflict as exc:
                    log.warning("node not deleted", path=path, error=str(exc))
                    return
                except ApiError as exc:
                    log.warning("node not deleted", path=path, error=str(exc))
                    await asyncio.sleep(backoff.after(exc))

    async def wait_for_pods(self, node: str, done: str, *, unless: Callable[[], bool]) -> None:
        """Return when Kubernetes has no pods on a node, or the node is to come back; `done` is for the log."""
        if pods := self._store.stored_on(node):
            event = f"node {done}; the broker waits until Kubernetes has deleted its pods"
            self._log.info(event, node, pods=len(pods))
        while self._store.stored_on(node) and not unless():
            await asyncio.sleep(_POLL)

    def _to_evict(self, node: str) -> list[StoredPod]:
        return [pod for pod in self._store.stored_on(node) if not pod.of_daemon_set and not pod.has_ended]

    async def _evict(self, pod: StoredPod) -> bool:
        """Evict a pod; return whether it is going to leave."""
        try:
            await self._client.create(f"{pod.path}/eviction", eviction(pod.metadata))
        except (NotFound, Conflict):
            return True
        except ApiError as exc:
            log.info("pod not evicted", pod=pod.key, error=str(exc))
            return False
        return True


def _cordon(node: Object) -> Object | None:
    """Return the patch that cordons a Node; None where a user has."""
    if node["spec"].get("unschedulable"):
        return None
    return {"metadata": {"annotations": {CORDON: "true"}}, "spec": {"unschedulable": True}}


def _uncordon(node: Object) -> Object | None:
    """Return the patch that undoes :func:`_cordon`; None where a user has cordoned the Node."""
    if CORDON not in (node["metadata"].get("annotations") or {}):
        return None
    return {"metadata": {"annotations": {CORDON: None}}, "spec": {"unschedulable": None}}
