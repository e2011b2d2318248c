"""The timeline of a pod, drawn and as a table."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from app.kubernetes.printer import PodOutline
from app.pods.explain import StatusInterval
from app.web.ui.timeline import MAX_BLOCKS, MAX_SCHEDULED, axis, changes, fold, lanes, timeline_entries

NOW = datetime(2026, 11, 22, 8, 46, 38, tzinfo=UTC)
SECOND = timedelta(seconds=1)
POD = PodOutline.parse('{"metadata": {}, "spec": {"containers": [{"name": "web"}]}}')
RUNNING = {"running": {"startedAt": "2026-11-22T08:46:38Z"}}


def a_status(phase: str = "Running", ready: bool = True, restarts: int = 0, **state: Any) -> dict[str, Any]:
    container = {"name": "web", "state": state or RUNNING, "ready": ready, "restartCount": restarts}
    conditions = [{"type": "Ready", "status": str(ready)}]
    return {"phase": phase, "containerStatuses": [container], "conditions": conditions}


def waiting(reason: str, restarts: int = 0) -> dict[str, Any]:
    return a_status("Pending", ready=False, restarts=restarts, waiting={"reason": reason})


def intervals_of(*statuses: dict[str, Any], every: timedelta = 10 * SECOND) -> list[StatusInterval]:
    times = [NOW + number * every for number in range(len(statuses))]
    return [
        StatusInterval(since, until, status, POD)
        for (since, until), status in zip(pairwise([*times, None]), statuses, strict=True)
        if since
    ]


@pytest.mark.parametrize(
    ("seconds", "whens"),
    [
        (-1, ["next", "next", "next"]),
        (0, ["now", "next", "next"]),
        (19.999, ["past", "now", "next"]),
        (20, ["past", "past", "now"]),
        (29, ["past", "past", "now"]),
        (30, ["past", "past", "past"]),
    ],
)
def test_statuses_are_past_current_or_scheduled(seconds: float, whens: list[str]) -> None:
    entries = timeline_entries(
        intervals_of(waiting("ContainerCreating"), a_status(), a_status(restarts=1)),
        at=NOW + seconds * SECOND,
        deleted_at=NOW + 30 * SECOND,
    )

    assert [step.when for step in entries] == whens


@pytest.mark.parametrize(
    ("before", "after", "texts"),
    [
        ({}, waiting("ContainerCreating"), ["web: ContainerCreating"]),
        (
            waiting("ContainerCreating"),
            a_status(),
            ["phase Pending → Running", "web: ContainerCreating → running, ready", "Ready is True"],
        ),
        (a_status(), a_status(restarts=2), ["web: restart 2"]),
        (a_status(), a_status(), []),
        (
            a_status(),
            a_status("Failed", ready=False, terminated={"exitCode": 137, "reason": "OOMKilled"}),
            ["phase Running → Failed", "web: running, ready → OOMKilled (137)", "Ready is False"],
        ),
        ({}, {"phase": "Running"}, []),
        (a_status(), {"phase": "Unknown", "containerStatuses": None}, ["phase Running → Unknown"]),
    ],
)
def test_a_step_says_what_it_changed(before: dict[str, Any], after: dict[str, Any], texts: list[str]) -> None:
    assert list(changes(before, after)) == texts


@pytest.mark.parametrize("count", [1, 2, MAX_BLOCKS, MAX_BLOCKS + 50])
def test_blocks_fill_the_lane(count: int) -> None:
    statuses = intervals_of(
        *[a_status(restarts=number) for number in range(count)], every=timedelta(milliseconds=1)
    )
    entries = timeline_entries(statuses, at=NOW + timedelta(days=100), deleted_at=None)

    for lane in lanes(entries, at=NOW + timedelta(days=100)):
        assert len(lane.blocks) == min(count, MAX_BLOCKS)
        assert lane.blocks[0].x == 0
        for block, following in pairwise(lane.blocks):
            assert block.x + block.width == pytest.approx(following.x, abs=0.01)
        assert lane.blocks[-1].x + lane.blocks[-1].width == pytest.approx(100, abs=0.01)
        assert all(block.width >= 3.99 for block in lane.blocks)


def test_every_container_has_a_lane() -> None:
    late = {"name": "debugger", "state": RUNNING, "ready": False}
    statuses = intervals_of(a_status(), {**a_status(), "ephemeralContainerStatuses": [late]})

    pod, web, debugger = lanes(
        timeline_entries(statuses, at=NOW + 15 * SECOND, deleted_at=None), at=NOW + 15 * SECOND
    )

    assert [lane.name for lane in (pod, web, debugger)] == ["pod", "web", "debugger"]
    assert [(block.state, block.when) for block in web.blocks] == [("ready", "past"), ("ready", "now")]
    assert [block.x for block in debugger.blocks] == [pod.blocks[1].x]


def test_a_failing_running_pod_is_degraded() -> None:
    statuses = intervals_of({**waiting("CrashLoopBackOff", restarts=3), "phase": "Running"})

    [step] = timeline_entries(statuses, at=NOW, deleted_at=None)
    pod, _ = lanes([step], at=NOW)

    assert step.reason == "CrashLoopBackOff"
    assert (pod.blocks[0].state, pod.blocks[0].label) == ("degraded", "CrashLoopBackOff")


@pytest.mark.parametrize(
    ("started", "past", "upcoming"),
    [(1, 0, MAX_BLOCKS - 1), (8, 7, MAX_BLOCKS - 8), (40, MAX_BLOCKS - MAX_SCHEDULED - 1, MAX_SCHEDULED)],
)
def test_a_long_timeline_is_cut_around_now(started: int, past: int, upcoming: int) -> None:
    statuses = intervals_of(*[a_status(restarts=number) for number in range(80)])
    at = NOW + (10 * started - 5) * SECOND

    (pod, _) = lanes(timeline_entries(statuses, at=at, deleted_at=None), at=at)

    assert [block.when for block in pod.blocks] == ["past"] * past + ["now"] + ["next"] * upcoming


def test_repeated_statuses_are_folded() -> None:
    phases = ["Pending", *("Running", "Failed") * 3, "Running"]
    intervals = [
        StatusInterval(NOW + timedelta(seconds=index), NOW + timedelta(seconds=index + 1), {"phase": phase}, POD)
        for index, phase in enumerate(phases)
    ]
    entries = timeline_entries(intervals, at=NOW + timedelta(seconds=7.5), deleted_at=None)

    found = [([str(entry.status["phase"]) for entry in each.entries], each.times) for each in fold(entries)]

    assert found == [(["Pending"], 1), (["Running", "Failed"], 3), (["Running"], 1)]
    assert fold(entries)[1].since == NOW + timedelta(seconds=1)


def test_the_axis_has_times_that_fit() -> None:
    intervals = [
        StatusInterval(NOW + timedelta(seconds=index), None, {"phase": "Running"}, POD) for index in range(30)
    ]
    entries = timeline_entries(intervals, at=NOW + timedelta(seconds=40), deleted_at=None)

    ticks = axis(entries, lanes(entries, at=NOW + timedelta(seconds=40))[0])

    assert 2 <= len(ticks) <= 7
    assert all(after.x - before.x >= 14 for before, after in pairwise(ticks))
    assert ticks[0].label == "08:46:52"


def test_the_axis_tells_times_of_a_second_apart() -> None:
    quick = intervals_of(*[a_status(restarts=number) for number in range(9)], every=timedelta(milliseconds=120))
    entries = timeline_entries(quick, at=NOW + 5 * SECOND, deleted_at=None)
    alike = timeline_entries(intervals_of(a_status(), a_status(), every=timedelta(0)), at=NOW, deleted_at=None)

    labels = [tick.label for tick in axis(entries, lanes(entries, at=NOW + 5 * SECOND)[0])]

    assert labels[:2] == ["08:46:38.000", "08:46:38.240"]
    assert len(set(labels)) == len(labels)
    assert [tick.label for tick in axis(alike, lanes(alike, at=NOW)[0])] == ["08:46:38"]
