"""The services of one application: what its views, its commands and its shell have at hand."""

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from flask import current_app

from app.audit.service import AuditLog
from app.core.settings import Settings
from app.db.engine import Database
from app.db.migrate import head
from app.pods.advance import TimelineAdvancer
from app.pods.history import History
from app.pods.logs import Logs
from app.pods.queries import PodQueries
from app.pods.service import PodService
from app.pods.watch import StatusWatch
from app.pods.writer import Clock
from app.runtimes import Runtime, load_runtime


@dataclass(frozen=True)
class Services:
    """The services of one application.

    Attributes:
        serving_since: when this server started; the same in all of its workers.
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
        """Put the services together. Nothing is connected yet.

        Raises:
            ConfigurationError: there is no such runtime.
        """
        database = Database(settings.database, pool_size=settings.threads, head=head())
        runtime = load_runtime(settings)
        timelines = TimelineAdvancer(database, runtime, clock=clock)
        pods = PodService(database, runtime, timelines, clock=clock)
        audit = AuditLog(database, settings, clock=clock)
        return cls(
            settings=settings,
            database=database,
            runtime=runtime,
            pods=pods,
            watch=StatusWatch(database, timelines, node_name=settings.node_name, clock=clock),
            logs=Logs(pods, runtime, clock=clock),
            history=History(database, timelines, audit, settings, clock=clock),
            audit=audit,
            queries=PodQueries(database, timelines, node_name=settings.node_name, clock=clock),
            clock=clock,
            serving_since=serving_since,
        )


def get_services() -> Services:
    """Give the services of the application that is at work."""
    found: Services = current_app.extensions["services"]
    return found
