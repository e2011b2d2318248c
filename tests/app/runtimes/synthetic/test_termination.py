"""Termination of pods: completion, deletion, deadline, eviction, lost node."""

from datetime import timedelta
from typing import Any

import pytest

from app.kubernetes.status import PodStatus, Transition
from app.runtimes.synthetic.timeline import delete
from tests.app.runtimes.synthetic.invariants import check
from tests.app.simulation import (
    NOW,
    UID,
    after,
    annotated,
    container,
    decoded,
    parse_pod,
    reason_of,
    simulated_pod,
    transitions_of,
    transitions_until,
)
from tests.pods import a_container, a_pod

JOB = {"ownerReferences": [{"kind": "Job", "name": "sum", "controller": True}]}


def conditions(status: PodStatus) -> dict[str, tuple[str, str | None]]:
    return {condition.type: (condition.status, condition.reason) for condition in status.conditions}


def ended(status: PodStatus, name: str = "web") -> tuple[int, str]:
    state = container(status, name).state.terminated
    assert state
    return state.exit_code, state.reason


# Completion


@pytest.mark.parametrize("policy", ["Never", "OnFailure"])
def test_a_job_pod_completes_after_its_run_time(policy: str) -> None:
    pod = a_pod(metadata=JOB, restartPolicy=policy)
    timeline = transitions_of(pod, job_duration=7)
    check(parse_pod(pod), timeline)
    assert [(at, status.phase) for at, status in timeline] == [(NOW, "Running"), (after(7), "Succeeded")]
    last = timeline[-1].status
    assert ended(last) == (0, "Completed")
    assert conditions(last) == {
        "PodReadyToStartContainers": ("False", None),
        "Initialized": ("True", "PodCompleted"),
        "Ready": ("False", "PodCompleted"),
        "ContainersReady": ("False", "PodCompleted"),
        "PodScheduled": ("True", None),
    }
    assert last.pod_ip == "198.18.0.7"
    assert reason_of(last) == "Completed"


@pytest.mark.parametrize(
    ("policy", "owner", "lasts"),
    [("Always", {}, False), ("Never", {}, False), ("OnFailure", {}, False), ("Never", JOB, True)],
)
def test_only_job_pods_and_annotated_pods_complete(policy: str, owner: dict[str, Any], lasts: bool) -> None:
    phases = [status.phase for _, status in transitions_of(a_pod(metadata=owner, restartPolicy=policy))]
    assert phases == (["Running", "Succeeded"] if lasts else ["Running"])


@pytest.mark.parametrize(
    ("overrides", "phase", "summary"),
    [
        ({"run_for": "3s"}, "Succeeded", "Completed"),
        ({"run_for": "3s", "exit_code": "2"}, "Failed", "Error"),
        ({"exit_code": "2"}, "Failed", "Error"),
        ({"fail": "OOMKilled"}, "Failed", "OOMKilled"),
        ({"run_for__web": "3s", "exit_code__web": "0"}, "Succeeded", "Completed"),
    ],
)
def test_with_policy_never_exit_codes_set_the_phase(overrides: dict[str, str], phase: str, summary: str) -> None:
    status = transitions_of(annotated(a_pod(restartPolicy="Never"), **overrides))[-1].status
    assert (status.phase, reason_of(status)) == (phase, summary)


def test_a_pod_restarts_on_failure_until_it_succeeds() -> None:
    pod = a_pod(metadata=JOB, restartPolicy="OnFailure")
    assert transitions_of(annotated(pod, exit_code="1"))[-1].status.phase == "Running"
    assert transitions_of(annotated(pod, exit_code="0"))[-1].status.phase == "Succeeded"


def test_a_pod_fails_if_any_container_failed() -> None:
    pod = a_pod(containers=[a_container("a"), a_container("b")], restartPolicy="Never")
    timeline = transitions_of(annotated(pod, run_for__a="3s", exit_code__a="1", run_for__b="9s"))
    assert [(at, status.phase) for at, status in timeline] == [
        (NOW, "Running"), (after(3), "Running"), (after(9), "Failed"),
    ]  # fmt: skip


def test_sidecars_end_after_the_main_containers() -> None:
    pod = a_pod(
        uid=UID,
        metadata=JOB,
        initContainers=[a_container("proxy", restartPolicy="Always")],
        ephemeralContainers=[a_container("debug")],
        restartPolicy="Never",
    )
    timeline = transitions_of(annotated(pod, stop_after__proxy="1s"))
    check(parse_pod(pod), timeline)
    assert [(at, s.phase, bool(container(s, "proxy").state.running)) for at, s in timeline] == [
        (NOW, "Running", True), (after(5), "Running", True), (after(6), "Succeeded", False),
    ]  # fmt: skip
    assert ended(timeline[-1].status, "proxy") == ended(timeline[-1].status, "debug") == (0, "Completed")


def test_sidecars_end_before_a_failed_initialization_is_reported() -> None:
    init = [a_container("proxy", restartPolicy="Always"), a_container("fetch")]
    pod = a_pod(uid=UID, initContainers=init, restartPolicy="Never")
    timeline = transitions_of(annotated(pod, exit_code__fetch="1", stop_after__proxy="3s"))
    check(parse_pod(pod), timeline)
    assert [(at, s.phase) for at, s in timeline] == [(NOW, "Pending"), (after(1), "Pending"), (after(4), "Failed")]


# Deletion


def deleted(pod: dict[str, Any], *, at: float = 100, grace: float = 30, **circumstances: Any) -> list[Transition]:
    timeline = [t for t in transitions_until(pod, until=after(at), **circumstances) if t.effective_at < after(at)]
    termination = delete(
        simulated_pod(pod, **circumstances), current=timeline[-1], grace=timedelta(seconds=grace), now=after(at)
    )
    check(parse_pod(pod), [*timeline, *termination.transitions])
    assert termination.continues_at is None
    return termination.transitions


def test_a_deleted_service_exits_with_zero_at_once() -> None:
    ((at, status),) = deleted(a_pod())
    assert (at, status.phase, ended(status)) == (after(100), "Succeeded", (0, "Completed"))


@pytest.mark.parametrize(
    ("stop_after", "grace", "ends_after", "exit_code", "phase"),
    [
        ("0s", 30, 0, 0, "Succeeded"),
        ("10s", 30, 10, 0, "Succeeded"),
        ("30s", 30, 30, 0, "Succeeded"),
        ("31s", 30, 30, 137, "Failed"),
        ("10m", 1, 2, 137, "Failed"),
        ("10m", 0, 2, 137, "Failed"),
        ("0s", 0, 0, 0, "Succeeded"),
    ],
)
def test_a_container_is_killed_after_its_grace_period(
    stop_after: str, grace: int, ends_after: int, *, exit_code: int, phase: str
) -> None:
    at, status = deleted(annotated(stop_after=stop_after), grace=grace)[-1]
    assert (at, ended(status)[0], status.phase) == (after(100 + ends_after), exit_code, phase)


def test_sidecars_get_sigterm_after_the_main_containers_end() -> None:
    pod = a_pod(uid=UID, initContainers=[a_container("proxy", restartPolicy="Always")])
    timeline = deleted(annotated(pod, stop_after="10s", stop_after__proxy="5s"))
    assert [(at, status.phase) for at, status in timeline] == [(after(110), "Running"), (after(115), "Succeeded")]
    at, status = deleted(annotated(pod, stop_after="30s", stop_after__proxy="5s"))[-1]
    assert (at, ended(status, "proxy")) == (after(132), (137, "Error"))


def test_a_deleted_job_pod_has_failed() -> None:
    ((_, status),) = deleted(a_pod(metadata=JOB, restartPolicy="Never"), at=2)
    assert (status.phase, ended(status)) == ("Failed", (143, "Error"))


def test_deleting_a_finished_pod_changes_nothing() -> None:
    assert deleted(a_pod(metadata=JOB, restartPolicy="Never")) == []


def test_a_pod_deleted_before_its_start_has_failed() -> None:
    ((_, status),) = deleted(a_pod(), at=10, start_delay=60)
    assert (status.phase, ended(status)) == ("Failed", (137, "ContainerStatusUnknown"))


def test_deletion_precedes_a_simultaneous_transition() -> None:
    simulated = simulated_pod(a_pod(), start_delay=60)
    (first, _) = transitions_of(a_pod(), start_delay=60)[:2]
    now = NOW + timedelta(seconds=1)  # when the sandbox would exist
    ((_, status),) = delete(simulated, current=first, grace=timedelta(0), now=now).transitions
    (sandbox,) = [c for c in status.conditions if c.type == "PodReadyToStartContainers"]
    assert sandbox == first.status.conditions[0]


def test_deletion_during_initialization_starts_no_main_container() -> None:
    pod = a_pod(initContainers=[a_container("one"), a_container("two")])
    ((_, status),) = deleted(pod, at=10, init_duration=60)
    assert status.phase == "Failed"
    assert ended(status, "one") == (143, "Error")
    assert container(status, "two").state.waiting
    assert container(status).state.waiting


def test_deletion_during_back_off_keeps_the_exit_code() -> None:
    ((_, status),) = deleted(annotated(run_for="5s", exit_code="3"))
    assert (status.phase, ended(status)) == ("Failed", (3, "Error"))


def test_a_pod_deleted_without_its_image_has_failed() -> None:
    ((_, status),) = deleted(annotated(fail="ErrImagePull"))
    assert (status.phase, ended(status)) == ("Failed", (137, "ContainerStatusUnknown"))


# Deadline


def test_a_pod_past_its_deadline_fails() -> None:
    pod = a_pod(activeDeadlineSeconds=20)
    timeline = transitions_of(pod)
    check(parse_pod(pod), timeline)
    assert [(at, status.phase, status.reason) for at, status in timeline] == [
        (NOW, "Running", None), (after(20), "Failed", "DeadlineExceeded"),
    ]  # fmt: skip
    last = timeline[-1].status
    assert last.message == "Pod was active on the node longer than the specified deadline"
    assert ended(last) == (0, "Completed")
    assert conditions(last)["Ready"] == ("False", "PodFailed")


def test_its_containers_get_their_grace_first() -> None:
    pod = a_pod(uid=UID, activeDeadlineSeconds=20, terminationGracePeriodSeconds=3)
    at, status = transitions_of(annotated(pod, stop_after="1m"))[-1]
    assert (at, status.reason, ended(status)) == (after(23), "DeadlineExceeded", (137, "Error"))


def test_a_crash_looping_pod_ends_at_its_deadline() -> None:
    pod = annotated(a_pod(activeDeadlineSeconds=100), run_for="5s", exit_code="1")
    timeline = transitions_of(pod)
    check(parse_pod(pod), timeline)
    assert (timeline[-1].effective_at, timeline[-1].status.reason) == (after(100), "DeadlineExceeded")


def test_a_pod_finished_in_time_ignores_its_deadline() -> None:
    assert (
        transitions_of(a_pod(metadata=JOB, restartPolicy="Never", activeDeadlineSeconds=9))[-1].status.phase
        == "Succeeded"
    )


# Eviction and lost node


def test_an_evicted_pod_fails_with_unknown_container_states() -> None:
    pod = annotated(a_pod(initContainers=[a_container("fetch")]), fail="Evicted", fail_after="9s")
    timeline = transitions_of(pod)
    check(parse_pod(pod), timeline)
    at, status = timeline[-1]
    assert (at, status.phase, status.reason) == (after(9), "Failed", "Evicted")
    assert status.message == "The node was low on resource: memory. "
    assert ended(status) == (137, "ContainerStatusUnknown")
    assert ended(status, "fetch") == (0, "Completed")
    assert conditions(status)["DisruptionTarget"] == ("True", "TerminationByKubelet")
    assert reason_of(status) == "Evicted"


def test_a_lost_node_leaves_the_phase_unknown() -> None:
    timeline = transitions_of(annotated(a_pod(uid=UID), fail="NodeLost"))
    (_, before), (at, status) = timeline
    assert (at, status.phase, status.reason) == (after(5), "Unknown", "NodeLost")
    assert status.container_statuses == before.container_statuses
    assert conditions(status)["Ready"] == ("False", None)
    assert conditions(status)["ContainersReady"] == ("True", None)


def test_a_pod_on_a_lost_node_is_deletable() -> None:
    ((_, status),) = deleted(annotated(fail="NodeLost"))
    assert (status.phase, ended(status)) == ("Failed", (137, "ContainerStatusUnknown"))


# Failures to start


def test_a_failing_image_pull_backs_off() -> None:
    pod = annotated(a_pod(uid=UID, containers=[a_container(image="nginx:nope")]), fail="ImagePullBackOff")
    timeline = transitions_until(pod, until=after(700))
    check(parse_pod(pod), timeline)
    states = [(at, decoded(container(status).state)["waiting"]) for at, status in timeline]
    tried = [(at - after(0)).total_seconds() // 1 for at, waiting in states if waiting["reason"] == "ErrImagePull"]
    assert tried == [0, 10, 30, 70, 150, 310, 610]
    assert {status.phase for _, status in timeline} == {"Pending"}
    error = (
        'failed to pull and unpack image "docker.io/library/nginx:nope": failed to resolve reference '
        '"docker.io/library/nginx:nope": docker.io/library/nginx:nope: not found'
    )
    assert states[0][1] == {"reason": "ErrImagePull", "message": error}
    assert states[1] == (
        after(1),
        {"reason": "ImagePullBackOff", "message": f'Back-off pulling image "nginx:nope": ErrImagePull: {error}'},
    )


def test_a_container_with_config_error_waits_forever() -> None:
    ((_, status),) = transitions_of(annotated(fail="CreateContainerConfigError"))
    assert decoded(container(status).state) == {
        "waiting": {"reason": "CreateContainerConfigError", "message": 'configmap "web" not found'}
    }
    assert (status.phase, reason_of(status)) == ("Pending", "CreateContainerConfigError")


def test_one_container_that_cannot_start_keeps_it_pending() -> None:
    pod = a_pod(uid=UID, containers=[a_container("web"), a_container("log")])
    status = transitions_of(annotated(pod, fail__log="ErrImagePull"))[0].status
    assert status.phase == "Pending"
    assert container(status).state.running
