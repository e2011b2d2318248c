"""The services of one application: what its views, its commands and its shell have at hand."""

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from flask import current_app

from app.audit.trail import Trail
from app.changes import Changes
from app.courses import Courses
from app.database import Database
from app.history import History
from app.inventory import Inventory
from app.logs import Logs
from app.migrate import head
from app.pods import Pods
from app.runtimes import Runtime, load_runtime
from app.settings import Settings
from app.write import Clock


@dataclass(frozen=True)
class Provider:
    """The services of one application.

    Attributes:
        serving_since: when this server started; the same in all of its workers.
    """

    settings: Settings
    database: Database
    runtime: Runtime
    pods: Pods
    changes: Changes
    logs: Logs
    history: History
    audit: Trail
    inventory: Inventory
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
        courses = Courses(database, runtime, clock=clock)
        pods = Pods(database, runtime, courses, clock=clock)
        audit = Trail(database, settings, clock=clock)
        return cls(
            settings=settings,
            database=database,
            runtime=runtime,
            pods=pods,
            changes=Changes(database, courses, node_name=settings.node_name, clock=clock),
            logs=Logs(pods, runtime, clock=clock),
            history=History(database, courses, audit, settings, clock=clock),
            audit=audit,
            inventory=Inventory(database, courses, node_name=settings.node_name, clock=clock),
            clock=clock,
            serving_since=serving_since,
        )


def provider() -> Provider:
    """Give the services of the application that is at work."""
    found: Provider = current_app.extensions["provider"]
    return found
