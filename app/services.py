"""The services of one application, for its views, its commands and its shell."""

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from flask import current_app

from app.audit.service import AuditLog
from app.core.clock import Clock
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
from app.pods.node import NodeService
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
    """

    settings: Settings
    database: Database
    runtime: Runtime
    node: NodeService
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

    @classmethod
    def make(cls, settings: Settings, *, clock: Clock, serving_since: datetime) -> Self:
        """Build the services. No connection is opened.

        Args:
            settings: the settings.
            clock: returns the time of the machine.
            serving_since: when this server started; the same in all of its worker processes.

        Raises:
            ConfigurationError: the runtime of the settings cannot be imported.
        """
        # A held request has two: one is told of changes, the other reads them.
        pool_size = settings.threads + settings.held_requests + HEALTH_THREADS
        database = Database(settings.database, pool_size=pool_size, head=head())
        runtime = load_runtime(settings)
        fleet_clock = FleetClock(database, settings.node_name, clock=clock)
        timelines = TimelineAdvancer(database, runtime, settings, clock=fleet_clock)
        disk = DiskReserve(database, runtime.directories(), minimum=settings.min_free_disk, clock=clock)
        fleet = FleetContext(settings, database, runtime, timelines, fleet_clock, disk)
        pods = PodService(fleet)
        queries = PodQueries(fleet)
        usage = UsageService(fleet)
        volumes = VolumeService(fleet)
        audit = AuditLog(database, settings, clock=fleet_clock)
        return cls(
            settings=settings,
            database=database,
            runtime=runtime,
            node=NodeService(fleet, queries, serving_since=serving_since),
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
        )

    @property
    def reads_at_once(self) -> bool:
        """Whether a read of one pod waits for nothing but, where it has to write first, other writes."""
        return self.database.is_sqlite and self.runtime.computes_ahead


def get_services() -> Services:
    """Return the services of the current application."""
    found: Services = current_app.extensions["services"]
    return found
