import json
import os
import subprocess
import sys
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidRequest
from app.lifecycle.course import Placement
from app.lifecycle.status import PodStatus, Transition, encode
from app.lifecycle.times import rfc3339
from tests.lifecycle import NOW, PODS, SECRET, UID, a_pod_with_a_sidecar, live, sent, status_at, unhurried, wire
from tests.pods import a_container, a_pod
from tests.server import ROOT

DELAY = 2
STARTS_AT = NOW + timedelta(seconds=DELAY)
ARRIVED = "2026-11-22T08:46:38Z"

every_pod = pytest.mark.parametrize("pod", PODS.values(), ids=PODS.keys())
some_pod = st.sampled_from(list(PODS.values()))


def placed(pod: dict[str, Any]) -> Placement:
    return Placement(host_ips=("10.0.0.5",), pod_ip=None if pod["spec"].get("hostNetwork") else "198.18.0.7")


def relabelled(pod: dict[str, Any]) -> dict[str, Any]:
    return {**pod, "metadata": {**pod["metadata"], "labels": {"app": "another"}}}


def condition_times(status: PodStatus) -> dict[str, tuple[str, str]]:
    return {c.type: (c.status, c.last_transition_time) for c in status.conditions}


# When


@every_pod
def test_without_a_start_delay_a_pod_runs_from_its_arrival(pod: dict[str, Any]) -> None:
    ((effective_at, status),) = live(pod)
    assert (effective_at, status.phase) == (NOW, "Running")


@every_pod
def test_with_a_start_delay_a_pod_is_pending_until_then(pod: dict[str, Any]) -> None:
    course = live(pod, start_delay=DELAY)
    assert [(at, status.phase) for at, status in course] == [(NOW, "Pending"), (STARTS_AT, "Running")]


def test_a_pod_runs_in_the_microsecond_in_which_its_delay_is_over_and_not_before() -> None:
    course = live(a_pod(), start_delay=DELAY)
    assert status_at(course, STARTS_AT - timedelta(microseconds=1)).phase == "Pending"
    assert status_at(course, STARTS_AT).phase == "Running"
    assert status_at(course, STARTS_AT + timedelta(days=10_000)).phase == "Running"


def test_a_pod_that_only_waits_says_for_what() -> None:
    assert live(a_pod(), start_delay=DELAY)[0].status.summary == "ContainerCreating"
    assert live(a_pod_with_a_sidecar(), start_delay=DELAY)[0].status.summary == "PodInitializing"


# Again: whoever computes it, whenever


@every_pod
@pytest.mark.parametrize("start_delay", [0, DELAY])
def test_a_course_is_the_same_whoever_computes_it(pod: dict[str, Any], start_delay: float) -> None:
    assert live(pod, start_delay=start_delay) == live(pod, start_delay=start_delay)


IN_ANOTHER_PROCESS = """
import sys
from datetime import datetime, timedelta
from app.lifecycle.course import Placement, course
from app.lifecycle.manifest import Manifest
from app.lifecycle.status import encode

manifest = Manifest.parse(sys.stdin.buffer.read())
now = datetime.fromisoformat(sys.argv[1])
placement = Placement(host_ips=("10.0.0.5",), pod_ip="198.18.0.7")
life = course(manifest.pod, placement=placement, start_delay=timedelta(seconds=2), accepted_at=now, now=now)
print(manifest.digest, *(encode(status) for _, status in life), sep="\\n")
"""


@pytest.mark.parametrize("seed", ["1", "2"])
def test_a_course_is_the_same_in_every_process(seed: str) -> None:
    printed = subprocess.run(
        [sys.executable, "-c", IN_ANOTHER_PROCESS, NOW.isoformat()],
        env={"PATH": os.environ["PATH"], "PYTHONHASHSEED": seed},
        cwd=ROOT,
        input=json.dumps(a_pod_with_a_sidecar()).encode(),
        capture_output=True,
        check=True,
    ).stdout.decode()
    here = live(a_pod_with_a_sidecar(), start_delay=DELAY)
    assert printed.splitlines() == [sent(a_pod_with_a_sidecar()).digest, *(encode(status) for _, status in here)]


def continued(pod: dict[str, Any], course: list[Transition], now: datetime, **life: Any) -> list[Transition]:
    """The course from `now` on of a pod that had another until then."""
    before = [transition for transition in course if transition.effective_at <= now]
    return before + live(pod, now=now, current=status_at(course, now), **life)


@unhurried
@given(some_pod, st.sampled_from([0, 0.7, 2, 3600]), st.lists(st.integers(1, 3 * 10**6), max_size=4))
def test_an_update_of_a_label_alone_changes_no_status_at_any_time(
    pod: dict[str, Any], start_delay: float, pauses: list[int]
) -> None:
    arrival = course = live(pod, placement=placed(pod), start_delay=start_delay)
    now = NOW
    for pause in pauses:
        now += timedelta(microseconds=pause)
        course = continued(relabelled(pod), course, now, placement=placed(pod), start_delay=start_delay)
    for time in [NOW, now, *(effective_at for effective_at, _ in (*arrival, *course))]:
        assert encode(status_at(course, time)) == encode(status_at(arrival, time))


@unhurried
@given(some_pod, st.sampled_from([0, 0.7, 2]), st.lists(st.integers(1, 3 * 10**6), max_size=4), st.data())
def test_a_time_moves_only_with_what_it_describes(
    pod: dict[str, Any], start_delay: float, pauses: list[int], data: st.DataObject
) -> None:
    course = live(pod, placement=placed(pod), start_delay=start_delay)
    now = NOW
    for pause in pauses:
        now += timedelta(microseconds=pause)
        pod = data.draw(some_pod)
        course = continued(pod, course, now, placement=placed(pod), start_delay=start_delay)
    for (_, before), (effective_at, after) in pairwise(course):
        assert after.start_time == before.start_time == ARRIVED
        then, since = condition_times(before), condition_times(after)
        for type_, (state, time) in since.items():
            assert time == (then[type_][1] if then[type_][0] == state else rfc3339(effective_at))
        for entry in (*after.container_statuses, *after.init_container_statuses):
            same = before.container(entry.name)
            if same and not same.state.waiting:
                assert entry.state == same.state


@unhurried
@given(some_pod, st.sampled_from([0, 0.7, 2]), st.integers(0, 3 * 10**6))
def test_times_increase_and_the_first_is_now(pod: dict[str, Any], start_delay: float, after: int) -> None:
    arrival = live(pod, start_delay=start_delay)
    now = NOW + timedelta(microseconds=after)
    course = live(pod, start_delay=start_delay, now=now, current=status_at(arrival, now))
    times = [effective_at for effective_at, _ in course]
    assert times[0] == now
    assert all(earlier < later for earlier, later in pairwise(times))


# Updates


def without_generation(status: PodStatus) -> Any:
    seen = wire(status)
    for observer in (seen, *seen["conditions"]):
        del observer["observedGeneration"]
    return seen


@pytest.mark.parametrize("now", [NOW + timedelta(seconds=1), STARTS_AT, STARTS_AT + timedelta(days=1)])
def test_a_new_generation_moves_what_is_observed_and_nothing_else(now: datetime) -> None:
    before = live(a_pod_with_a_sidecar(), start_delay=DELAY)
    after = live(a_pod_with_a_sidecar(generation=4), start_delay=DELAY, now=now, current=status_at(before, now))
    for at, status in after:
        assert without_generation(status) == without_generation(status_at(before, at))
        assert status.observed_generation == 4
        assert {condition.observed_generation for condition in status.conditions} == {4}


def test_a_new_image_changes_the_image_alone() -> None:
    before = live(a_pod_with_a_sidecar())[0].status
    pod = a_pod_with_a_sidecar()
    pod["spec"]["containers"][0]["image"] = "nginx:1.28"
    ((_, after),) = live(pod, now=NOW + timedelta(hours=1), current=before)
    expected = wire(before)
    web = next(entry for entry in expected["containerStatuses"] if entry["name"] == "web")
    assert web["imageID"] != wire(after)["containerStatuses"][1]["imageID"]
    web |= {"image": "nginx:1.28", "imageID": wire(after)["containerStatuses"][1]["imageID"]}
    assert wire(after) == expected


def test_a_container_that_is_added_starts_with_the_update_and_moves_no_other() -> None:
    before = live(a_pod(uid=UID))[0].status
    pod = a_pod(uid=UID, containers=[a_container("web"), a_container("log")])
    now = NOW + timedelta(hours=1)
    ((_, after),) = live(pod, now=now, current=before)
    assert after.container("web") == before.container("web")
    log = wire(after)["containerStatuses"][0]
    assert (log["name"], log["state"]) == ("log", {"running": {"startedAt": rfc3339(now)}})
    assert condition_times(after) == condition_times(before)


def test_a_container_that_is_gone_has_no_entry() -> None:
    before = live(a_pod_with_a_sidecar())[0].status
    pod = a_pod_with_a_sidecar()
    del pod["spec"]["containers"][1], pod["spec"]["initContainers"]
    ((_, after),) = live(pod, now=NOW + timedelta(hours=1), current=before)
    assert [entry.name for entry in after.container_statuses] == ["web"]
    assert after.init_container_statuses == ()
    assert after.container("web") == before.container("web")


def test_resources_that_change_change_the_class_alone() -> None:
    before = live(a_pod_with_a_sidecar())[0].status
    pod = a_pod_with_a_sidecar()
    del pod["spec"]["containers"][0]["resources"]
    ((_, after),) = live(pod, now=NOW + timedelta(hours=1), current=before)
    assert wire(after) == {**wire(before), "qosClass": "BestEffort"}


def test_a_pod_that_is_pending_still_starts_when_it_would_have() -> None:
    before = live(a_pod(uid=UID), start_delay=DELAY)
    now = NOW + timedelta(seconds=1)
    after = live(a_pod(uid=UID), start_delay=DELAY, now=now, current=before[0].status)
    assert [(at, status.phase) for at, status in after] == [(now, "Pending"), (STARTS_AT, "Running")]
    assert after[1] == before[1]


def test_a_pod_that_runs_does_not_wait_again_for_a_longer_start_delay() -> None:
    before = live(a_pod(uid=UID))[0].status
    now = NOW + timedelta(seconds=1)
    assert live(a_pod(uid=UID), start_delay=3600, now=now, current=before) == [(now, before)]


def test_a_pod_that_waits_starts_at_once_where_the_start_delay_is_shorter_now() -> None:
    before = live(a_pod(uid=UID), start_delay=3600)[0].status
    now = NOW + timedelta(seconds=10)
    ((effective_at, status),) = live(a_pod(uid=UID), start_delay=DELAY, now=now, current=before)
    assert (effective_at, status.phase) == (now, "Running")
    assert wire(status)["containerStatuses"][0]["state"] == {"running": {"startedAt": rfc3339(now)}}
    assert status.start_time == ARRIVED


def test_a_pod_whose_resources_are_no_quantities_has_no_course() -> None:
    pod = a_pod(containers=[a_container(resources={"limits": {"cpu": SECRET}})])
    with pytest.raises(InvalidRequest) as refusal:
        live(pod)
    assert refusal.value.field == "spec.containers[0].resources.limits.cpu"
    assert SECRET not in str(refusal.value)
