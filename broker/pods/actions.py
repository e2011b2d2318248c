"""What is to be done about a pod: pure decisions from what Kubernetes wants and what the provider has."""

from datetime import datetime, timedelta
from enum import Enum
from typing import NamedTuple

from broker.kubernetes.objects import Object, from_time


class Pod(NamedTuple):
    """A pod under some name: which, and the digest of what is sent of it; None until that is made."""

    uid: str
    digest: bytes | None = None


class Unknown(Enum):
    """It is not known whether the provider has a pod under a name: nobody asked, or a create was not answered."""

    UNKNOWN = "unknown"


UNKNOWN = Unknown.UNKNOWN
Held = Pod | Unknown | None
"""What the provider has under a name, as far as it is known: what it has acknowledged, not what it replies, since
replies differ from what was sent in nulls, empty fields and order."""


class Action(Enum):
    """The next step; after it, the decision is made anew."""

    ASK = "ask the provider what it has"
    RESOLVE = "make what is to be sent, for which the environment has to be resolved"
    CREATE = "create the pod"
    UPDATE = "update the pod"
    DELETE = "delete what the provider has"
    NOTHING = "nothing is to be done"


def decide(desired: Pod | None, held: Held) -> Action:
    """Decide what is next.

    Args:
        desired: the pod that Kubernetes wants to run under a name; None where it wants none.
        held: what the provider has under it. The API of providers knows pods by name, so another pod of the same
            name is deleted first.
    """
    if desired is None:
        return Action.NOTHING if held is None else Action.DELETE
    if isinstance(held, Unknown):
        return Action.ASK
    if held is not None and held.uid != desired.uid:
        return Action.DELETE
    if desired.digest is None:
        return Action.RESOLVE
    if held is None:
        return Action.CREATE
    return Action.NOTHING if held.digest == desired.digest else Action.UPDATE


def seconds_left(pod: Object, now: datetime) -> float | None:
    """Say how long a pod may still be active; None where it has no deadline, or has not started.

    Source: `pkg/kubelet/active_deadline.go`.
    """
    allowed = pod["spec"].get("activeDeadlineSeconds")
    started = (pod.get("status") or {}).get("startTime")
    if allowed is None or not started:
        return None
    return (from_time(started) + timedelta(seconds=allowed) - now).total_seconds()
