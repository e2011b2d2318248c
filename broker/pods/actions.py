"""The next step for a pod: a pure function of the pod in Kubernetes and the pod at the provider."""

from datetime import datetime, timedelta
from enum import Enum
from typing import NamedTuple

from broker.kubernetes.objects import from_time
from broker.types import Object


class PodVersion(NamedTuple):
    """Identity and content of a pod.

    Attributes:
        uid: UID of the pod.
        digest: digest of the payload for the provider; None until the payload is built.
    """

    uid: str
    digest: bytes | None = None


class Unknown(Enum):
    """Marks a pod name that was not read from the provider yet, or whose create got no answer."""

    UNKNOWN = "unknown"


UNKNOWN = Unknown.UNKNOWN
ProviderPod = PodVersion | Unknown | None
"""The pod that the provider has under a name; None: no pod. The digest is that of the acknowledged request, not of
the provider's answer: answers differ from the request in nulls, empty fields and order."""


class Action(Enum):
    """A step towards the desired state. After each step :func:`decide` is called again."""

    GET = "read the pod from the provider"
    BUILD_PAYLOAD = "resolve the environment and build the payload"
    CREATE = "create the pod"
    UPDATE = "update the pod"
    DELETE = "delete the provider's pod"
    NOTHING = "the provider has the desired pod"


def decide(desired: PodVersion | None, actual: ProviderPod) -> Action:
    """Return the next step.

    The provider's API identifies pods by name, so a pod with the same name and another UID is deleted first.

    Args:
        desired: the pod that Kubernetes has under a name; None where it has none.
        actual: the pod that the provider has under that name.
    """
    if desired is None:
        return Action.NOTHING if actual is None else Action.DELETE
    if isinstance(actual, Unknown):
        return Action.GET
    if actual is not None and actual.uid != desired.uid:
        return Action.DELETE
    if desired.digest is None:
        return Action.BUILD_PAYLOAD
    if actual is None:
        return Action.CREATE
    return Action.NOTHING if actual.digest == desired.digest else Action.UPDATE


def active_deadline(pod: Object) -> datetime | None:
    """Return the time at which a pod exceeds its `activeDeadlineSeconds`; None without a deadline or a start time.

    Source: `pkg/kubelet/active_deadline.go`.
    """
    allowed = pod["spec"].get("activeDeadlineSeconds")
    started = (pod.get("status") or {}).get("startTime")
    if allowed is None or not started:
        return None
    return from_time(started) + timedelta(seconds=allowed)


def grace_period(pod: Object) -> int:
    """Return the `terminationGracePeriodSeconds` of a pod in seconds, 30 by default."""
    seconds = pod["spec"].get("terminationGracePeriodSeconds")
    return 30 if seconds is None else max(int(seconds), 1)
