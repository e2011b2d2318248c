r"""The Nodes that scenarios have deleted: how each is created again, in a ConfigMap.

A fault is an annotation of its Node, so that it outlives the command. A Node that has vanished has none, and an
autoscaler's is known to nobody else. What is to be created again is therefore kept in the ConfigMap
`default/vanished-node.NAME` until the node recovers: by a later scenario, or by hand:

    kubectl get configmap vanished-node.spot-3 -o jsonpath='{.data.node\.json}' | kubectl create -f -
"""

from contextlib import suppress

import msgspec

from broker.kubernetes.client import Client
from broker.kubernetes.errors import AlreadyExists, Forbidden, NotFound
from broker.kubernetes.objects import Object

_COLLECTION = "/api/v1/namespaces/default/configmaps"
_LABEL = "fault.virtual-kubelet.io/vanish"
_KEY = "node.json"


class VanishedNodes:
    """The Nodes to create again. Each method can raise an ApiError.

    Args:
        client: client of the API server.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    async def all(self) -> dict[str, Object]:
        """Return the Nodes by name; none where the user may not list ConfigMaps."""
        try:
            items, _ = await self._client.list(_COLLECTION, labelSelector=f"{_LABEL}=true")
        except Forbidden:
            return {}
        nodes = (_node(item.decode()) for item in items)
        return {node["metadata"]["name"]: node for node in nodes}

    async def get(self, name: str) -> Object | None:
        """Return a Node; None where no scenario of this user has deleted it."""
        try:
            return _node(await self._client.get(_path(name)))
        except (NotFound, Forbidden):
            return None

    async def add(self, node: Object) -> None:
        """Keep a Node that is to be deleted."""
        name = node["metadata"]["name"]
        metadata = {"name": f"vanished-node.{name}", "namespace": "default", "labels": {_LABEL: "true"}}
        text = msgspec.json.encode(node).decode()
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {_KEY: text}}
        try:
            await self._client.create(_COLLECTION, body)
        except AlreadyExists:
            await self._client.replace(_path(name), body)

    async def remove(self, name: str) -> None:
        """Remove a Node that exists again."""
        with suppress(NotFound):
            await self._client.delete(_path(name))


def _node(config_map: Object) -> Object:
    node: Object = msgspec.json.decode(config_map["data"][_KEY])
    return node


def _path(name: str) -> str:
    return f"{_COLLECTION}/vanished-node.{name}"
