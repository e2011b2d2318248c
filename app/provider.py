"""The services of one application: what its views, its commands and its shell have at hand."""

from dataclasses import dataclass
from datetime import datetime

from flask import current_app

from app.database import Database
from app.pods import Pods
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
    pods: Pods
    clock: Clock
    serving_since: datetime


def provider() -> Provider:
    """Give the services of the application that is at work."""
    found: Provider = current_app.extensions["provider"]
    return found
