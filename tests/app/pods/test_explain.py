"""Sentences that explain a pod, for any PodStatus."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.kubernetes.printer import PodOutline
from app.pods.explain import PodHistory, StatusInterval, explain, summary

NOW = datetime(2026, 11, 22, 8, 46, 38, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
POD = PodOutline.parse('{"metadata": {}, "spec": {"containers": [{"name": "a"}]}}')


def sentences_of(status: dict[str, Any], **more: Any) -> list[str]:
    """Explain a pod whose status has held for a minute."""
    known = PodHistory(
        [StatusInterval(NOW - MINUTE, None, status, POD)], more.get("deleted_at"), more.get("continues_at")
    )
    return list(explain(known, now=NOW))


ENDED = {"exitCode": 3, "finishedAt": "2026-11-22T08:46:00Z"}
STATUSES = {
    "nothing_but_a_phase": ({"phase": "Pending"}, ["It is Pending, since 2026-11-22T08:45:38Z (60s)."]),
    "a_message": (
        {"phase": "Failed", "reason": "Evicted", "message": "no memory"},
        ["It is Failed, Evicted, since 2026-11-22T08:45:38Z (60s).", "The pod says: no memory."],
    ),
    "an_end": (
        {"phase": "Failed", "containerStatuses": [{"name": "a", "state": {"terminated": ENDED}}]},
        [
            "It is Failed, ExitCode:3, 0/1 ready, since 2026-11-22T08:45:38Z (60s).",
            "Container a has ended at 2026-11-22T08:46:00Z with exit code 3.",
        ],
    ),
    "not_ready": (
        {
            "phase": "Running",
            "initContainerStatuses": [{"name": "i", "state": {"terminated": {**ENDED, "exitCode": 0}}}],
            "containerStatuses": [{"name": "a", "ready": False, "state": {"running": {}}, "restartCount": 2}],
            "conditions": [
                {"type": "PodScheduled", "status": "True"},
                {"type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": "unready: [a]",
                 "lastTransitionTime": "2026-11-22T08:45:38Z"},
            ],
        },
        [
            "It is Running, 0/1 ready, 2 restarts, since 2026-11-22T08:45:38Z (60s).",
            "Container i has ended at 2026-11-22T08:46:00Z with exit code 0.",
            "Container a runs and is not ready; it was restarted 2 times.",
            "Ready is False since 2026-11-22T08:45:38Z, ContainersNotReady: unready: [a].",
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("status", "sentences"), STATUSES.values(), ids=STATUSES)
def test_incomplete_status_is_explained_without_missing_fields(
    status: dict[str, Any], sentences: list[str]
) -> None:
    assert sentences_of(status) == [*sentences, "It stays so until it is changed or deleted."]


def test_a_course_that_goes_on_says_when() -> None:
    assert sentences_of({"phase": "Running"}, continues_at=NOW + MINUTE)[-1] == (
        "How it goes on is decided at 2026-11-22T08:47:38Z, or when somebody reads it after that."
    )


def test_many_steps_to_come_are_counted() -> None:
    intervals = [StatusInterval(NOW + step * MINUTE, None, {"phase": "Running"}, POD) for step in range(9)]
    found = list(explain(PodHistory(intervals, None, None), now=NOW))
    assert found[1] == "At 2026-11-22T08:47:38Z, in 60s, it becomes Running."
    assert found[-2] == "3 more changes follow, the last at 2026-11-22T08:54:38Z."


def test_a_deletion_that_was_to_come_is_told() -> None:
    assert (
        sentences_of({"phase": "Running"}, deleted_at=NOW + MINUTE)[-1]
        == "At 2026-11-22T08:47:38Z, in 60s, it is deleted."
    )


def test_pod_without_statuses_has_no_recorded_status() -> None:
    assert list(explain(PodHistory([], None, None), now=NOW)) == ["No status of this pod is recorded any more."]
    assert summary(StatusInterval(NOW, None, {}, POD)) == "Unknown"
