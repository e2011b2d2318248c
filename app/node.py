"""What the node says of itself. None of it needs the database: a node whose `/capacity` fails is taken down."""

from datetime import datetime

from app.lifecycle.times import rfc3339
from app.settings import Settings

_CONDITIONS = (
    ("Ready", "True", "ProviderReady", "the provider answers"),
    ("MemoryPressure", "False", "ProviderHasSufficientMemory", "the provider has sufficient memory"),
    ("DiskPressure", "False", "ProviderHasNoDiskPressure", "the provider has no disk pressure"),
    ("PIDPressure", "False", "ProviderHasSufficientPID", "the provider has sufficient process IDs"),
    ("NetworkUnavailable", "False", "ProviderNetworkReady", "the provider has the network that its pods need"),
)


def capacity(settings: Settings) -> dict[str, str]:
    """Give the node's resources, resource → quantity."""
    return dict(settings.capacity)


def addresses(settings: Settings) -> list[dict[str, str]]:
    """Give the node's addresses as NodeAddress objects."""
    return [{"type": address.type, "address": address.address} for address in settings.addresses]


def conditions(*, now: datetime, since: datetime) -> list[dict[str, str]]:
    """Give the node's conditions as NodeCondition objects.

    Args:
        now: the time of this heartbeat.
        since: when the provider began to serve, from when on all of them hold.
    """
    return [
        {
            "type": type_,
            "status": status,
            "lastHeartbeatTime": rfc3339(now),
            "lastTransitionTime": rfc3339(since),
            "reason": reason,
            "message": message,
        }
        for type_, status, reason, message in _CONDITIONS
    ]
