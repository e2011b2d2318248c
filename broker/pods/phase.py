"""The phases of a pod."""

from typing import Any

import msgspec

PHASES = ("Pending", "Running", "Succeeded", "Failed", "Unknown")
TERMINAL = ("Succeeded", "Failed")


def merge_phase(current: str | None, reported: object) -> str:
    """Return the phase that follows on the one in Kubernetes; an invalid one is ignored."""
    if not isinstance(reported, str) or reported not in PHASES:
        return current or "Pending"
    # A pod that is created again at the provider starts as Pending; in Kubernetes, a running pod stays Running.
    return "Running" if current == "Running" and reported == "Pending" else reported


class _Phase(msgspec.Struct):
    phase: Any = None


_phases = msgspec.json.Decoder(_Phase)


def is_terminal(status: bytes) -> bool:
    """Return whether a PodStatus in JSON has a terminal phase."""
    try:
        return _phases.decode(status).phase in TERMINAL
    except msgspec.DecodeError:
        return False
