"""The routes of the kubelet API, as far as a node without containers of its own can have them."""

from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from broker.kubelet.health import NodeState, is_ready, report
from broker.kubelet.logs import ContainerLogs
from broker.kubelet.schema import Pods
from broker.kubelet.stats import Summary, Usage, exposition, summarize
from broker.kubernetes.objects import Object
from broker.pods.status_merge import TERMINAL
from broker.provider import Provider, ProviderError

_UNSUPPORTED = ("exec", "attach", "run", "portForward")
"""What a kubelet has, and the contract of providers has no call for."""


class KubeletApi:
    """The handlers, and what they answer from.

    Args:
        node_name: the node's name.
        provider: where logs come from, and what runs.
        pods: what Kubernetes has on this node.
        state: tells how the node is.
        registry: the metrics of this process.
        clock: gives the time.
    """

    def __init__(
        self,
        node_name: str,
        provider: Provider,
        pods: Pods,
        *,
        state: Callable[[], NodeState],
        registry: CollectorRegistry,
        clock: Callable[[], datetime],
    ) -> None:
        self._node_name = node_name
        self._provider = provider
        self._pods = pods
        self._state = state
        self._registry = registry
        self._clock = clock
        self._started = clock()

    def routes(self) -> list[web.RouteDef]:
        """Give the routes that show what is in pods."""
        logs = ContainerLogs(self._pods, self._provider, self._clock)
        return [
            web.get("/containerLogs/{namespace}/{pod}/{container}", logs.get, allow_head=False),
            web.get("/pods", self.list_pods),
            web.get("/runningpods{slash:/?}", self.list_running_pods),  # clients leave the slash out
            *(web.route("*", f"/{verb}/{{tail:.*}}", self.refuse) for verb in _UNSUPPORTED),
        ]

    def open_routes(self) -> list[web.RouteDef]:
        """Give the routes that monitors and probes read."""
        return [
            web.get("/stats/summary", self.stats),
            web.get("/metrics/resource", self.resource_metrics),
            web.get("/metrics", self.metrics),
            web.get("/healthz", self.live),
            web.get("/livez", self.live),
            web.get("/readyz", self.ready),
        ]

    async def list_pods(self, _: web.Request) -> web.Response:
        """Give the pods that Kubernetes has on this node, as it has them."""
        items = b",".join(self._pods.all())
        body = b'{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[' + items + b"]}"
        return web.Response(body=body, content_type="application/json")

    async def list_running_pods(self, _: web.Request) -> web.Response:
        """Give the pods that the provider has and that have not ended: their names and images.

        A kubelet tells no more here. What a provider has includes secrets, resolved into the environment.
        """
        try:
            pods = await self._provider.pods()
        except ProviderError as exc:
            return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE, text=f"the provider does not tell: {exc}\n")
        items = [_running(pod) for pod in pods if (pod.get("status") or {}).get("phase") not in TERMINAL]
        body = msgspec.json.encode({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})
        return web.Response(body=body, content_type="application/json")

    async def refuse(self, request: web.Request) -> web.Response:
        """Answer what the contract of providers has no call for, before anything is upgraded."""
        verb = request.path.split("/")[1]
        text = f"{verb} is not possible on node {self._node_name}: its provider has no such call\n"
        return web.Response(status=HTTPStatus.NOT_IMPLEMENTED, text=text)

    async def stats(self, _: web.Request) -> web.Response:
        """Give what node, pods and containers use, as JSON."""
        return web.Response(body=msgspec.json.encode(self._summary()), content_type="application/json")

    async def resource_metrics(self, _: web.Request) -> web.Response:
        """Give what node, pods and containers use, as metrics-server reads it."""
        return _exposition(exposition(self._summary()))

    async def metrics(self, _: web.Request) -> web.Response:
        """Give the metrics of this process."""
        return _exposition(generate_latest(self._registry))

    async def live(self, _: web.Request) -> web.Response:
        """Say that this process serves, and how the node is: that is no reason to restart it."""
        return web.Response(text="ok\n" + report(self._state(), self._clock()))

    async def ready(self, _: web.Request) -> web.Response:
        """Say whether the node does its work."""
        state, now = self._state(), self._clock()
        if is_ready(state, now):
            return web.Response(text="ok\n" + report(state, now))
        return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE, text="not ready\n" + report(state, now))

    def _summary(self) -> Summary:
        return summarize(
            self._node_name,
            self._pods.all(),
            Usage.of_this_process(),
            started=self._started,
            now=self._clock(),
        )


def _exposition(text: bytes) -> web.Response:
    return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})


def _running(pod: Object) -> Object:
    """Tell of a pod what a kubelet does: which it is, and its containers' names and images."""
    metadata, containers = pod["metadata"], (pod.get("spec") or {}).get("containers") or ()
    return {
        "metadata": {name: metadata[name] for name in ("name", "namespace", "uid") if name in metadata},
        "spec": {"containers": [{"name": c.get("name", ""), "image": c.get("image", "")} for c in containers]},
        "status": {},
    }
