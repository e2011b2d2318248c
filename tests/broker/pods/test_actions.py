"""The action for a pod, for every state of the provider."""

from datetime import UTC, datetime
from typing import Any

import pytest

from broker.pods.actions import UNKNOWN, Action, PodVersion, ProviderPod, active_deadline, decide

NEW, OLD = b"new", b"old"


@pytest.mark.parametrize(
    ("desired", "actual", "action"),
    [
        pytest.param(None, None, Action.NOTHING, id="nobody wants one, nobody has one"),
        pytest.param(None, PodVersion("a", NEW), Action.DELETE, id="gone from Kubernetes"),
        pytest.param(None, UNKNOWN, Action.DELETE, id="gone while a create was not answered"),
        pytest.param(PodVersion("a"), UNKNOWN, Action.GET, id="nobody has asked yet"),
        pytest.param(PodVersion("a", NEW), UNKNOWN, Action.GET, id="a create was not answered"),
        pytest.param(PodVersion("a"), None, Action.BUILD_PAYLOAD, id="new, and nothing made to be sent"),
        pytest.param(PodVersion("a", NEW), None, Action.CREATE, id="new"),
        pytest.param(PodVersion("a"), PodVersion("a", OLD), Action.BUILD_PAYLOAD, id="perhaps changed"),
        pytest.param(PodVersion("a", NEW), PodVersion("a", OLD), Action.UPDATE, id="changed"),
        pytest.param(PodVersion("a", NEW), PodVersion("a", NEW), Action.NOTHING, id="as it was acknowledged"),
        pytest.param(PodVersion("b"), PodVersion("a", OLD), Action.DELETE, id="another pod of the same name"),
        pytest.param(
            PodVersion("b", NEW), PodVersion("a", NEW), Action.DELETE, id="another pod with equal content"
        ),
    ],
)
def test_the_action_for_desired_and_actual_version(
    desired: PodVersion | None, actual: ProviderPod, action: Action
) -> None:
    assert decide(desired, actual) is action


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
def test_the_deadline_is_relative_to_the_start_time(
    spec: dict[str, Any], status: dict[str, Any], after: float, left: float | None
) -> None:
    deadline = active_deadline({"spec": spec, "status": status})
    assert (deadline and (deadline - STARTED).total_seconds() - after) == left
