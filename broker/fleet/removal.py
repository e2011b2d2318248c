"""Removal of nodes: cordon and drain, as `kubectl drain` does, then delete the Node and its Lease.

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
from broker.node.leases import LEASES
from broker.pods.store import PodStore, StoredPod

_POLL = 1.0
"""Seconds between two looks at the pods of a node that is removed."""
_EVICTION_RETRY = 5.0
"""Seconds after which a pod is evicted again that its disruption budget protects: those of kubectl."""
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
        self._store = store

    async def drain(self, node: str) -> None:
        """Cordon a node and evict its pods, except those of DaemonSets; return when they have left."""
        log.info("node is drained", node=node)
        backoff = Backoff(_SHORTEST_DELAY, _LONGEST_DELAY)
        while True:
            try:
                await self._client.patch(f"/api/v1/nodes/{node}", {"spec": {"unschedulable": True}})
                break
            except NotFound:
                return
            except ApiError as exc:
                log.warning("node not cordoned", node=node, error=str(exc))
                await asyncio.sleep(backoff.after(exc))
        while pods := self._to_evict(node):
            refused = [pod for pod in pods if not pod.is_terminating and not await self._evict(pod)]
            await asyncio.sleep(_EVICTION_RETRY if refused else _POLL)

    async def delete(self, node: str, uid: str) -> None:
        """Delete a Node and its Lease; neither where the Node has another UID, as somebody else has made it."""
        wanted = {"preconditions": {"uid": uid}}
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

    async def wait_for_pods(self, node: str, *, unless: Callable[[], bool]) -> None:
        """Return when Kubernetes has no pods on a node, or when `unless` returns that they may stay."""
        while self._store.stored_on(node) and not unless():
            await asyncio.sleep(_POLL)

    def _to_evict(self, node: str) -> list[StoredPod]:
        return [pod for pod in self._store.stored_on(node) if not pod.of_daemon_set and not pod.has_ended]

    async def _evict(self, pod: StoredPod) -> bool:
        """Evict a pod; return whether it is going to leave."""
        metadata = {"name": pod.metadata.name, "namespace": pod.metadata.namespace}
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
        try:
            await self._client.create(f"{pod.path}/eviction", eviction)
        except NotFound:
            return True
        except ApiError as exc:
            log.info("pod not evicted", pod=pod.key, error=str(exc))
            return False
        return True
