"""Routes and handlers of the kubelet API."""

from collections.abc import Callable
from http import HTTPStatus

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from broker.dependencies import Dependencies
from broker.errors import ProviderError
from broker.kubelet.configz import configuration
from broker.kubelet.health import NodeHealth, is_ready, report
from broker.kubelet.logs import ContainerLogs
from broker.kubelet.schema import Pods
from broker.kubelet.stats.api import StatsApi
from broker.kubelet.stats.source import UsageSource
from broker.kubelet.streams import ContainerStreams
from broker.pods.phase import TERMINAL
from broker.streaming.sessions import Sessions
from broker.types import Object


class KubeletApi:
    """Handlers of the kubelet API.

    Args:
        dependencies: of the broker.
        pods: the pods of the node.
        sessions: the sessions of exec, attach and port-forward.
        health: returns the health of the node.
        registry: the metrics of this process.
        usage: the usage of the node.
    """

    def __init__(
        self,
        dependencies: Dependencies,
        pods: Pods,
        *,
        sessions: Sessions,
        health: Callable[[], NodeHealth],
        registry: CollectorRegistry,
        usage: UsageSource,
    ) -> None:
        self._dependencies = dependencies
        self._node_name = dependencies.node.name
        self._provider = dependencies.provider
        self._pods = pods
        self._sessions = sessions
        self._health = health
        self._registry = registry
        self._stats = StatsApi(dependencies, pods, usage)
        self._clock = dependencies.clock

    def routes(self) -> list[web.RouteDef]:
        """Return the routes that expose contents of pods."""
        logs = ContainerLogs(self._dependencies, self._pods)
        return [
            web.get("/containerLogs/{namespace}/{pod}/{container}", logs.get, allow_head=False),
            web.get("/pods", self.list_pods),
            web.get("/runningpods{slash:/?}", self.list_running_pods),  # clients omit the slash
            web.get("/configz", self.configz),
            web.route("*", "/run/{tail:.*}", self.refuse),
            *ContainerStreams(self._dependencies, self._pods, self._sessions).routes(),
        ]

    def open_routes(self) -> list[web.RouteDef]:
        """Return the routes for monitoring and probes."""
        return [
            *self._stats.routes(),
            web.get("/metrics", self.metrics),
            web.get("/healthz", self.live),
            web.get("/livez", self.live),
            web.get("/readyz", self.ready),
        ]

    async def list_pods(self, _: web.Request) -> web.Response:
        """Return the pods of this node, as Kubernetes has them."""
        items = b",".join(self._pods.all())
        body = b'{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[' + items + b"]}"
        return web.Response(body=body, content_type="application/json")

    async def list_running_pods(self, _: web.Request) -> web.Response:
        """Return name, UID and images of the provider's pods that have not ended.

        A kubelet returns no more either. The provider's pods contain secrets, resolved into the environment.
        """
        try:
            pods = await self._provider.pods()
        except ProviderError as exc:
            return web.Response(
                status=HTTPStatus.SERVICE_UNAVAILABLE, text=f"pods could not be listed at the provider: {exc}\n"
            )
        items = [_running(pod) for pod in pods if (pod.get("status") or {}).get("phase") not in TERMINAL]
        body = msgspec.json.encode({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})
        return web.Response(body=body, content_type="application/json")

    async def configz(self, _: web.Request) -> web.Response:
        """Return the configuration of this node, as far as a kubelet has the same."""
        body = msgspec.json.encode({"kubeletconfig": configuration(self._dependencies)})
        return web.Response(body=body, content_type="application/json")

    async def refuse(self, _: web.Request) -> web.Response:
        """Refuse `/run`, the old form of exec without streams, which no client uses."""
        text = f"run is not supported on node {self._node_name}: its provider has no such request"
        raise web.HTTPNotImplemented(text=text)

    async def metrics(self, _: web.Request) -> web.Response:
        """Return the metrics of this process."""
        text = generate_latest(self._registry)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})

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
