"""The objects that every part of the broker needs, in one place."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random

from broker.kubernetes.client import Client
from broker.node_log import NodeLog
from broker.nodes import Nodes
from broker.provider import ProviderClient
from broker.settings import Settings

Clock = Callable[[], datetime]
"""Returns the current time, with a time zone."""


def utc_now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Dependencies:
    """Objects that all nodes share.

    Attributes:
        settings: settings of the broker.
        client: client of the API server.
        provider: client of the provider.
        nodes: capacity, addresses, labels and identity of each node.
        clock: returns the current time.
        random: source of jitter.
        node_log: logs messages about nodes.
    """

    settings: Settings
    client: Client
    provider: ProviderClient
    nodes: Nodes
    clock: Clock
    random: Random
    node_log: NodeLog = field(default_factory=NodeLog)
