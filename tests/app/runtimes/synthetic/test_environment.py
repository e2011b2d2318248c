"""Containers whose environment refers to objects that do not exist yet: each waits alone."""

from typing import Any

import pytest

from app.kubernetes.status import PodStatus
from tests.app.runtimes.synthetic.invariants import check
from tests.app.simulation import (
    UID,
    after,
    annotated,
    container,
    decoded,
    parse_pod,
    transitions_of,
    transitions_on_update,
)
from tests.pods import a_container, a_pod

REFERENCE = [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "absent", "key": "k"}}}]
WAITING = {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "absent" not found'}}
RESOLVED = [{"name": "KEY", "value": "1"}]


def pod(init: Any = (), good: Any = (), bad: Any = REFERENCE, **spec: Any) -> dict[str, Any]:
    containers = [a_container("good", env=list(good)), a_container("bad", env=list(bad))]
    return a_pod(uid=UID, containers=containers, initContainers=[a_container("setup", env=list(init))], **spec)


def states(status: PodStatus, *names: str) -> list[str]:
    """Return the state of each container: the reason where it waits, else the name of the state."""
    found = []
    for name in names:
        state = container(status, name).state
        found.append(
            state.waiting.reason if state.waiting else next(iter(decoded(state)))  # running or terminated
        )
    return found


def test_a_container_waits_alone_for_its_environment() -> None:
    timeline = transitions_of(pod(), init_duration=3)
    check(parse_pod(pod()), timeline)
    at, status = timeline[-1]
    assert (at, status.phase, status.start_time) == (after(3), "Pending", "2026-11-22T08:46:38Z")
    assert states(status, "setup", "good", "bad") == ["terminated", "running", "CreateContainerConfigError"]
    assert decoded(container(status, "bad").state) == WAITING


def test_a_waiting_container_starts_when_it_is_resolved() -> None:
    timeline = transitions_of(pod())
    good = container(timeline[-1].status, "good")
    ((at, status),) = transitions_on_update(pod(bad=RESOLVED), pod(), timeline, after(40))
    assert (at, status.phase) == (after(40), "Running")
    assert container(status, "good") == good
    assert decoded(container(status, "bad").state) == {"running": {"startedAt": "2026-11-22T08:47:18Z"}}
    assert container(status, "bad").restart_count == 0


def test_a_waiting_init_container_holds_those_after_it() -> None:
    waiting = pod(init=REFERENCE, bad=())
    timeline = transitions_of(waiting)
    assert states(timeline[-1].status, "setup", "good", "bad") == [
        "CreateContainerConfigError", "PodInitializing", "PodInitializing",
    ]  # fmt: skip
    status = transitions_on_update(pod(bad=()), waiting, timeline, after(40))[-1].status
    assert states(status, "setup", "good", "bad") == ["terminated", "running", "running"]


def test_the_deadline_of_a_waiting_pod_counts() -> None:
    timeline = transitions_of(pod(activeDeadlineSeconds=15))
    check(parse_pod(pod(activeDeadlineSeconds=15)), timeline)
    at, status = timeline[-1]
    assert (at, status.phase, status.reason) == (after(15), "Failed", "DeadlineExceeded")


def test_a_running_container_keeps_running_without_its_objects() -> None:
    running = pod(bad=RESOLVED)
    timeline = transitions_of(running)
    assert transitions_on_update(pod(), running, timeline, after(40))[0].status == timeline[-1].status


def test_a_restart_waits_for_the_environment() -> None:
    missing = annotated(pod(bad=RESOLVED), run_for__bad="5s")
    timeline = transitions_of(missing)
    waiting = annotated(pod(), run_for__bad="5s")
    status = transitions_on_update(waiting, missing, timeline, after(2))[-1].status
    assert states(status, "bad") == ["CreateContainerConfigError"]
    assert (status.phase, container(status, "bad").restart_count) == ("Running", 0)


@pytest.mark.parametrize("failure", ["ErrImagePull", "ImagePullBackOff"])
def test_the_image_is_pulled_before_the_environment_is_built(failure: str) -> None:
    status = transitions_of(annotated(pod(), fail__bad=failure))[0].status
    assert states(status, "bad") == ["ErrImagePull"]
