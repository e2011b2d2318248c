"""The services of one application, for its views, its commands and its shell."""

from datetime import datetime

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
from app.runtimes import load_runtime


class Services:
    """The services of one application. No connection is opened.

    Args:
        settings: the settings.
        clock: returns the time of the machine.
        serving_since: when this server started; the same in all of its worker processes.

    Attributes:
        clock: returns the time of the fleet; `clock.system` is that of the machine.

    Raises:
        ConfigurationError: the runtime of the settings cannot be imported.
    """

    def __init__(self, settings: Settings, *, clock: Clock, serving_since: datetime) -> None:
        # A held request has two: one is told of changes, the other reads them.
        pool_size = settings.threads + settings.held_requests + HEALTH_THREADS
        self.settings = settings
        self.database = Database(settings.database, pool_size=pool_size, head=head())
        self.runtime = load_runtime(settings)
        self.clock = FleetClock(self.database, settings.node_name, clock=clock)
        self.disk = DiskReserve(
            self.database, self.runtime.directories(), minimum=settings.min_free_disk, clock=clock
        )
        timelines = TimelineAdvancer(self.database, self.runtime, settings, clock=self.clock)
        fleet = FleetContext(settings, self.database, self.runtime, timelines, self.clock, self.disk)
        self.audit = AuditLog(self.database, settings, clock=self.clock)
        self.queries = PodQueries(fleet)
        self.node = NodeService(fleet, self.queries, serving_since=serving_since)
        self.pods = PodService(fleet)
        self.pod_list = PodList(fleet, self.queries)
        self.watch = StatusWatch(fleet)
        self.changes = Changes(fleet)
        self.logs = Logs(fleet, self.pods)
        self.streams = Streams(fleet, self.pods)
        self.usage = UsageService(fleet)
        self.volumes = VolumeService(fleet)
        self.history = History(fleet, self.queries, self.audit, usage=self.usage, volumes=self.volumes)
        self.attention = Attention(fleet)
        self.series = PodSeries(fleet)

    @property
    def reads_at_once(self) -> bool:
        """Whether a read of one pod waits for nothing but, where it has to write first, other writes."""
        return self.database.is_sqlite and self.runtime.computes_ahead


def get_services() -> Services:
    """Return the services of the current application."""
    found: Services = current_app.extensions["services"]
    return found
