"""The services of one application, for its views, its commands and its shell."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from flask import current_app

from app.audit.service import AuditLog
from app.core.clock import Clock
from app.core.errors import NotFound
from app.core.nodes import NodeOverride
from app.core.settings import HEALTH_THREADS, Settings
from app.db.engine import Database
from app.db.revision import head
from app.pods.advance import TimelineAdvancer
from app.pods.attention import Attention
from app.pods.changes import Changes
from app.pods.context import FleetContext
from app.pods.disk_reserve import DiskReserve
from app.pods.fleet_clock import FleetClock
from app.pods.history import History
from app.pods.logs import Logs
from app.pods.pod_list import PodList
from app.pods.queries import PodQueries
from app.pods.series import PodSeries
from app.pods.service import PodService
from app.pods.streams import Streams
from app.pods.usage import UsageService
from app.pods.volumes import VolumeService
from app.pods.watch import StatusWatch
from app.runtimes import Runtime, load_runtime


@dataclass(frozen=True)
class Services:
    """The services of one application.

    Attributes:
        clock: returns the time of the fleet; `clock.system` is that of the machine.
        serving_since: when this server started; the same in all of its worker processes.
    """

    settings: Settings
    database: Database
    runtime: Runtime
    pods: PodService
    watch: StatusWatch
    logs: Logs
    streams: Streams
    history: History
    audit: AuditLog
    queries: PodQueries
    pod_list: PodList
    changes: Changes
    attention: Attention
    series: PodSeries
    usage: UsageService
    volumes: VolumeService
    clock: FleetClock
    disk: DiskReserve
    serving_since: datetime

    @classmethod
    def make(cls, settings: Settings, *, clock: Clock, serving_since: datetime) -> Self:
        """Build the services. No connection is opened.

        Raises:
            ConfigurationError: the runtime of the settings cannot be imported.
        """
        # A held request has two: one is told of changes, the other reads them.
        pool_size = settings.threads + settings.held_requests + HEALTH_THREADS
        database = Database(settings.database, pool_size=pool_size, head=head())
        runtime = load_runtime(settings)
        fleet_clock = FleetClock(database, settings.node_name, clock=clock)
        timelines = TimelineAdvancer(database, runtime, clock=fleet_clock)
        disk = DiskReserve(database, runtime, clock=clock)
        fleet = FleetContext(database, runtime, timelines, fleet_clock, disk)
        pods, queries, usage, volumes = (
            PodService(fleet),
            PodQueries(fleet),
            UsageService(fleet),
            VolumeService(fleet),
        )
        audit = AuditLog(database, settings, clock=fleet_clock)
        return cls(
            settings=settings,
            database=database,
            runtime=runtime,
            pods=pods,
            watch=StatusWatch(fleet),
            logs=Logs(fleet, pods),
            streams=Streams(fleet, pods),
            history=History(fleet, queries, audit, usage=usage, volumes=volumes),
            audit=audit,
            queries=queries,
            pod_list=PodList(fleet, queries),
            changes=Changes(fleet),
            attention=Attention(fleet),
            series=PodSeries(fleet),
            usage=usage,
            volumes=volumes,
            clock=fleet_clock,
            disk=disk,
            serving_since=serving_since,
        )

    def node_capacity(self, node: str | None = None) -> dict[str, str]:
        """Return the capacity of a node, resource → quantity; of the node NODE_NAME where None."""
        capacity = self._override(node).capacity
        return self.runtime.capacity() if capacity is None else dict(capacity)

    def capacity_known(self, node: str) -> dict[str, str]:
        """Return the capacity of a node as far as the provider knows it: that of NODE_NAME, or of NODE_OVERRIDES.

        Of any other node of a fleet, the broker decides: its pool may have a capacity of its own.
        """
        if node == self.settings.node_name:
            return self.node_capacity(node)
        return dict(self._override(node).capacity or {})

    def knows_node(self, node: str) -> bool:
        """Return whether a node is that of NODE_NAME, is described by NODE_OVERRIDES, or has or had a pod."""
        is_described = self._override(node) != NodeOverride()
        return node == self.settings.node_name or is_described or self.queries.had_pods_on(node)

    def node_addresses(self, node: str | None = None) -> list[dict[str, str]]:
        """Return the addresses of a node as NodeAddress objects."""
        addresses = self._override(node).addresses
        return self.runtime.addresses() if addresses is None else [one.model_dump() for one in addresses]

    def node(self, node: str | None = None) -> dict[str, Any]:
        """Return `labels`, `taints` and `allocatable` of a node, without those of which the provider says nothing.

        Raises:
            NotFound: the provider says nothing of any node.
        """
        if not self.runtime.describes_nodes:
            raise NotFound("this provider describes no nodes: NODE_OVERRIDES is not set")
        fields = {"labels", "taints", "allocatable"}
        return self._override(node).model_dump(include=fields, exclude_none=True)

    def _override(self, node: str | None) -> NodeOverride:
        return self.runtime.node_override(node or self.settings.node_name)

    def node_conditions(self) -> list[dict[str, Any]]:
        """Return the node's conditions as NodeCondition objects. Never fails, and does not wait for a database."""
        conditions = self.runtime.conditions(now=self.clock.system(), since=self.serving_since)
        return self.disk.with_pressure(conditions)


def get_services() -> Services:
    """Return the services of the current application."""
    found: Services = current_app.extensions["services"]
    return found
