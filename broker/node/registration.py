"""Registration of the node: creates the Node object, adopts an existing one, and creates a deleted one again.

A watch shows changes of the Node by other clients. The fields that the broker owns (its labels, its taint, its
part of the status) are written again within one period.
"""

import asyncio

import structlog

from broker.backoff import Backoff
from broker.dependencies import Dependencies
from broker.kubernetes.errors import AlreadyExists, ApiError, Conflict, Forbidden, NotFound
from broker.kubernetes.watch import list_and_watch
from broker.node.manifest import ROLE_LABEL, new_node, own_labels, with_own_taint
from broker.node.status import PERIOD, NodeStatus
from broker.types import Object

_RETRY, _RETRY_LIMIT = 0.1, 7.0
"""Seconds: the kubelet's."""

log = structlog.get_logger()


class Registration:
    """Keeps the Node object registered.

    Args:
        dependencies: of the node; UID, labels and taints of its `node` are updated.
        status: computes the initial status of a new Node, and is told of changes by other clients.
    """

    def __init__(self, dependencies: Dependencies, status: NodeStatus) -> None:
        self._settings = dependencies.settings
        self._client = dependencies.client
        self._node = dependencies.node
        self._clock = dependencies.clock
        self._random = dependencies.random
        self._status = status
        self._path = f"/api/v1/nodes/{self._node.name}"
        self._labels = own_labels(self._settings)
        self._may_patch = True
        self._observed: Object = {}

    async def register(self) -> None:
        """Create the Node, or adopt the existing one; retry until that succeeds."""
        backoff = Backoff(_RETRY, _RETRY_LIMIT, jitter=lambda: self._random.uniform(1, 1.5))
        while True:
            try:
                node = await self._create_or_adopt()
            except ApiError as exc:
                delay = backoff.after(exc)
                log.warning("node not registered", error=str(exc), retry_in=round(delay, 1))
                await asyncio.sleep(delay)
            else:
                self._observe(node)
                self._status.adopt(node.get("status") or {})
                log.info("node registered", node=self._node.name, uid=self._node.uid)
                return

    async def run(self) -> None:
        """Watch the Node, restore what other clients change or delete, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch(), name="watch of the node")
            group.create_task(self._restore_periodically(), name="labels and taint")

    async def refresh(self) -> None:
        """Read the Node, and restore labels, taint and status at once.

        This is for the end of an interruption, when the connection of the watch may be broken without a sign.

        Raises:
            ApiError: the Node was not read or not written.
        """
        try:
            self._observe(await self._client.get(self._path))
        except NotFound:
            await self.register()
        await self._restore()
        await self._status.write_if_due()

    async def _watch(self) -> None:
        events = list_and_watch(
            self._client,
            "/api/v1/nodes",
            field_selector=f"metadata.name={self._node.name}",
            clock=self._clock,
            random=self._random,
        )
        exists = False
        async for type_, obj in events:
            if obj is not None:
                exists = type_ != "DELETED"
            if obj is not None and exists:
                self._observe(obj.decode())
            elif not exists:
                log.warning("node was deleted from Kubernetes and is registered again", node=self._node.name)
                await self.register()
                exists = True

    async def _restore_periodically(self) -> None:
        while True:
            await asyncio.sleep(PERIOD)
            try:
                await self._restore()
            except (Conflict, NotFound):
                pass  # the watch delivers the newer Node
            except ApiError as exc:
                log.warning("labels and taint of the node not written", error=str(exc))

    async def _restore(self) -> None:
        if self._may_patch:
            self._observe(await self._adopt(self._observed))

    def _observe(self, node: Object) -> None:
        self._observed = node
        self._node.observe(node)
        self._status.observe(node.get("status") or {})

    async def _create_or_adopt(self) -> Object:
        try:
            return await self._client.create(
                "/api/v1/nodes", new_node(self._settings, self._labels, self._status.current())
            )
        except AlreadyExists:
            return await self._adopt(await self._client.get(self._path))
        except Forbidden as exc:
            if not self._drop_role_label(exc):
                raise
            return await self._create_or_adopt()

    def _drop_role_label(self, exc: Forbidden) -> bool:
        """Drop the role label if it caused the error: the NodeRestriction admission plugin forbids it.

        Returns:
            Whether the request is worth repeating.
        """
        if ROLE_LABEL not in exc.message or self._labels.pop(ROLE_LABEL, None) is None:
            return False
        log.warning(
            "this identity may not set the role label; the node is registered without it", label=ROLE_LABEL
        )
        return True

    async def _adopt(self, node: Object) -> Object:
        """Set this broker's labels and taint on an existing Node, and keep those of other clients."""
        labels, taints = node["metadata"].get("labels") or {}, node["spec"].get("taints") or []
        missing = {name: value for name, value in self._labels.items() if labels.get(name) != value}
        tainted = with_own_taint(taints, self._settings)
        if not missing and _same(tainted, taints):
            return node
        patch = {
            # The resourceVersion is a precondition: the list of taints is replaced, and other clients change it
            # too.
            "metadata": {"labels": missing, "resourceVersion": node["metadata"]["resourceVersion"]},
            "spec": {"taints": tainted},
        }
        try:
            return await self._client.patch(self._path, patch)
        except Forbidden as exc:
            if self._drop_role_label(exc):
                return await self._adopt(node)
            self._may_patch = False
            log.warning("node adopted unchanged: this identity may not change it", error=str(exc))
            return node


def _same(one: list[Object], other: list[Object]) -> bool:
    return len(one) == len(other) and all(taint in other for taint in one)
