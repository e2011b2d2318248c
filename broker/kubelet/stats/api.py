"""Handlers of the paths that report resource usage."""

from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from broker.dependencies import Clock, Dependencies
from broker.errors import ProviderError
from broker.kubelet.node_paths import NodePaths, with_node
from broker.kubelet.schema import Pod, Pods, parse_pod
from broker.kubelet.stats.cadvisor import PodSeries, cadvisor_metrics, machine_metrics
from broker.kubelet.stats.exposition import CONTENT_TYPE
from broker.kubelet.stats.probes import ProbeCounter
from broker.kubelet.stats.resource_metrics import resource_metrics
from broker.kubelet.stats.source import NodeReading, UsageSource, UsageSources
from broker.node_info import NodeInfo


class StatsApi:
    """`/stats/summary` and the metrics of the pods of one node.

    Without an answer of the provider the summary is an error, and the metrics are those of the node alone with a
    scrape error, as at a kubelet whose container runtime does not answer.

    Args:
        node: the node.
        clock: returns the current time.
        pods: the pods of the node.
        source: the usage of the node.
    """

    def __init__(self, node: NodeInfo, pods: Pods, source: UsageSource, *, clock: Clock) -> None:
        self._clock = clock
        self.node = node
        self._pods = pods
        self._source = source
        self._probes = ProbeCounter()
        self._parsed: dict[bytes, Pod] = {}
        self._series: dict[bytes, PodSeries] = {}
        """Both by the version of the pod."""

    async def summary(self) -> web.Response:
        """Return usage of node, pods and containers, as JSON."""
        try:
            body = msgspec.json.encode(await self._source.summary())
        except ProviderError as exc:
            raise web.HTTPServiceUnavailable(text=f"usage could not be read from the provider: {exc}\n") from exc
        return web.Response(body=body, content_type="application/json")

    async def resource(self) -> web.Response:
        """Return usage of node, pods and containers, as Prometheus metrics for metrics-server."""
        try:
            metrics = resource_metrics(*await self._source.read())
        except ProviderError:
            metrics = resource_metrics(self._source.node_alone(), (), failed=True)
        return exposition(metrics)

    async def cadvisor(self) -> web.Response:
        """Return the metrics of cAdvisor."""
        try:
            (reading, reported), failed = await self._source.read_reported(), False
        except ProviderError:
            reading, reported, failed = NodeReading(self._source.node_alone(), ()), [], True
        self._series = {raw: self._series.get(raw) or PodSeries(parse_pod(raw)) for raw in self._pods.all()}
        series = {of_pod.uid: of_pod for of_pod in self._series.values()}
        metrics = cadvisor_metrics(*reading, reported, series, now=self._clock(), failed=failed)
        return exposition(metrics + machine_metrics(self.node.capacity))

    async def probes(self) -> web.Response:
        """Return the metrics of the pods' probes."""
        return exposition(self._probes.metrics(self._parse(), now=self._clock()))

    def _parse(self) -> list[Pod]:
        """Parse the pods, each version once."""
        self._parsed = {raw: self._parsed.get(raw) or parse_pod(raw) for raw in self._pods.all()}
        return list(self._parsed.values())


class StatsRoutes:
    """The paths that report resource usage, for each node.

    Args:
        dependencies: of the broker.
        paths: finds the node of a request, and its pods.
        usage: the usage of the nodes.
    """

    def __init__(self, dependencies: Dependencies, paths: NodePaths, usage: UsageSources) -> None:
        self._dependencies = dependencies
        self._paths = paths
        self._usage = usage
        self._by_node: dict[str, StatsApi] = {}

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            *with_node("/stats/summary", self._handler(StatsApi.summary)),
            *with_node("/metrics/resource", self._handler(StatsApi.resource)),
            *with_node("/metrics/cadvisor", self._handler(StatsApi.cadvisor)),
            *with_node("/metrics/probes", self._handler(StatsApi.probes)),
        ]

    def _handler(self, method: Callable[[StatsApi], Awaitable[web.Response]]) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            return await method(self._of(self._paths.node(request)))

        return handle

    def _of(self, name: str) -> StatsApi:
        node = self._dependencies.nodes[name]
        known = self._by_node.get(name)
        if known is None or known.node is not node:  # a node that was removed may come again
            source = self._usage.of(name)
            known = self._by_node[name] = StatsApi(node, source.pods, source, clock=self._dependencies.clock)
        return known


def exposition(text: bytes) -> web.Response:
    """Return metrics in the text format."""
    return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE})
