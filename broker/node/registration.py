"""Registration of a node: creates the Node object, adopts an existing one, and creates a deleted one again.

The fields that the broker owns (its labels, its taints) are written again where another client has changed them.
"""

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext, suppress

import msgspec
import structlog

from broker.backoff import Backoff
from broker.dependencies import Dependencies
from broker.kubernetes.errors import AlreadyExists, ApiError, Conflict, Forbidden, NotFound
from broker.kubernetes.objects import drop_managed_fields
from broker.node.applied import Applied
from broker.node.manifest import new_node, with_own_taints
from broker.node.status import NodeStatus
from broker.node_info import NodeInfo
from broker.node_spec import FLEET_LABEL, ROLE_LABEL, NodeSpec
from broker.types import Object

_RETRY, _RETRY_LIMIT = 0.1, 7.0
"""Seconds: the kubelet's."""

log = structlog.get_logger()


class NotOurs(AlreadyExists):
    """Somebody else has made a Node of this name. It is left alone: a pool that shrinks would delete it."""

    def __init__(self, fleet: str) -> None:
        message = f"a Node of this name exists without the label {FLEET_LABEL}={fleet}"
        super().__init__(409, "AlreadyExists", message)


class Registration:
    """Keeps a Node object registered.

    Args:
        dependencies: of the broker.
        node: the node, whose UID, labels and taints are updated.
        spec: what the node is to be.
        status: computes the initial status of a new Node, and is told of changes by other clients.
    """

    def __init__(self, dependencies: Dependencies, node: NodeInfo, spec: NodeSpec, status: NodeStatus) -> None:
        self._client = dependencies.client
        self._random = dependencies.random
        self._log = dependencies.node_log
        self._node = node
        self._spec = spec
        self._status = status
        self._path = f"/api/v1/nodes/{node.name}"
        self._labels = spec.labels
        self._may_patch = True
        self._observed = b""  # as JSON, without the status: see broker.node.status
        self._changes = 0  # of what is observed

    def update(self, spec: NodeSpec) -> None:
        """Change what the node is to be; labels and taints that it is no longer to have are removed."""
        self._spec, self._labels = spec, spec.labels

    @property
    def observed(self) -> Object:
        """The Node as last read, written or watched; empty where there is none."""
        return {**msgspec.json.decode(self._observed), "status": self._status.stored} if self._observed else {}

    async def register(self, turn: AbstractAsyncContextManager[object] | None = None) -> None:
        """Create the Node, or adopt the existing one; retry until that succeeds.

        Args:
            turn: is entered for each attempt, so that a Node that is refused does not hold up others.

        Raises:
            NotFound: a Node to adopt is gone.
        """
        turn = turn or nullcontext()
        backoff, logged = Backoff(_RETRY, _RETRY_LIMIT, jitter=lambda: self._random.uniform(1, 1.5)), ""
        while True:
            try:
                async with turn:
                    await self.register_once()
            except ApiError as exc:
                if self._spec.is_adopted and isinstance(exc, NotFound):
                    raise
                delay, error = backoff.after(exc), str(exc)
                if error != logged:  # once for each cause: a refused node may wait for days
                    retry = {"retry_in": round(delay, 1)}
                    self._log.warning("node not registered", self._node.name, own=retry, error=error)
                    logged = error
                await asyncio.sleep(delay)
            else:
                return

    async def register_once(self) -> None:
        """Create the Node, or adopt the existing one.

        Raises:
            NotOurs: somebody else has made it.
            ApiError: the Node was not read or not written.
        """
        changes = self._changes
        node, is_new = await self._create_or_adopt()
        if self._changes != changes:
            if not self._observed:  # deleted
                await self.register_once()
                return
            node = self._ours(self.observed)
        self.observe(node)
        self._status.adopt(node, is_new=is_new)
        self._log.info("node registered", self._node.name, own={"uid": self._node.uid})

    async def refresh(self) -> None:
        """Read the Node, and restore labels, taints and status at once.

        This is for the end of an interruption, when the connection of the watch may be broken without a sign.

        Raises:
            NotOurs: the Node was deleted, and somebody else has made another.
            ApiError: the Node was not read or not written.
        """
        changes = self._changes
        try:
            self._record_answer(self._ours(await self._client.get(self._path)), changes)
        except NotFound:
            self.mark_deleted()
            await self.register_once()
        await self.restore()
        await self._status.write_if_due()

    @property
    def is_current(self) -> bool:
        """Whether the Node in Kubernetes has the labels and taints that it is to have."""
        return not self._may_patch or self._difference(self.observed) is None

    async def restore(self) -> None:
        """Write the labels and taints that another client has changed.

        Raises:
            ApiError: they were not written.
        """
        if self._may_patch and self._observed:  # the Node may have been deleted meanwhile
            changes = self._changes
            with suppress(Conflict):  # the watch delivers the newer Node
                self._record_answer(await self._adopt(self.observed), changes)

    def is_ours(self, node: Object) -> bool:
        """Return whether a Node is this one: it is known, or was made for the fleet.

        A single node has no such mark, and adopts any Node of its name. So does one that a fault has made vanish:
        who creates it again calls it back.
        """
        metadata, fleet = node["metadata"], self._spec.labels.get(FLEET_LABEL)
        if fleet is None or metadata["uid"] == self._node.uid or self._node.has_vanished:
            return True
        return bool((metadata.get("labels") or {}).get(FLEET_LABEL) == fleet)

    def expect(self, node: Object) -> None:
        """Record the Node in Kubernetes before it is registered: it is then not read again."""
        self._changes += 1
        self._observed = msgspec.json.encode({**drop_managed_fields(node), "status": None})
        self._status.observe(node.get("status") or {})

    def observe(self, node: Object) -> None:
        """Record the Node in Kubernetes."""
        self.expect(node)
        self._node.observe(node)

    def mark_deleted(self) -> None:
        """Record that the Node was deleted."""
        self._changes += 1
        self._node.uid, self._observed = "", b""

    def _record_answer(self, node: Object, changes: int) -> None:
        """Record the Node of an answer, unless the watch has changed what is observed since: that may be newer.

        Args:
            node: the Node.
            changes: the number of changes before the request.
        """
        if self._changes == changes:
            self.observe(node)

    async def _create_or_adopt(self) -> tuple[Object, bool]:
        """Return the Node, and whether it was created."""
        if self._observed:
            node = self._ours(self.observed)
            try:
                return await self._adopt(node), False
            except (Conflict, NotFound):
                self._observed = b""  # the watch is late
        if self._spec.is_adopted:
            return await self._adopt(await self._client.get(self._path)), False
        node = new_node(self._spec, self._labels, self._status.current())
        try:
            return await self._client.create("/api/v1/nodes", node), True
        except AlreadyExists:
            return await self._adopt(self._ours(await self._client.get(self._path))), False
        except Forbidden as exc:
            if not self._drop_role_label(exc):
                raise
            return await self._create_or_adopt()

    def _ours(self, node: Object) -> Object:
        """Return a Node that is this one.

        Raises:
            NotOurs: it is not.
        """
        if not self.is_ours(node):
            raise NotOurs(self._spec.labels[FLEET_LABEL])
        return node

    def _drop_role_label(self, exc: Forbidden) -> bool:
        """Drop the role label if it caused the error: the NodeRestriction admission plugin forbids it.

        Returns:
            Whether the request is worth repeating.
        """
        if ROLE_LABEL not in exc.message or ROLE_LABEL not in self._labels:
            return False
        self._labels = {name: value for name, value in self._labels.items() if name != ROLE_LABEL}
        log.warning(
            "this identity may not set the role label; the node is registered without it", label=ROLE_LABEL
        )
        return True

    async def _adopt(self, node: Object) -> Object:
        """Set this broker's labels and taints on an existing Node, and keep those of other clients."""
        patch = self._difference(node)
        if patch is None:
            return node
        try:
            return await self._client.patch(self._path, patch)
        except Forbidden as exc:
            if self._drop_role_label(exc):
                return await self._adopt(node)
            self._may_patch = False
            log.warning("node adopted unchanged: this identity may not change it", error=str(exc))
            return node

    def _difference(self, node: Object) -> Object | None:
        """Return the patch that sets labels and taints, and removes earlier ones; None: no change.

        What the provider said before a restart is not removed until it has answered again.
        """
        if self._spec.is_adopted or self._spec.is_leaving:
            return None
        metadata, taints = node["metadata"], node["spec"].get("taints") or []
        own = Applied.of(self._labels, self._spec.taints, self._node.capacity)
        before = Applied.read(node)
        capacity = (node.get("status") or {}).get("capacity") or {}
        own |= Applied(resources=before.resources & capacity.keys())  # until the status has been written
        if not self._status.is_reported:
            own |= before
        gone = before - own
        wanted = {**dict.fromkeys(gone.labels - {ROLE_LABEL}), **self._labels}  # see _drop_role_label
        labels = metadata.get("labels") or {}
        missing = {name: value for name, value in wanted.items() if labels.get(name) != value}
        tainted = with_own_taints(taints, self._spec, gone=gone.taints)
        if not missing and _same(tainted, taints) and own == before:
            return None
        return {
            # The resourceVersion is a precondition: the list of taints is replaced, and other clients change it
            # too.
            "metadata": {
                "labels": missing,
                "annotations": own.annotation,
                "resourceVersion": metadata["resourceVersion"],
            },
            "spec": {"taints": tainted},
        }


def _same(one: list[Object], other: list[Object]) -> bool:
    return len(one) == len(other) and all(taint in other for taint in one)
