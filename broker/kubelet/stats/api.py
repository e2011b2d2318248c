"""Handlers of the paths that report resource usage."""

import msgspec
from aiohttp import web

from broker.dependencies import Dependencies
from broker.errors import ProviderError
from broker.kubelet.schema import Pod, Pods, parse_pod
from broker.kubelet.stats.cadvisor import cadvisor_metrics, machine_metrics
from broker.kubelet.stats.exposition import CONTENT_TYPE
from broker.kubelet.stats.probes import ProbeCounter
from broker.kubelet.stats.resource_metrics import resource_metrics
from broker.kubelet.stats.schema import Summary
from broker.kubelet.stats.source import UsageSource


class StatsApi:
    """Handlers of `/stats/summary` and of the metrics of a node's pods.

    Without an answer of the provider the summary is an error, and the metrics are those of the node alone with a
    scrape error, as at a kubelet whose container runtime does not answer.

    Args:
        dependencies: of the broker.
        pods: the pods of the node.
        source: the usage of the node.
    """

    def __init__(self, dependencies: Dependencies, pods: Pods, source: UsageSource) -> None:
        self._clock = dependencies.clock
        self._node = dependencies.node
        self._pods = pods
        self._source = source
        self._probes = ProbeCounter()
        self._parsed: dict[bytes, Pod] = {}

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/stats/summary", self.summary),
            web.get("/metrics/resource", self.resource),
            web.get("/metrics/cadvisor", self.cadvisor),
            web.get("/metrics/probes", self.probes),
        ]

    async def summary(self, _: web.Request) -> web.Response:
        """Return usage of node, pods and containers, as JSON."""
        try:
            body = msgspec.json.encode(await self._source.summary())
        except ProviderError as exc:
            raise web.HTTPServiceUnavailable(text=f"usage could not be read from the provider: {exc}\n") from exc
        return web.Response(body=body, content_type="application/json")

    async def resource(self, _: web.Request) -> web.Response:
        """Return usage of node, pods and containers, as Prometheus metrics for metrics-server."""
        summary, failed = await self._read()
        return _exposition(resource_metrics(summary, failed=failed))

    async def cadvisor(self, _: web.Request) -> web.Response:
        """Return the metrics of cAdvisor."""
        summary, failed = await self._read()
        pods = {pod.metadata.uid: pod for pod in self._parse()}
        metrics = cadvisor_metrics(summary, pods, now=self._clock(), failed=failed)
        return _exposition(metrics + machine_metrics(self._node.capacity))

    async def probes(self, _: web.Request) -> web.Response:
        """Return the metrics of the pods' probes."""
        return _exposition(self._probes.metrics(self._parse(), now=self._clock()))

    async def _read(self) -> tuple[Summary, bool]:
        """Return the usage, and whether that of the pods could not be read."""
        try:
            return await self._source.summary(), False
        except ProviderError:
            return Summary(self._source.node_alone(), []), True

    def _parse(self) -> list[Pod]:
        """Parse the pods, each version once."""
        self._parsed = {raw: self._parsed.get(raw) or parse_pod(raw) for raw in self._pods.all()}
        return list(self._parsed.values())


def _exposition(text: bytes) -> web.Response:
    return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE})
