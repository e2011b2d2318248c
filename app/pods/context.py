"""The objects that every service of a fleet needs, passed as one."""

from dataclasses import dataclass

from app.core.settings import Settings
from app.db.engine import Database
from app.pods.advance import TimelineAdvancer
from app.pods.disk_reserve import DiskReserve
from app.pods.fleet_clock import FleetClock
from app.runtimes import Runtime


@dataclass(frozen=True)
class FleetContext:
    """The fleet that the services of an application read and write.

    Attributes:
        settings: the settings of the fleet.
        database: the database of the fleet; it may hold other fleets as well.
        runtime: the runtime of the fleet's pods.
        timelines: computes overdue statuses before a read.
        clock: returns the time of the fleet.
        disk: refuses pods while the disk is almost full.
    """

    settings: Settings
    database: Database
    runtime: Runtime
    timelines: TimelineAdvancer
    clock: FleetClock
    disk: DiskReserve

    @property
    def name(self) -> str:
        """The name of the fleet: NODE_NAME."""
        return self.settings.node_name
