"""The synthetic runtime through its interface: timelines and logs by settings and pod."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from app.core.errors import InvalidRequest
from app.core.settings import Settings
from app.runtimes import AcceptedPod, LogLine, Runtime
from app.runtimes.synthetic.annotations import DOMAIN
from app.runtimes.synthetic.runtime import SyntheticRuntime
from tests.app.simulation import NOW, PLACEMENT, UID, after, annotated, container, parse_manifest
from tests.pods import a_container, a_pod

JOB: dict[str, Any] = a_pod(metadata={"ownerReferences": [{"kind": "Job"}]}, restartPolicy="Never")


def a_runtime(**settings: Any) -> Runtime:
    return SyntheticRuntime(Settings.model_validate(settings))


def accepted(pod: dict[str, Any], **times: Any) -> AcceptedPod:
    return AcceptedPod(
        manifest=parse_manifest(pod),
        placement=PLACEMENT,
        accepted_at=NOW,
        **times,
    )


@pytest.mark.parametrize(
    ("settings", "pod", "expected"),
    [
        ({}, JOB, [(NOW, "Running"), (after(5), "Succeeded")]),
        ({"job_duration": "7s"}, JOB, [(NOW, "Running"), (after(7), "Succeeded")]),
        ({}, a_pod(initContainers=[a_container("one")]), [(NOW, "Running")]),
        (
            {"init_duration": "7s"},
            a_pod(initContainers=[a_container("one")]),
            [(NOW, "Pending"), (after(7), "Running")],
        ),
        (
            {"start_delay": "700ms"},
            a_pod(),
            [(NOW, "Pending"), (NOW + timedelta(milliseconds=700), "Running")],
        ),
    ],
)
def test_settings_apply_to_pods_without_annotations(
    settings: dict[str, str], pod: dict[str, Any], expected: list[tuple[datetime, str]]
) -> None:
    timeline = a_runtime(**settings).create(accepted(pod), now=NOW)
    assert [(at, status.phase) for at, status in timeline.transitions] == expected


def test_a_factor_multiplies_the_start_delay() -> None:
    def starts_after(pod: dict[str, Any]) -> float:
        timeline = a_runtime(start_delay="2s").create(accepted(pod), now=NOW)
        return (timeline.transitions[-1].effective_at - NOW).total_seconds()

    assert starts_after(annotated(start_delay_factor="2.5")) == 5
    assert starts_after(annotated(start_delay_factor="3", start_delay="500ms")) == 1.5
    assert starts_after(annotated(start_delay_factor="0")) == 0


def test_a_resize_is_limited_by_node_capacity() -> None:
    def sized(cpu: str) -> dict[str, Any]:
        return a_pod(uid=UID, containers=[a_container(resources={"requests": {"cpu": cpu}})])

    runtime = a_runtime(capacity={"cpu": "4"})
    (first,) = runtime.create(accepted(sized("1")), now=NOW).transitions
    changed = runtime.update(accepted(sized("5")), before=parse_manifest(sized("1")), current=first, now=after(60))
    assert changed.transitions[0].status.conditions[0].type == "PodResizePending"


def test_problems_are_returned_with_every_timeline() -> None:
    pod = annotated(run_for="5s", exit_code="x")
    runtime = a_runtime()
    problems = (f"{DOMAIN}/exit-code: must be a number from 0 to 255",)
    first = runtime.create(accepted(pod), now=NOW)
    changed = runtime.update(
        accepted(pod), before=parse_manifest(pod), current=first.transitions[-1], now=after(4000)
    )
    advanced = runtime.advance(accepted(pod), current=first.transitions[-1], now=after(4000))
    assert advanced
    assert first.problems == changed.problems == advanced.problems == problems


def test_a_pod_that_cannot_be_is_refused() -> None:
    pod = a_pod(containers=[a_container(resources={"limits": {"cpu": "lots"}})])
    with pytest.raises(InvalidRequest):
        a_runtime().create(accepted(pod), now=NOW)


def test_a_deletion_returns_the_complete_timeline() -> None:
    pod = annotated(stop_after="10s")
    runtime = a_runtime()
    (first,) = runtime.create(accepted(pod), now=NOW).transitions
    deleted = accepted(pod, deletion_requested_at=after(60))
    ended = runtime.delete(deleted, current=first, grace=timedelta(seconds=30), now=after(60))
    assert [(at, status.phase) for at, status in ended.transitions] == [(after(70), "Succeeded")]
    assert ended.continues_at is None
    assert runtime.advance(deleted, current=ended.transitions[-1], now=after(100)) is None


@pytest.mark.parametrize(("continues_at", "restarts"), [(after(10), 1), (after(90), 0), (None, 0)])
def test_a_deletion_computes_missed_statuses_first(continues_at: datetime | None, restarts: int) -> None:
    pod = annotated(run_for="20s")
    runtime = a_runtime()
    first = runtime.create(accepted(pod), now=NOW).transitions[0]
    deleted = accepted(pod, deletion_requested_at=after(30), continues_at=continues_at)
    ended = runtime.delete(deleted, current=first, grace=timedelta(seconds=30), now=after(30))
    (status,) = ended.transitions[-1].status.container_statuses
    assert status.restart_count == restarts


def test_a_log_is_lines_with_timestamps() -> None:
    pod = annotated(logs="grüezi\nwelt")
    runtime = a_runtime()
    status = runtime.create(accepted(pod), now=NOW).transitions[-1].status
    log = runtime.logs(accepted(pod), "web", previous=False, status=lambda: status)
    assert [next(log) for _ in range(3)] == [
        LogLine(after(0), "grüezi".encode()),
        LogLine(after(0), b"welt"),
        None,
    ]
    assert container(status).ready
