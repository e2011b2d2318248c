"""The services of one application, for its views, its commands and its shell."""

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from flask import current_app

from app.audit.service import AuditLog
from app.core.clock import Clock
from app.core.settings import HEALTH_THREADS, Settings
from app.db.engine import Database
from app.db.migrate import head
from app.pods.advance import TimelineAdvancer
from app.pods.context import NodeContext
from app.pods.history import History
from app.pods.logs import Logs
from app.pods.queries import PodQueries
from app.pods.service import PodService
from app.pods.watch import StatusWatch
from app.runtimes import Runtime, load_runtime


@dataclass(frozen=True)
class Services:
    """The services of one application.

    Attributes:
        serving_since: when this server started; the same in all of its worker processes.
    """

    settings: Settings
    database: Database
    runtime: Runtime
    pods: PodService
    watch: StatusWatch
    logs: Logs
    history: History
    audit: AuditLog
    queries: PodQueries
    clock: Clock
    serving_since: datetime

    @classmethod
    def make(cls, settings: Settings, *, clock: Clock, serving_since: datetime) -> Self:
        """Build the services. No connection is opened.

        Raises:
            ConfigurationError: the runtime of the settings cannot be imported.
        """
        database = Database(settings.database, pool_size=settings.threads + HEALTH_THREADS, head=head())
        runtime = load_runtime(settings)
        timelines = TimelineAdvancer(database, runtime, clock=clock)
        node = NodeContext(database, runtime, timelines, clock)
        pods, queries = PodService(node), PodQueries(node)
        audit = AuditLog(database, settings, clock=clock)
        return cls(
            settings=settings,
            database=database,
            runtime=runtime,
            pods=pods,
            watch=StatusWatch(node),
            logs=Logs(node, pods),
            history=History(node, queries, audit),
            audit=audit,
            queries=queries,
            clock=clock,
            serving_since=serving_since,
        )


def get_services() -> Services:
    """Return the services of the current application."""
    found: Services = current_app.extensions["services"]
    return found
