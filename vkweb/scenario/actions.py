"""The actions of a scenario in the cluster: annotations, taints, cordons and deletions of Node objects."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any

import msgspec

from broker.backoff import Backoff
from broker.faults import DOMAIN
from broker.kubernetes.client import Client
from broker.kubernetes.errors import AlreadyExists, ApiError, Conflict, NotFound
from broker.kubernetes.objects import Object, to_time
from broker.node.applied import APPLIED
from broker.node_spec import FLEET_LABEL
from vkweb.scenario.drain import Drained, drain
from vkweb.scenario.file import AnyStep, Drain, Fail, Group, NotReady, Pressure, Reclaim, Slow, Vanish
from vkweb.scenario.schedule import Entry, KnownNode
from vkweb.scenario.vanished import VanishedNodes

_OWN = {"type": "virtual-kubelet"}
"""Label of the nodes that the broker registers."""
_RUNTIME = "web://"
"""Start of `containerRuntimeVersion` of the nodes that the broker runs, with those that it has adopted."""
_ANNOTATIONS: dict[Group, tuple[str, ...]] = {
    "node": ("not-ready", "partition", "vanish", "reclaim", "drain"),
    "pressure": ("pressure",),
    "slow": ("slow", "slow-since"),
    "fail": ("fail", "fail-share", "fail-seed", "fail-since"),
}
_ATTEMPTS = 6
_SHORTEST_DELAY, _LONGEST_DELAY = 0.2, 5.0


class Nodes:
    """The nodes of a cluster, which the actions change.

    Args:
        client: client of the API server.
        clock: returns the current time.
        seed: seed of the scenario.
        pool_label: label of a node with the name of its pool.
        fleet: name of a fleet: the nodes of others are not changed; None: those of all fleets are.
    """

    def __init__(
        self,
        client: Client,
        *,
        clock: Callable[[], datetime],
        seed: int,
        pool_label: str,
        fleet: str | None = None,
    ) -> None:
        self._client = client
        self._clock = clock
        self._seed = seed
        self._pool_label = pool_label
        self._fleet = fleet
        self._vanished = VanishedNodes(client)

    async def known(self) -> dict[str, KnownNode]:
        """Return the nodes that a scenario may change, by name, with those that one has deleted.

        Raises:
            ApiError: the nodes could not be listed.
        """
        gone = {
            name: self._known(node)._replace(groups=frozenset[Group](["node"]), has_vanished=True)
            for name, node in (await _retried(self._vanished.all)).items()
            if self._is_of_fleet(node)
        }
        return {**gone, **{node["metadata"]["name"]: self._known(node) for node in await self._list()}}

    async def forget_returned(self) -> None:
        """Forget the deleted Nodes that somebody else has created again, such as a broker that was restarted.

        Raises:
            ApiError: the nodes could not be listed.
        """
        returned = {node["metadata"]["name"] for node in await self._list() if not _is_to_vanish(node)}
        for name in returned & (await _retried(self._vanished.all)).keys():
            await _retried(partial(self._vanished.remove, name))

    async def _list(self) -> list[Object]:
        items, _ = await _retried(lambda: self._client.list("/api/v1/nodes"))
        nodes: list[Object] = [msgspec.json.decode(item.raw) for item in items]
        return [node for node in nodes if _is_own(node) and self._is_of_fleet(node)]

    def _is_of_fleet(self, node: Object) -> bool:
        """Return whether a node is not known to be of another fleet; of an adopted one, it is not known.

        A single node has no label of a fleet. It is a fleet of one with its own name.
        """
        metadata = node["metadata"]
        fleet = (metadata.get("labels") or {}).get(FLEET_LABEL)
        if fleet is None and APPLIED in (metadata.get("annotations") or {}):
            fleet = metadata["name"]
        return None in (fleet, self._fleet) or fleet == self._fleet

    def _known(self, node: Object) -> KnownNode:
        metadata = node["metadata"]
        annotations = metadata.get("annotations") or {}
        groups = (
            group
            for group, names in _ANNOTATIONS.items()
            if any(f"{DOMAIN}/{name}" in annotations for name in names)
        )
        return KnownNode((metadata.get("labels") or {}).get(self._pool_label, ""), frozenset(groups))

    async def apply(self, entry: Entry, step: AnyStep | None) -> dict[str, ApiError]:
        """Carry out an entry of the schedule for all of its nodes at once.

        Args:
            entry: the entry.
            step: its step; None for the recovery at the end.

        Returns:
            Node → error, for the nodes whose change has failed.
        """
        results = await asyncio.gather(*(self._attempt(entry, step, name) for name in entry.nodes))
        return {name: error for name, error in zip(entry.nodes, results, strict=True) if error is not None}

    async def drain(self, name: str, step: Drain) -> Drained:
        """Evict the pods of a cordoned node.

        Raises:
            ApiError: the pods could not be listed.
        """
        grace = None if step.grace_period is None else int(step.grace_period.total_seconds())
        return await drain(self._client, name, grace_period=grace, timeout=step.timeout.total_seconds())

    async def _attempt(self, entry: Entry, step: AnyStep | None, name: str) -> ApiError | None:
        try:
            await _retried(lambda: self._change(entry, step, name))
        except ApiError as exc:
            return exc
        return None

    async def _change(self, entry: Entry, step: AnyStep | None, name: str) -> None:
        if entry.action == "recover":
            await self._recover(name, entry.groups)
        elif isinstance(step, Vanish):
            await self._delete(name)
        elif isinstance(step, Reclaim) and entry.action == "reclaimed":
            await (
                self._delete(name) if step.then == "vanish" else self._annotate(name, {"not-ready": _RECLAIMED})
            )
        elif isinstance(step, Reclaim):
            await self._give_notice(name, step)
        elif entry.action == "drain":
            await self._cordon(name)
        elif step is not None:
            await self._annotate(name, self._annotations(step))

    def _annotations(self, step: AnyStep) -> dict[str, str]:
        """Return the annotations of a fault that needs no more than annotations."""
        since = to_time(self._clock())
        match step:
            case NotReady():
                return {"not-ready": step.message}
            case Pressure():
                return {"pressure": step.resource}
            case Slow():
                return {"slow": f"{step.factor:g}", "slow-since": since}
            case Fail():
                share = f"{step.pods * 100:g}%"
                return {
                    "fail": step.reason,
                    "fail-share": share,
                    "fail-seed": str(self._seed),
                    "fail-since": since,
                }
            case _:
                return {"partition": "true"}

    async def _annotate(self, name: str, annotations: Mapping[str, str | None], **spec: Any) -> None:
        await self._client.patch(_path(name), _patch(annotations, spec))

    async def _cordon(self, name: str) -> None:
        """Cordon a node. A node that was cordoned before stays so when it recovers."""
        mark = _cordon_mark(await self._client.get(_path(name)))
        await self._annotate(name, {"drain": mark}, unschedulable=True)

    async def _give_notice(self, name: str, step: Reclaim) -> None:
        """Taint a node, which is to be reclaimed, and record an event as termination handlers do."""
        node = await self._client.get(_path(name))
        taint, taints = step.taint, node["spec"].get("taints") or []
        ours = {"key": taint.key, "effect": taint.effect, **({"value": taint.value} if taint.value else {})}
        spec: dict[str, Any] = {"taints": [*_without(taints, taint.key, taint.effect), ours]}
        if step.drain:
            spec["unschedulable"] = True
        annotations: dict[str, str | None] = {"reclaim": f"{taint.key}:{taint.effect}"}
        if step.drain:
            annotations["drain"] = _cordon_mark(node)
        patch = _patch(annotations, spec)
        patch["metadata"]["resourceVersion"] = node["metadata"]["resourceVersion"]
        await self._client.patch(_path(name), patch)
        ends_at = to_time(self._clock() + step.notice)
        await self._client.create("/api/v1/namespaces/default/events", self._event(node, ends_at))

    def _event(self, node: Object, ends_at: str) -> Object:
        now, metadata = self._clock(), node["metadata"]
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{metadata['name']}.", "namespace": "default"},
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "Node",
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
            "type": "Warning",
            "reason": "SpotInterruption",
            "message": f"the instance is reclaimed at {ends_at}",
            "source": {"component": "vkweb-scenario"},
            "reportingComponent": "vkweb-scenario",
            "firstTimestamp": to_time(now),
            "lastTimestamp": to_time(now),
            "count": 1,
        }

    async def _delete(self, name: str) -> None:
        """Delete a Node so that the broker does not register it again."""
        await self._vanished.add(_to_create_again(await self._client.get(_path(name))))
        await self._client.patch(_path(name), _patch({"vanish": "true"}, {}))
        with suppress(NotFound):
            await self._client.delete(_path(name))

    async def _recover(self, name: str, groups: Collection[Group]) -> None:
        try:
            node = await self._client.get(_path(name))
        except NotFound:
            if "node" in groups and (deleted := await self._vanished.get(name)):
                with suppress(AlreadyExists):
                    await self._client.create("/api/v1/nodes", deleted)
                await self._vanished.remove(name)
            return
        annotations = node["metadata"].get("annotations") or {}
        removed = {annotation: None for group in groups for annotation in _ANNOTATIONS[group]}
        removed = {key: None for key in removed if f"{DOMAIN}/{key}" in annotations}
        spec: dict[str, Any] = {}
        if "node" in groups:
            spec = _restored(node["spec"], annotations)
        if removed or spec:
            patch = _patch(removed, spec)
            patch["metadata"]["resourceVersion"] = node["metadata"]["resourceVersion"]
            await self._client.patch(_path(name), patch)
        if "node" in groups and _is_to_vanish(node):
            await self._vanished.remove(name)  # the command was killed before it deleted the Node


_RECLAIMED = "the spot instance was reclaimed"


def _is_own(node: Object) -> bool:
    """Return whether a node is one of this project: the command changes no other."""
    runtime = ((node.get("status") or {}).get("nodeInfo") or {}).get("containerRuntimeVersion", "")
    return runtime.startswith(_RUNTIME) or _OWN.items() <= (node["metadata"].get("labels") or {}).items()


def _is_to_vanish(node: Object) -> bool:
    return f"{DOMAIN}/vanish" in (node["metadata"].get("annotations") or {})


def _to_create_again(node: Object) -> Object:
    """Return a deleted Node as it was, without the faults; the broker takes it on.

    The resources of an adopted Node are those that its creator has set, so they are created again too.
    """
    metadata, spec, status = node["metadata"], node["spec"], node.get("status") or {}
    annotations = metadata.get("annotations") or {}
    body: Object = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": metadata["name"],
            "labels": metadata.get("labels") or {},
            "annotations": {k: v for k, v in annotations.items() if not k.startswith(f"{DOMAIN}/")},
        },
        "spec": {**spec, **_restored(spec, annotations)},
        "status": {name: status[name] for name in ("capacity", "allocatable") if name in status},
    }
    # Taints of the node controller, which it sets by the conditions of the new Node.
    body["spec"]["taints"] = [
        taint for taint in body["spec"].get("taints") or [] if not taint["key"].startswith("node.kubernetes.io/")
    ]
    return body


def _cordon_mark(node: Object) -> str:
    """Return the annotation of a node that is to be cordoned; a repeated request keeps the first one."""
    annotations = node["metadata"].get("annotations") or {}
    before = "cordoned-before" if node["spec"].get("unschedulable") else "true"
    return str(annotations.get(f"{DOMAIN}/drain", before))


def _patch(annotations: Mapping[str, str | None], spec: Mapping[str, Any]) -> Object:
    """Return a strategic merge patch; an annotation that is None is removed."""
    named = {f"{DOMAIN}/{name}": value for name, value in annotations.items()}
    patch: Object = {"metadata": {"annotations": named}}
    return {**patch, "spec": dict(spec)} if spec else patch


def _restored(spec: Object, annotations: Mapping[str, str]) -> dict[str, Any]:
    """Return the changes of a spec that undo a taint and a cordon of this command."""
    restored: dict[str, Any] = {}
    if taint := annotations.get(f"{DOMAIN}/reclaim"):
        key, _, effect = taint.rpartition(":")
        restored["taints"] = _without(spec.get("taints") or [], key, effect)
    if annotations.get(f"{DOMAIN}/drain") == "true":
        restored["unschedulable"] = None
    return restored


def _without(taints: Iterable[Object], key: str, effect: str) -> list[Object]:
    return [taint for taint in taints if (taint["key"], taint["effect"]) != (key, effect)]


def _path(name: str) -> str:
    return f"/api/v1/nodes/{name}"


async def _retried(request: Callable[[], Awaitable[Any]]) -> Any:
    """Send a request again while it fails for a reason that may pass.

    Raises:
        ApiError: the request has failed for another reason, or too often.
    """
    backoff = Backoff(_SHORTEST_DELAY, _LONGEST_DELAY)
    while True:
        try:
            return await request()
        except ApiError as exc:
            if not (exc.is_temporary or type(exc) is Conflict) or backoff.failures + 1 >= _ATTEMPTS:
                raise
            await asyncio.sleep(backoff.after(exc))
