"""The order in which the containers of a stopped pod end, and what is left of the grace period for each."""

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.kubernetes.status import PodStatus, Transition
from app.runtimes.synthetic.timeline import create, delete
from tests.app.runtimes.synthetic.invariants import check
from tests.app.simulation import (
    NOW,
    UID,
    after,
    annotated,
    bounded,
    container,
    parse_pod,
    simulated_pod,
    transitions_of,
)
from tests.pods import a_container, a_pod

JOB = {"ownerReferences": [{"kind": "Job", "name": "sum", "controller": True}]}


def with_sidecars(*names: str, **spec: Any) -> dict[str, Any]:
    init = [a_container(name, restartPolicy="Always") for name in names]
    return a_pod(uid=UID, containers=[a_container("main")], initContainers=init, restartPolicy="Never", **spec)


def deleted(pod: dict[str, Any], *, grace: int = 30) -> list[Transition]:
    simulated = simulated_pod(pod)
    current = create(simulated, now=NOW).transitions[0]
    timeline = delete(simulated, current=current, grace=timedelta(seconds=grace), now=after(2)).transitions
    check(parse_pod(pod), [current, *timeline])
    return timeline


def end_of(status: PodStatus, name: str) -> tuple[datetime, int]:
    ended = container(status, name).state.terminated
    assert ended
    assert ended.finished_at
    return datetime.fromisoformat(ended.finished_at), ended.exit_code


def ends(timeline: list[Transition], *names: str) -> list[tuple[float, int]]:
    """Return when each container ended, in seconds after the pod's start, and its exit code."""
    found = [end_of(timeline[-1].status, name) for name in names]
    return [((at - after(0)).total_seconds(), code) for at, code in found]


def test_sidecars_end_in_reverse_order_after_completion() -> None:
    pod = annotated(
        with_sidecars("proxy", "logger", metadata=JOB), stop_after__proxy="4s", stop_after__logger="4s"
    )
    timeline = transitions_of(pod)
    check(parse_pod(pod), timeline)
    assert ends(timeline, "main", "logger", "proxy") == [(5, 0), (9, 0), (13, 0)]
    assert [(at, status.phase) for at, status in timeline] == [
        (NOW, "Running"), (after(5), "Running"), (after(9), "Running"), (after(13), "Succeeded"),
    ]  # fmt: skip


def test_sidecars_end_in_reverse_order_after_deletion() -> None:
    pod = with_sidecars("proxy", "logger")
    timeline = deleted(annotated(pod, stop_after__main="1s", stop_after__proxy="4s", stop_after__logger="4s"))
    assert ends(timeline, "main", "logger", "proxy") == [(3, 0), (7, 0), (11, 0)]


def test_sidecars_share_the_grace_period_of_the_pod() -> None:
    pod = annotated(with_sidecars("proxy", "logger"), stop_after__proxy="4s", stop_after__logger="4s")
    assert ends(deleted(pod, grace=5), "main", "logger", "proxy") == [(2, 0), (6, 0), (8, 137)]
    pod = annotated(with_sidecars("proxy", "logger"), stop_after="9s", stop_after__proxy="1s")
    assert ends(deleted(pod, grace=5), "main", "logger", "proxy") == [(7, 137), (7, 0), (8, 0)]


def test_a_killed_sidecar_holds_up_no_other() -> None:
    pod = annotated(
        with_sidecars("a", "b", "c", metadata=JOB, terminationGracePeriodSeconds=6), stop_after__c="1m"
    )
    assert ends(transitions_of(pod), "c", "b", "a") == [(11, 137), (11, 0), (11, 0)]


def test_an_ephemeral_container_is_stopped_with_the_pod() -> None:
    pod = with_sidecars("proxy", metadata=JOB, ephemeralContainers=[a_container("debug")])
    timeline = transitions_of(annotated(pod, stop_after__proxy="1s", stop_after__debug="3s"))
    assert ends(timeline, "proxy", "debug") == [(6, 0), (8, 0)]
    assert [status.phase for _, status in timeline] == ["Running", "Running", "Running", "Succeeded"]


def pre_stop(seconds: int) -> dict[str, Any]:
    return {"preStop": {"sleep": {"seconds": seconds}}}


@pytest.mark.parametrize(
    ("hook", "stop_after", "grace", "end"),
    [
        (5, "0s", 30, (7, 0)),
        (5, "3s", 30, (10, 0)),
        (60, "1s", 10, (13, 0)),
        (60, "5s", 10, (14, 137)),
        (9, "3s", 10, (13, 137)),
        (60, "0s", 0, (2, 0)),
    ],
)
def test_a_pre_stop_hook_counts_within_the_grace(hook: int, stop_after: str, grace: int, end: Any) -> None:
    pod = a_pod(uid=UID, containers=[a_container("main", lifecycle=pre_stop(hook))])
    assert ends(deleted(annotated(pod, stop_after=stop_after), grace=grace), "main") == [end]


def test_a_sidecar_runs_its_hook_while_it_waits() -> None:
    pod = with_sidecars("proxy")
    pod["spec"]["initContainers"][0]["lifecycle"] = pre_stop(8)
    assert ends(deleted(annotated(pod, stop_after="5s")), "main", "proxy") == [(7, 0), (10, 0)]
    assert ends(deleted(annotated(pod, stop_after="10s")), "main", "proxy") == [(12, 0), (12, 0)]


def test_work_done_before_sigterm_keeps_its_exit_code() -> None:
    pod = a_pod(uid=UID, containers=[a_container("main", lifecycle=pre_stop(9))], restartPolicy="Never")
    assert ends(deleted(annotated(pod, run_for="5s", exit_code="3")), "main") == [(5, 3)]
    assert ends(deleted(annotated(pod, run_for="5m", exit_code="3")), "main") == [(11, 143)]


seconds = st.integers(0, 12)


@bounded
@given(st.lists(st.tuples(seconds, seconds), min_size=1, max_size=4), seconds, seconds)
def test_every_sidecar_ends_before_the_one_before_it(
    sidecars: list[tuple[int, int]], main: int, grace: int
) -> None:
    names = [f"s{index}" for index in range(len(sidecars))]
    pod = with_sidecars(*names)
    for spec, (hook, _) in zip(pod["spec"]["initContainers"], sidecars, strict=True):
        spec["lifecycle"] = pre_stop(hook)
    stop_after = {f"stop_after__{name}": f"{stop}s" for name, (_, stop) in zip(names, sidecars, strict=True)}
    timeline = deleted(annotated(pod, stop_after=f"{main}s", **stop_after), grace=grace)
    times = [time for time, _ in ends(timeline, *names)]
    deadline = 2 + grace
    assert all(before >= min(later, deadline) for before, later in pairwise(times))
    assert max(times) <= deadline + 2, "the grace period is exceeded by the shortest window only"
