"""Drains a node as `kubectl drain --ignore-daemonsets --delete-emptydir-data --force` does.

Pods of DaemonSets and mirror pods stay. An eviction that a PodDisruptionBudget refuses (429) is tried again every
five seconds, or when the server asks for it.
"""

import asyncio
from typing import NamedTuple

from broker.kubernetes.client import Client
from broker.kubernetes.errors import ApiError, Conflict, NotFound, TooManyRequests
from broker.kubernetes.objects import Metadata, Object, RawObject
from broker.kubernetes.pods import eviction, is_mirror, is_of_daemon_set, pod_path

RETRY = 5.0
"""Seconds between two evictions of a pod that a budget protects; kubectl's."""
_POLL = 1.0
_UNENDED = "the pod has not ended in time"


class Drained(NamedTuple):
    """The result of a drain.

    Attributes:
        evicted: number of pods that were evicted and no longer exist.
        left: pods that still exist at the end, as `namespace/name`, each with the reason.
    """

    evicted: int
    left: dict[str, str]


async def drain(client: Client, node: str, *, grace_period: int | None, timeout: float) -> Drained:
    """Evict the pods of a node, and wait until they do not exist.

    Args:
        client: client of the API server.
        node: name of the node, which is cordoned.
        grace_period: seconds; None: that of each pod.
        timeout: seconds for all.

    Raises:
        ApiError: the pods could not be listed.
    """
    pods = [pod for pod in await _pods_of(client, node) if _is_evicted(pod.decode())]
    left = {pod.metadata.uid: _UNENDED for pod in pods}
    try:
        async with asyncio.timeout(timeout):
            await asyncio.gather(*(_evict(client, pod.metadata, grace_period, left) for pod in pods))
            evicted = {uid for uid, why in left.items() if why == _UNENDED}
            while evicted & await _uids_of(client, node):
                await asyncio.sleep(_POLL)
    except TimeoutError:
        pass
    remaining = await _uids_of(client, node)
    found = {pod.key: left[uid] for pod in pods if (uid := pod.metadata.uid) in remaining}
    return Drained(len(pods) - len(found), found)


async def _pods_of(client: Client, node: str) -> list[RawObject]:
    items, _ = await client.list("/api/v1/pods", fieldSelector=f"spec.nodeName={node}")
    return items


async def _uids_of(client: Client, node: str) -> set[str]:
    return {pod.metadata.uid for pod in await _pods_of(client, node)}


def _is_evicted(pod: Object) -> bool:
    return not is_of_daemon_set(pod) and not is_mirror(pod)


async def _evict(client: Client, pod: Metadata, grace_period: int | None, left: dict[str, str]) -> None:
    """Evict a pod, again while a budget refuses it; record in `left` why it still exists."""
    uid = pod.uid
    while True:
        try:
            await client.create(f"{pod_path(pod)}/eviction", eviction(pod, grace_period=grace_period))
        except TooManyRequests as exc:
            left[uid], delay = exc.message, max(RETRY, exc.retry_after or 0)
        except ApiError as exc:
            left[uid] = str(exc)
            if isinstance(exc, NotFound | Conflict) or not exc.is_temporary:
                return  # the pod does not exist, or another one has its name
            delay = RETRY
        else:
            left[uid] = _UNENDED
            return
        await asyncio.sleep(delay)
