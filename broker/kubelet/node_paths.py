"""Which node a request to the kubelet API is for.

All nodes of a broker share one port. A request for a pod is for the node of that pod. A request for a node, such
as `/stats/summary`, names the node in its path where there are several: `/nodes/NODE/stats/summary`. Without a
node in the path, it is for the only node.
"""

import re
from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler

from broker.kubelet.schema import Pods, PodsOfNodes
from broker.nodes import Nodes
from broker.streaming.status import Status

_OF_POD = re.compile(r"/(?:containerLogs|exec|attach|portForward)/([^/]+)/([^/]+)(?:/|$)")
_OF_NODE = re.compile(r"/nodes/([^/]+)(/.*)")


class NodePaths:
    """Finds the node of a request.

    Args:
        nodes: the nodes by name.
        pods: the pods of the nodes.
        only: name of the only node; None where there may be several.
    """

    def __init__(self, nodes: Nodes, pods: PodsOfNodes, *, only: str | None) -> None:
        self._nodes = nodes
        self._pods = pods
        self._only = only

    def node(self, request: web.Request) -> str:
        """Return the name of the node that a request is for.

        Raises:
            web.HTTPNotFound: it names no node of this broker.
        """
        name: str | None = request.match_info.get("node", self._only)
        if name is None:
            raise _not_found(
                f"{len(self._nodes)} nodes share this port: the path of a node is /nodes/NODE{request.path}"
            )
        if name not in self._nodes:
            raise _not_found(f'node not found ("{name}")')
        return name

    def pods(self, request: web.Request) -> Pods:
        """Return the pods of the node that a request names, else those of all nodes.

        Raises:
            web.HTTPNotFound: it names no node of this broker.
        """
        return self._pods.on(self.node(request)) if "node" in request.match_info else self._pods

    def to_authorize(self, path: str) -> tuple[str, str]:
        """Return the node to which access is needed, empty for all nodes, and the path at that node."""
        if found := _OF_NODE.fullmatch(path):
            return found[1], found[2]
        if self._only is None and (found := _OF_POD.match(path)):
            return self._pods.node_of(found[1], found[2]) or "", path
        return self._only or "", path


def _not_found(message: str) -> web.HTTPNotFound:
    """Return the error as a Status: kubectl prints its message, but not that of a text."""
    body = Status.failure(message, HTTPStatus.NOT_FOUND).raw.decode()
    return web.HTTPNotFound(text=body, content_type="application/json")


def with_node(path: str, handler: Handler) -> list[web.RouteDef]:
    """Return the routes of a path, without and with a node."""
    return [web.get(path, handler), web.get(f"/nodes/{{node}}{path}", handler)]
