"""The registration of the node: made or adopted at the start, made again whenever it is gone."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from random import Random

import structlog

from broker.backoff import Backoff
from broker.kubernetes.client import Client
from broker.kubernetes.errors import AlreadyExists, ApiError, Forbidden
from broker.kubernetes.objects import Object
from broker.kubernetes.watch import list_and_watch
from broker.node.manifest import ROLE_LABEL, new_node, own_labels, with_own_taint
from broker.node.status import NodeStatus
from broker.node_info import NodeFacts
from broker.settings import Settings

_RETRY, _RETRY_LIMIT = 0.1, 7.0
"""Seconds: the kubelet's."""

log = structlog.get_logger()


class Registration:
    """Sees to it that there is a Node.

    Args:
        settings: what the node is.
        client: Kubernetes.
        facts: gets UID and labels of the Node.
        status: has the status that a new Node begins with.
        clock: gives the time.
        random: for jitter.
    """

    def __init__(
        self,
        settings: Settings,
        client: Client,
        facts: NodeFacts,
        status: NodeStatus,
        *,
        clock: Callable[[], datetime],
        random: Random,
    ) -> None:
        self._settings = settings
        self._client = client
        self._facts = facts
        self._status = status
        self._clock = clock
        self._random = random
        self._path = f"/api/v1/nodes/{settings.node_name}"
        self._labels = own_labels(settings)

    async def register(self) -> None:
        """Make the Node, or adopt the one that is there; try until it is done."""
        backoff = Backoff(_RETRY, _RETRY_LIMIT)
        while True:
            try:
                node = await self._make_or_adopt()
            except ApiError as exc:
                delay = backoff.after(exc)
                log.warning("the node cannot be registered", error=str(exc), retry_in=delay)
                await asyncio.sleep(delay * self._random.uniform(1, 1.5))
            else:
                self._learn(node)
                self._status.begin_from(node.get("status") or {})
                log.info("the node is registered", node=self._facts.name, uid=self._facts.uid)
                return

    async def run(self) -> None:
        """Follow the Node, and register it again when it is gone, for ever."""
        events = list_and_watch(
            self._client,
            "/api/v1/nodes",
            field_selector=f"metadata.name={self._settings.node_name}",
            clock=self._clock,
            random=self._random,
        )
        there = False
        async for type_, obj in events:
            if obj is not None:
                there = type_ != "DELETED"
            if obj is not None and there:
                self._learn(obj.decode())
            elif not there:
                log.warning("the node is gone from Kubernetes; it is registered again", node=self._facts.name)
                await self.register()
                there = True

    def _learn(self, node: Object) -> None:
        self._facts.uid = node["metadata"]["uid"]
        self._facts.labels = node["metadata"].get("labels") or {}

    async def _make_or_adopt(self) -> Object:
        try:
            return await self._client.create(
                "/api/v1/nodes", new_node(self._settings, self._labels, self._status.current())
            )
        except AlreadyExists:
            return await self._adopt(await self._client.get(self._path))
        except Forbidden as exc:
            if not self._may_do_without_role(exc):
                raise
            return await self._make_or_adopt()

    def _may_do_without_role(self, exc: Forbidden) -> bool:
        """Leave out the label that the admission plugin NodeRestriction lets no identity of a node set."""
        if ROLE_LABEL not in exc.message or self._labels.pop(ROLE_LABEL, None) is None:
            return False
        log.warning("this identity may not set a label; the node goes without", label=ROLE_LABEL)
        return True

    async def _adopt(self, node: Object) -> Object:
        """Give a Node that is there the labels and the taint of this one; those of other parties stay."""
        labels, taints = node["metadata"].get("labels") or {}, node["spec"].get("taints") or []
        missing = {name: value for name, value in self._labels.items() if labels.get(name) != value}
        tainted = with_own_taint(taints, self._settings)
        if not missing and _same(tainted, taints):
            return node
        patch = {
            # With the version: others write taints too, and the list is written as a whole.
            "metadata": {"labels": missing, "resourceVersion": node["metadata"]["resourceVersion"]},
            "spec": {"taints": tainted},
        }
        try:
            return await self._client.patch(self._path, patch)
        except Forbidden as exc:
            if self._may_do_without_role(exc):
                return await self._adopt(node)
            log.warning("the node is adopted as it is: this identity may not change it", error=str(exc))
            return node


def _same(one: list[Object], other: list[Object]) -> bool:
    return len(one) == len(other) and all(taint in other for taint in one)
