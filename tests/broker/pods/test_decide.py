"""What is done about a pod, for every thing that the provider may have under its name."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from broker.pods.actions import UNKNOWN, Action, Held, Pod, decide, seconds_left

NEW, OLD = b"new", b"old"


@pytest.mark.parametrize(
    ("desired", "held", "action"),
    [
        pytest.param(None, None, Action.NOTHING, id="nobody wants one, nobody has one"),
        pytest.param(None, Pod("a", NEW), Action.DELETE, id="gone from Kubernetes"),
        pytest.param(None, UNKNOWN, Action.DELETE, id="gone while a create was not answered"),
        pytest.param(Pod("a"), UNKNOWN, Action.ASK, id="nobody has asked yet"),
        pytest.param(Pod("a", NEW), UNKNOWN, Action.ASK, id="a create was not answered"),
        pytest.param(Pod("a"), None, Action.RESOLVE, id="new, and nothing made to be sent"),
        pytest.param(Pod("a", NEW), None, Action.CREATE, id="new"),
        pytest.param(Pod("a"), Pod("a", OLD), Action.RESOLVE, id="perhaps changed"),
        pytest.param(Pod("a", NEW), Pod("a", OLD), Action.UPDATE, id="changed"),
        pytest.param(Pod("a", NEW), Pod("a", NEW), Action.NOTHING, id="as it was acknowledged"),
        pytest.param(Pod("b"), Pod("a", OLD), Action.DELETE, id="another pod of the same name"),
        pytest.param(Pod("b", NEW), Pod("a", NEW), Action.DELETE, id="another pod that looks the same"),
    ],
)
def test_one_step_follows_from_what_is_wanted_and_what_is_there(
    desired: Pod | None, held: Held, action: Action
) -> None:
    assert decide(desired, held) is action


STARTED = datetime(2026, 11, 22, 8, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("spec", "status", "after", "left"),
    [
        pytest.param({}, {"startTime": "2026-11-22T08:00:00Z"}, 1000, None, id="no deadline"),
        pytest.param({"activeDeadlineSeconds": 60}, {}, 1000, None, id="not started"),
        pytest.param({"activeDeadlineSeconds": 60}, {"startTime": "2026-11-22T08:00:00Z"}, 20, 40, id="some left"),
        pytest.param({"activeDeadlineSeconds": 60}, {"startTime": "2026-11-22T08:00:00Z"}, 61, -1, id="over"),
    ],
)
def test_a_deadline_counts_from_the_start(
    spec: dict[str, Any], status: dict[str, Any], after: float, left: float | None
) -> None:
    assert seconds_left({"spec": spec, "status": status}, STARTED + timedelta(seconds=after)) == left
