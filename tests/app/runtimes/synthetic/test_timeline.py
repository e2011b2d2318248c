"""Timelines: the first statuses, and the continuation from the current status."""

import json
import os
import subprocess
import sys
from datetime import datetime, timedelta
from typing import Any

import pytest

from app.core.errors import InvalidRequest
from app.kubernetes.status import PodStatus, Transition, encode_status
from app.runtimes.synthetic.annotations import DOMAIN
from app.runtimes.synthetic.timeline import MAX_MISSED, MAX_UPCOMING, advance, create, update
from tests.app.runtimes.synthetic.invariants import check
from tests.app.simulation import (
    NOW,
    PODS,
    SECRET,
    UID,
    a_pod_with_a_sidecar,
    after,
    container,
    decoded,
    parse_manifest,
    parse_pod,
    reason_of,
    simulated_pod,
    status_at,
    transitions_of,
    transitions_on_update,
    transitions_until,
)
from tests.pods import a_container, a_pod
from tests.server import ROOT

DELAY = 2
STARTS_AT = NOW + timedelta(seconds=DELAY)

every_pod = pytest.mark.parametrize("pod", PODS.values(), ids=PODS.keys())


def crashing(run_for: str = "5s", **spec: Any) -> dict[str, Any]:
    annotations = {f"{DOMAIN}/run-for": run_for, f"{DOMAIN}/exit-code": "1"}
    return a_pod(uid=UID, metadata={"annotations": annotations}, **spec)


# Creation


def test_a_pod_without_start_delay_runs_at_once() -> None:
    assert [(at, status.phase) for at, status in transitions_of(a_pod())] == [(NOW, "Running")]


def test_a_start_delay_separates_sandbox_and_containers() -> None:
    timeline = transitions_of(a_pod(), start_delay=DELAY)
    assert [(at, status.phase, status.conditions[0].status, status.pod_ip) for at, status in timeline] == [
        (NOW, "Pending", "False", None),
        (NOW + timedelta(seconds=1), "Pending", "True", "198.18.0.7"),
        (STARTS_AT, "Running", "True", "198.18.0.7"),
    ]


def test_a_pod_runs_exactly_when_its_delay_ends() -> None:
    timeline = transitions_of(a_pod(), start_delay=DELAY)
    assert status_at(timeline, STARTS_AT - timedelta(microseconds=1)).phase == "Pending"
    assert status_at(timeline, STARTS_AT).phase == "Running"
    assert status_at(timeline, STARTS_AT + timedelta(days=10_000)).phase == "Running"


def test_a_waiting_pod_is_summarized_by_its_reason() -> None:
    assert reason_of(transitions_of(a_pod(), start_delay=DELAY)[0].status) == "ContainerCreating"
    assert reason_of(transitions_of(a_pod_with_a_sidecar(), start_delay=DELAY)[0].status) == "PodInitializing"


def test_init_containers_run_in_order_past_sidecars() -> None:
    pod = a_pod(
        initContainers=[a_container("one"), a_container("proxy", restartPolicy="Always"), a_container("two")]
    )
    timeline = transitions_of(pod, init_duration=3)
    check(parse_pod(pod), timeline)

    def states(status: PodStatus) -> list[str]:
        return [next(iter(decoded(entry.state))) for entry in status.all_containers]

    assert [(at, status.phase, states(status)) for at, status in timeline] == [
        (NOW, "Pending", ["running", "waiting", "waiting", "waiting"]),
        (after(3), "Pending", ["terminated", "running", "running", "waiting"]),
        (after(6), "Running", ["terminated", "running", "terminated", "running"]),
    ]
    waiting = container(timeline[1].status).state.waiting
    assert waiting
    assert waiting.reason == "PodInitializing"


def test_init_containers_without_run_time_finish_at_once() -> None:
    ((_, status),) = transitions_of(
        a_pod(initContainers=[a_container("one"), a_container("two")]), init_duration=0
    )
    assert status.phase == "Running"
    assert [entry.ready for entry in status.init_container_statuses] == [True, True]


def test_an_ephemeral_container_runs_and_counts_for_nothing() -> None:
    status = transitions_of(a_pod(ephemeralContainers=[a_container("debug")]))[-1].status
    debug = decoded(status)["ephemeralContainerStatuses"][0]
    assert debug["state"].keys() == {"running"}
    assert debug["ready"] is False
    assert "started" not in debug


def test_a_pod_with_invalid_quantities_has_no_timeline() -> None:
    pod = a_pod(containers=[a_container(resources={"limits": {"cpu": SECRET}})])
    with pytest.raises(InvalidRequest) as refusal:
        transitions_of(pod)
    assert refusal.value.field == "spec.containers[0].resources.limits.cpu"
    assert SECRET not in str(refusal.value)


# Determinism: in any process, at any time


@every_pod
@pytest.mark.parametrize("start_delay", [0, DELAY])
def test_a_timeline_is_deterministic(pod: dict[str, Any], start_delay: float) -> None:
    assert transitions_of(pod, start_delay=start_delay) == transitions_of(pod, start_delay=start_delay)


IN_ANOTHER_PROCESS = """
import sys
from datetime import datetime, timedelta
from app.runtimes.base import Placement
from app.runtimes.synthetic.timeline import create
from app.runtimes.synthetic.pod import Defaults, simulate
from app.kubernetes.manifest import Manifest
from app.kubernetes.status import encode_status

manifest = Manifest.parse(sys.stdin.buffer.read())
now = datetime.fromisoformat(sys.argv[1])
placement = Placement(host_ips=("10.0.0.5",), pod_ip="198.18.0.7")
defaults = Defaults(start_delay=timedelta(seconds=2))
course = create(simulate(manifest.pod, placement=placement, accepted_at=now, defaults=defaults), now=now)
print(manifest.digest, *(encode_status(status) for _, status in course.transitions), sep="\\n")
"""


@pytest.mark.parametrize("seed", ["1", "2"])
def test_a_timeline_is_the_same_in_every_process(seed: str) -> None:
    pod = a_pod_with_a_sidecar(annotations={f"{DOMAIN}/jitter": "10s"})
    printed = subprocess.run(
        [sys.executable, "-c", IN_ANOTHER_PROCESS, NOW.isoformat()],
        env={"PATH": os.environ["PATH"], "PYTHONHASHSEED": seed},
        cwd=ROOT,
        input=json.dumps(pod).encode(),
        capture_output=True,
        check=True,
    ).stdout.decode()
    here = transitions_of(pod, start_delay=DELAY)
    assert printed.splitlines() == [parse_manifest(pod).digest, *(encode_status(status) for _, status in here)]


# Timelines without an end


def test_an_endless_timeline_is_computed_in_parts() -> None:
    timeline = create(simulated_pod(crashing()), now=NOW)
    assert len(timeline.transitions) == MAX_UPCOMING
    assert timeline.continues_at
    assert timeline.continues_at > timeline.transitions[-1].effective_at


def test_a_finished_timeline_does_not_continue() -> None:
    pod = crashing(restartPolicy="Never")
    timeline = create(simulated_pod(pod), now=NOW)
    assert timeline.continues_at is None
    assert advance(simulated_pod(pod), current=timeline.transitions[-1], now=after(10**6)) is None


def test_advancing_in_steps_equals_advancing_at_once() -> None:
    pod = crashing()
    often = transitions_until(pod, until=after(3600 * 5))
    first = create(simulated_pod(pod), now=NOW)
    current = first.transitions[-1]
    late = advance(simulated_pod(pod), current=current, now=current.effective_at + timedelta(minutes=50))
    assert late
    assert late.transitions == often[MAX_UPCOMING : MAX_UPCOMING + len(late.transitions)]


@pytest.mark.parametrize("run_for", ["1s", "5s", "90s", "600s", "601s", "3h"])
@pytest.mark.parametrize("away", [timedelta(days=3), timedelta(days=3, seconds=77)], ids=str)
def test_a_late_advance_counts_every_restart(run_for: str, away: timedelta) -> None:
    pod = crashing(run_for)
    now = NOW + away
    often = transitions_until(pod, until=now)
    first = create(simulated_pod(pod), now=NOW)
    late = advance(simulated_pod(pod), current=first.transitions[-1], now=now)
    assert late
    assert len(late.transitions) <= MAX_MISSED + MAX_UPCOMING
    assert late.continues_at
    assert late.continues_at > now
    found = status_at(late.transitions, now)
    assert without_pod_times(found) == without_pod_times(status_at(often, now))
    check(parse_pod(pod), late.transitions)


def without_pod_times(status: PodStatus) -> Any:
    seen = decoded(status)
    for condition in seen["conditions"]:
        del condition["lastTransitionTime"]
    return seen


def test_restarts_of_two_containers_are_counted_over_years() -> None:
    annotations = {f"run-for.{DOMAIN}/{name}": run for name, run in (("web", "7s"), ("log", "45s"))}
    pod = a_pod(
        uid=UID, containers=[a_container("web"), a_container("log")], metadata={"annotations": annotations}
    )
    now = after(3 * 365 * 86_400)
    first = create(simulated_pod(pod), now=NOW)
    late = advance(simulated_pod(pod), current=first.transitions[-1], now=now)
    assert late
    status = status_at(late.transitions, now)
    for name, run in (("web", 7), ("log", 45)):
        assert container(status, name).restart_count == pytest.approx(3 * 365 * 86_400 / (run + 300), abs=10)
    check(parse_pod(pod), late.transitions)


def test_years_of_failed_pulls_cost_no_more_time() -> None:
    pod = a_pod(uid=UID, metadata={"annotations": {f"{DOMAIN}/fail": "ImagePullBackOff"}})
    first = create(simulated_pod(pod), now=NOW)
    late = advance(simulated_pod(pod), current=first.transitions[-1], now=after(10 * 365 * 86_400))
    assert late
    assert len(late.transitions) <= MAX_MISSED + MAX_UPCOMING
    check(parse_pod(pod), late.transitions)


# Updates


def test_a_new_generation_changes_only_observed_generation() -> None:
    pod = a_pod_with_a_sidecar()
    before = transitions_of(pod, start_delay=DELAY)
    for now in (NOW + timedelta(seconds=1), STARTS_AT, STARTS_AT + timedelta(days=1)):
        timeline = transitions_on_update(a_pod_with_a_sidecar(generation=4), pod, before, now, start_delay=DELAY)
        for at, status in timeline:
            assert without_generation(status) == without_generation(status_at(before, at))
            assert status.observed_generation == 4
            assert {condition.observed_generation for condition in status.conditions} == {4}


def without_generation(status: PodStatus) -> Any:
    seen = decoded(status)
    for observer in (seen, *seen["conditions"]):
        del observer["observedGeneration"]
    return seen


def test_a_new_image_restarts_only_its_container() -> None:
    pod = a_pod(uid=UID, containers=[a_container("web"), a_container("log")], restartPolicy="Never")
    new = a_pod(uid=UID, containers=[a_container("web", image="nginx:1.28"), a_container("log")])
    before = transitions_of(pod)
    ((at, status),) = transitions_on_update(new, pod, before, after(3600))
    web = decoded(container(status))
    assert (at, web["image"], web["restartCount"], web["ready"]) == (after(3600), "nginx:1.28", 1, True)
    assert web["state"] == {"running": {"startedAt": "2026-11-22T09:46:38Z"}}
    ended = web["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"], ended["finishedAt"]) == (0, "Completed", "2026-11-22T09:46:38Z")
    assert container(status, "log") == container(before[0].status, "log")


def test_a_new_image_ends_the_back_off() -> None:
    pod = crashing()
    before = transitions_of(pod)
    waiting = next(t for t in before if reason_of(t.status) == "CrashLoopBackOff")
    new = crashing(containers=[a_container(image="nginx:1.28")])
    timeline = transitions_on_update(new, pod, before, waiting.effective_at + timedelta(seconds=3))
    assert container(timeline[0].status).state.running
    assert container(timeline[0].status).restart_count == container(waiting.status).restart_count + 1


def test_an_added_container_starts_with_the_update() -> None:
    pod = a_pod(uid=UID)
    before = transitions_of(pod)
    new = a_pod(
        uid=UID, containers=[a_container("web"), a_container("log")], ephemeralContainers=[a_container("x")]
    )
    ((_, status),) = transitions_on_update(new, pod, before, after(3600))
    assert container(status) == container(before[0].status)
    for name in ("log", "x"):
        assert decoded(container(status, name).state) == {"running": {"startedAt": "2026-11-22T09:46:38Z"}}
    assert status.conditions == before[0].status.conditions


def test_an_init_container_added_later_counts_as_done() -> None:
    pod = a_pod(uid=UID)
    new = a_pod(uid=UID, initContainers=[a_container("late")])
    ((_, status),) = transitions_on_update(new, pod, transitions_of(pod), after(3600))
    assert (status.phase, container(status, "late").ready) == ("Running", True)


def test_a_container_that_is_gone_has_no_entry() -> None:
    pod = a_pod_with_a_sidecar()
    before = transitions_of(pod)
    new = a_pod_with_a_sidecar()
    del new["spec"]["containers"][1], new["spec"]["initContainers"]
    ((_, status),) = transitions_on_update(new, pod, before, after(3600))
    assert [entry.name for entry in status.container_statuses] == ["web"]
    assert status.init_container_statuses == ()
    assert container(status) == container(before[-1].status)


def test_a_shorter_start_delay_starts_the_pod_sooner() -> None:
    pod = a_pod(uid=UID, metadata={"annotations": {f"{DOMAIN}/start-delay": "1h"}})
    ((at, status),) = transitions_on_update(a_pod(uid=UID), pod, transitions_of(pod), after(10))
    assert (at, status.phase) == (after(10), "Running")
    assert decoded(container(status).state) == {"running": {"startedAt": "2026-11-22T08:46:48Z"}}
    assert status.start_time == "2026-11-22T08:46:38Z"


def test_a_running_pod_ignores_a_longer_start_delay() -> None:
    pod, before = a_pod(uid=UID), transitions_of(a_pod(uid=UID))
    new = a_pod(uid=UID, metadata={"annotations": {f"{DOMAIN}/start-delay": "1h"}})
    for now in (NOW + timedelta(seconds=0.5), after(10)):
        assert {status for _, status in transitions_on_update(new, pod, before, now)} == {before[0].status}


@pytest.mark.parametrize(
    ("before", "then", "expected"),
    [
        pytest.param({}, {"run-for": "1m"}, [(30, "Running"), (60, "Succeeded")], id="ends when it would have"),
        pytest.param({}, {"run-for": "10s"}, [(30, "Succeeded")], id="ends at once when that is over"),
        pytest.param({"run-for": "1m"}, {}, [(30, "Running")], id="goes on"),
        pytest.param({}, {"fail": "Evicted"}, [(30, "Failed")], id="is evicted"),
        pytest.param({}, {"fail": "ErrImagePull"}, [(30, "Running")], id="has its image"),
        pytest.param({"fail": "ErrImagePull"}, {}, [(30, "Running")], id="gets its image"),
    ],
)
def test_changed_annotations_apply_to_the_current_run(
    before: dict[str, str], then: dict[str, str], expected: list[tuple[int, str]]
) -> None:
    def pod(overrides: dict[str, str]) -> dict[str, Any]:
        annotations = {f"{DOMAIN}/{key}": value for key, value in overrides.items()}
        return a_pod(uid=UID, metadata={"annotations": annotations}, restartPolicy="Never")

    timeline = transitions_on_update(pod(then), pod(before), transitions_of(pod(before)), after(30))
    check(parse_pod(pod(then)), timeline)
    assert [(at, status.phase) for at, status in timeline] == [(after(at), phase) for at, phase in expected]


def test_no_update_restarts_a_finished_pod() -> None:
    pod = crashing(restartPolicy="Never")
    before = transitions_of(pod)
    new = a_pod(uid=UID, containers=[a_container(image="nginx:1.28")])
    timeline = transitions_on_update(new, pod, before, after(3600))
    assert [status for _, status in timeline] == [before[-1].status]


def test_a_late_update_starts_from_the_current_status() -> None:
    pod = crashing()
    first = create(simulated_pod(pod), now=NOW)
    now: datetime = NOW + timedelta(days=2)
    often = transitions_until(pod, until=now)
    labelled = {**pod, "metadata": {**pod["metadata"], "labels": {"app": "another"}}}
    timeline = update(simulated_pod(labelled), before=simulated_pod(pod), current=first.transitions[-1], now=now)
    assert timeline.transitions[0].effective_at == now
    assert without_pod_times(timeline.transitions[0].status) == without_pod_times(status_at(often, now))


def test_every_timeline_in_parts_has_no_duplicate() -> None:
    transitions: list[Transition] = transitions_until(crashing(), until=after(86_400))
    check(parse_pod(crashing()), transitions)
