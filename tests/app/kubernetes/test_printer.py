"""READY, STATUS and RESTARTS of a pod, as the API server's printer computes them for kubectl."""

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from app.kubernetes.printer import PodColumns, PodOutline, StatusOutline, print_pod

NOW = datetime(2026, 11, 22, 8, 46, 38, tzinfo=UTC)
RUNNING = {"running": {"startedAt": "2026-11-22T08:40:00Z"}}


def ended(code: int = 0, reason: str | None = None, **also: Any) -> dict[str, Any]:
    return {"terminated": {"exitCode": code, **({"reason": reason} if reason else {}), **also}}


def waits(reason: str | None = None) -> dict[str, Any]:
    return {"waiting": {"reason": reason} if reason else {}}


def container(name: str, state: dict[str, Any], restarts: int = 0, **also: Any) -> dict[str, Any]:
    return {"name": name, "state": state, "ready": state == RUNNING, "restartCount": restarts, **also}


def a_pod(init: str = "") -> dict[str, Any]:
    """Return a Pod with containers a and b, and init containers of one letter each; capitals are sidecars."""
    spec: dict[str, Any] = {"containers": [{"name": "a"}, {"name": "b"}], "initContainers": None}
    if init:
        spec["initContainers"] = [
            {"name": name, "restartPolicy": "Always" if name.isupper() else None} for name in init
        ]
    return {"spec": spec}


def columns(
    pod: dict[str, Any], status: dict[str, Any], *, deletion_requested_at: datetime | None = None
) -> PodColumns:
    outline = PodOutline.parse(orjson.dumps(pod).decode())
    return print_pod(outline, StatusOutline.of(status), at=NOW, deletion_requested_at=deletion_requested_at)


def condition(kind: str, status: str, reason: str | None = None) -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": reason}


CREATING = [container("a", waits("PodInitializing")), container("b", waits("PodInitializing"))]
BOTH = [container("a", RUNNING), container("b", RUNNING)]
READY = [condition("Ready", "True")]

STATUSES: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "pending": ("", {"phase": "Pending"}, "0/2", "Pending"),
    "creating": (
        "",
        {"phase": "Pending", "containerStatuses": [container("a", waits("ContainerCreating"))]},
        "0/2",
        "ContainerCreating",
    ),
    "running": ("", {"phase": "Running", "containerStatuses": BOTH}, "2/2", "Running"),
    "evicted": ("", {"phase": "Failed", "reason": "Evicted"}, "0/2", "Evicted"),
    "gated": (
        "",
        {"phase": "Pending", "conditions": [condition("PodScheduled", "False", "SchedulingGated")]},
        "0/2",
        "SchedulingGated",
    ),
    "crash_loop": (
        "",
        {"phase": "Running", "containerStatuses": [container("a", waits("CrashLoopBackOff")), BOTH[1]]},
        "1/2",
        "CrashLoopBackOff",
    ),
    "first_reason_wins": (
        "",
        {
            "phase": "Pending",
            "containerStatuses": [
                container("a", waits("ErrImagePull")),
                container("b", waits("CrashLoopBackOff")),
            ],
        },
        "0/2",
        "ErrImagePull",
    ),
    "completed": (
        "",
        {
            "phase": "Succeeded",
            "containerStatuses": [
                container("a", ended(reason="Completed")),
                container("b", ended(reason="Completed")),
            ],
        },
        "0/2",
        "Completed",
    ),
    "one_failed": (
        "",
        {
            "phase": "Failed",
            "containerStatuses": [
                container("a", ended(reason="Completed")),
                container("b", ended(1, reason="Error")),
            ],
        },
        "0/2",
        "Error",
    ),
    "one_completed_while_ready": (
        "",
        {
            "phase": "Running",
            "containerStatuses": [container("a", ended(reason="Completed")), BOTH[1]],
            "conditions": READY,
        },
        "1/2",
        "Running",
    ),
    "one_completed_while_not_ready": (
        "",
        {"phase": "Running", "containerStatuses": [container("a", ended(reason="Completed")), BOTH[1]]},
        "1/2",
        "NotReady",
    ),
    "exit_code_without_reason": (
        "",
        {"phase": "Failed", "containerStatuses": [container("a", ended(3))]},
        "0/2",
        "ExitCode:3",
    ),
    "signal_without_reason": (
        "",
        {"phase": "Failed", "containerStatuses": [container("a", ended(137, signal=9))]},
        "0/2",
        "Signal:9",
    ),
    "init_first_of_two": (
        "ij",
        {
            "phase": "Pending",
            "initContainerStatuses": [container("i", RUNNING), container("j", waits("PodInitializing"))],
            "containerStatuses": CREATING,
        },
        "0/2",
        "Init:0/2",
    ),
    "init_second_of_two": (
        "ij",
        {
            "phase": "Pending",
            "initContainerStatuses": [container("i", ended(reason="Completed")), container("j", RUNNING)],
            "containerStatuses": CREATING,
        },
        "0/2",
        "Init:1/2",
    ),
    "init_crash_loop": (
        "i",
        {
            "phase": "Pending",
            "initContainerStatuses": [container("i", waits("CrashLoopBackOff"))],
            "containerStatuses": CREATING,
        },
        "0/2",
        "Init:CrashLoopBackOff",
    ),
    "init_error": (
        "i",
        {"phase": "Pending", "initContainerStatuses": [container("i", ended(1, reason="Error"))]},
        "0/2",
        "Init:Error",
    ),
    "init_exit_code": (
        "i",
        {"phase": "Pending", "initContainerStatuses": [container("i", ended(1))]},
        "0/2",
        "Init:ExitCode:1",
    ),
    "init_signal": (
        "i",
        {"phase": "Pending", "initContainerStatuses": [container("i", ended(137, signal=9))]},
        "0/2",
        "Init:Signal:9",
    ),
    "init_done": (
        "i",
        {
            "phase": "Running",
            "initContainerStatuses": [container("i", ended(reason="Completed"))],
            "containerStatuses": BOTH,
        },
        "2/2",
        "Running",
    ),
    "sidecar_not_started": (
        "S",
        {
            "phase": "Pending",
            "initContainerStatuses": [container("S", RUNNING, started=False)],
            "containerStatuses": CREATING,
        },
        "0/3",
        "Init:0/1",
    ),
    "sidecar_started": (
        "Si",
        {
            "phase": "Pending",
            "initContainerStatuses": [container("S", RUNNING, started=True), container("i", RUNNING)],
            "containerStatuses": CREATING,
        },
        "1/3",
        "Init:1/2",
    ),
    "sidecar_ready": (
        "S",
        {
            "phase": "Running",
            "initContainerStatuses": [container("S", RUNNING, started=True)],
            "containerStatuses": BOTH,
        },
        "3/3",
        "Running",
    ),
    "sidecar_restarts_in_an_initialized_pod": (
        "S",
        {
            "phase": "Running",
            "initContainerStatuses": [container("S", waits("CrashLoopBackOff"), started=False)],
            "containerStatuses": BOTH,
            "conditions": [condition("Initialized", "True")],
        },
        "2/3",
        "Init:CrashLoopBackOff",
    ),
}


@pytest.mark.parametrize(("init", "status", "ready", "text"), STATUSES.values(), ids=STATUSES)
def test_ready_and_status_are_those_of_kubectl(init: str, status: dict[str, Any], ready: str, text: str) -> None:
    found = columns(a_pod(init), status)
    assert (found.ready, found.status) == (ready, text)


@pytest.mark.parametrize(
    ("requested", "status", "text"),
    [
        (-5, {"phase": "Running"}, "Terminating"),
        (-5, {"phase": "Pending"}, "Terminating"),
        (-5, {"phase": "Succeeded"}, "Succeeded"),
        (-5, {"phase": "Running", "reason": "NodeLost"}, "Unknown"),
        (0, {"phase": "Running"}, "Terminating"),
        (0.001, {"phase": "Running"}, "Running"),
    ],
)
def test_a_pod_terminates_from_its_deletion(requested: float, status: dict[str, Any], text: str) -> None:
    requested_at = NOW + timedelta(seconds=requested)
    assert columns(a_pod(), status, deletion_requested_at=requested_at).status == text


def last(minutes: int) -> dict[str, Any]:
    finished = (NOW - timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"lastState": ended(1, finishedAt=finished)}


@pytest.mark.parametrize(
    ("init", "status", "restarts"),
    [
        ("", {"containerStatuses": BOTH}, "0"),
        ("", {"containerStatuses": [container("a", RUNNING, 3, **last(5)), BOTH[1]]}, "3 (5m ago)"),
        ("", {"containerStatuses": [container("a", RUNNING, 3)]}, "3"),
        (
            "",
            {"containerStatuses": [container("a", RUNNING, 1, **last(7)), container("b", RUNNING, 2, **last(60))]},
            "3 (7m ago)",
        ),
        ("i", {"initContainerStatuses": [container("i", RUNNING, 4, **last(3))]}, "4 (3m ago)"),
        (
            "i",
            {
                "initContainerStatuses": [container("i", ended(), 4, **last(3))],
                "containerStatuses": [container("a", RUNNING, 1, **last(2))],
            },
            "1 (2m ago)",
        ),
        (
            "S",
            {
                "initContainerStatuses": [container("S", RUNNING, 2, started=True, **last(4))],
                "containerStatuses": [container("a", RUNNING, 1, **last(6))],
            },
            "3 (4m ago)",
        ),
    ],
)
def test_restarts_count_what_kubectl_counts(init: str, status: dict[str, Any], restarts: str) -> None:
    assert columns(a_pod(init), {"phase": "Running", **status}).format_restarts(NOW) == restarts
