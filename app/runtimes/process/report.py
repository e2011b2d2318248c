"""What a shim has written down, as the status that a kubelet would report.

Source of the phases: `getPhase` in `pkg/kubelet/kubelet_pods.go`; of how a pod ends: `TerminatePod` in
`pkg/kubelet/status/status_manager.go`, both in Kubernetes.
"""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

import msgspec

from app.lifecycle.conditions import conditions
from app.lifecycle.manifest import Container
from app.lifecycle.qos import qos_class
from app.lifecycle.status import (
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStateWaiting,
    ContainerStatus,
    Phase,
    PodIP,
    PodStatus,
)
from app.lifecycle.times import rfc3339
from app.runtimes.process import plan
from app.runtimes.runtime import AcceptedPod


class Run(msgspec.Struct, frozen=True):
    """One run of a container. Times are microseconds since 1970."""

    started: int
    finished: int | None
    code: int | None
    reason: str | None
    message: str | None


class ContainerRecord(msgspec.Struct, frozen=True):
    """What a container was in.

    Attributes:
        runs: how many there were, the present one counted.
        run: the last of them.
        previous: the one before.
        pause: for how many seconds it rests before it is run again.
    """

    runs: int = 0
    run: Run | None = None
    previous: Run | None = None
    pause: float | None = None


class Moment(msgspec.Struct, frozen=True):
    """What all containers were in from a time on.

    Attributes:
        at: microseconds since 1970.
        final: nothing will ever follow.
        reason: why the pod was ended; None where it ended by itself or was deleted.
    """

    at: int
    containers: Mapping[str, ContainerRecord]
    final: bool = False
    reason: str | None = None


_UNKNOWN = Run(0, 0, 137, "ContainerStatusUnknown", "the container could not be located when the pod was terminated")
_MESSAGES = {"DeadlineExceeded": "Pod was active on the node longer than the specified deadline"}
