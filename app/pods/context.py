"""The objects that every service of a node needs, passed as one."""

from dataclasses import dataclass

from app.db.engine import Database
from app.pods.advance import TimelineAdvancer
from app.pods.disk_reserve import DiskReserve
from app.pods.node_clock import NodeClock
from app.runtimes import Runtime


@dataclass(frozen=True)
class NodeContext:
    """The node that the services of an application read and write.

    Attributes:
        database: the database of the node; it may hold other nodes as well.
        runtime: the runtime of the node's pods.
        timelines: computes overdue statuses before a read.
        clock: returns the time of the node.
        disk: refuses pods while the disk is almost full.
    """

    database: Database
    runtime: Runtime
    timelines: TimelineAdvancer
    clock: NodeClock
    disk: DiskReserve

    @property
    def node_name(self) -> str:
        """The name of the node, from the settings of its runtime."""
        return self.runtime.settings.node_name
