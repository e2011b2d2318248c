"""Routes and handlers of the kubelet API."""

from collections.abc import Callable
from http import HTTPStatus

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from broker.dependencies import Dependencies
from broker.errors import ProviderError
from broker.kubelet.configz import configuration
from broker.kubelet.health import HealthChecks, NodeHealth, is_ready, report
from broker.kubelet.logs import ContainerLogs
from broker.kubelet.node_paths import NodePaths, with_node
from broker.kubelet.schema import PodsOfNodes, parse_pod
from broker.kubelet.stats.api import StatsRoutes, exposition
from broker.kubelet.stats.kubelet_metrics import kubelet_metrics
from broker.kubelet.stats.source import UsageSources
from broker.kubelet.streams import ContainerStreams
from broker.nodes import node_name
from broker.pods.phase import TERMINAL
from broker.streaming.sessions import Sessions
from broker.types import Object


class KubeletApi:
    """Handlers of the kubelet API.

    Args:
        dependencies: of the broker.
        pods: the pods of the nodes.
        paths: finds the node of a request.
        sessions: the sessions of exec, attach and port-forward.
        health: returns the health of the broker.
        registry: the metrics of this process.
        usage: the usage of the nodes.
    """

    def __init__(
        self,
        dependencies: Dependencies,
        pods: PodsOfNodes,
        paths: NodePaths,
        *,
        sessions: Sessions,
        health: Callable[[], NodeHealth],
        registry: CollectorRegistry,
        usage: UsageSources,
    ) -> None:
        self._dependencies = dependencies
        self._paths = paths
        self._provider = dependencies.provider
        self._pods = pods
        self._sessions = sessions
        self._health = health
        self._checks = HealthChecks()
        self._registry = registry
        self._stats = StatsRoutes(dependencies, paths, usage)
        self._clock = dependencies.clock

    def routes(self) -> list[web.RouteDef]:
        """Return the routes that expose contents of pods."""
        logs = ContainerLogs(self._dependencies, self._pods)
        return [
            web.get("/containerLogs/{namespace}/{pod}/{container}", logs.get, allow_head=False),
            *with_node("/pods", self.list_pods),
            *with_node("/runningpods{slash:/?}", self.list_running_pods),  # clients omit the slash
            *with_node("/configz", self.configz),
            web.route("*", "/run/{tail:.*}", self.refuse),
            *ContainerStreams(self._dependencies, self._pods, self._sessions).routes(),
        ]

    def open_routes(self) -> list[web.RouteDef]:
        """Return the routes for monitoring and probes."""
        return [
            *self._stats.routes(),
            web.get("/metrics", self.metrics),
            web.get("/nodes/{node}/metrics", self.metrics_of_node),
            web.get("/metrics/slis", self.slis),
            web.get("/healthz", self.live),
            web.get("/livez", self.live),
            web.get("/readyz", self.ready),
        ]

    async def list_pods(self, request: web.Request) -> web.Response:
        """Return the pods of the node, as Kubernetes has them."""
        items = b",".join(self._paths.pods(request).all())
        body = b'{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[' + items + b"]}"
        return web.Response(body=body, content_type="application/json")

    async def list_running_pods(self, request: web.Request) -> web.Response:
        """Return name, UID and images of the provider's pods that have not ended.

        A kubelet returns no more either. The provider's pods contain secrets, resolved into the environment.
        """
        name = self._paths.node(request) if "node" in request.match_info else None
        try:
            pods = await self._provider.pods()
        except ProviderError as exc:
            return web.Response(
                status=HTTPStatus.SERVICE_UNAVAILABLE, text=f"pods could not be listed at the provider: {exc}\n"
            )
        items = [
            _running(pod)
            for pod in pods
            if (pod.get("status") or {}).get("phase") not in TERMINAL and name in (None, node_name(pod))
        ]
        body = msgspec.json.encode({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})
        return web.Response(body=body, content_type="application/json")

    async def configz(self, request: web.Request) -> web.Response:
        """Return the configuration of the node, as far as a kubelet has the same."""
        node = self._dependencies.nodes[self._paths.node(request)]
        body = msgspec.json.encode({"kubeletconfig": configuration(self._dependencies.settings, node)})
        return web.Response(body=body, content_type="application/json")

    async def refuse(self, _: web.Request) -> web.Response:
        """Refuse `/run`, the old form of exec without streams, which no client uses."""
        node = self._dependencies.settings.node_name
        text = f"run is not supported on node {node}: its provider has no such request"
        raise web.HTTPNotImplemented(text=text)

    async def metrics(self, _: web.Request) -> web.Response:
        """Return the metrics of this process, and those of the node where there can be only one."""
        text = generate_latest(self._registry)
        if not self._dependencies.settings.is_fleet:
            text += b"".join(self._of_node(name) for name in self._dependencies.nodes)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def metrics_of_node(self, request: web.Request) -> web.Response:
        """Return the metrics of a kubelet about one node."""
        return exposition(self._of_node(self._paths.node(request)))

    async def slis(self, _: web.Request) -> web.Response:
        """Return the results of the health checks as metrics, as every component of Kubernetes does."""
        return exposition(self._checks.metrics(self._health(), self._clock()))

    def _of_node(self, name: str) -> bytes:
        pods = map(parse_pod, self._pods.on(name).all())
        return kubelet_metrics(self._dependencies.nodes[name], pods)

    async def live(self, _: web.Request) -> web.Response:
        """Answer 200 with the health of the node: an unhealthy node is no reason to restart the process."""
        return web.Response(text="ok\n" + report(self._health(), self._clock()))

    async def ready(self, _: web.Request) -> web.Response:
        """Answer 200 if the node is ready, else 503."""
        health, now = self._health(), self._clock()
        if is_ready(health, now):
            return web.Response(text="ok\n" + report(health, now))
        return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE, text="not ready\n" + report(health, now))


def _running(pod: Object) -> Object:
    """Return the fields of a pod that a kubelet returns: its identity, and names and images of its containers."""
    metadata, containers = pod["metadata"], (pod.get("spec") or {}).get("containers") or ()
    return {
        "metadata": {name: metadata[name] for name in ("name", "namespace", "uid") if name in metadata},
        "spec": {"containers": [{"name": c.get("name", ""), "image": c.get("image", "")} for c in containers]},
        "status": {},
    }
