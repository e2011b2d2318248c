"""The conditions of a pod, merged from Kubernetes and the provider."""

import pytest

from broker.pods.status_merge import merge_status, status_patch, terminal_status
from tests.broker.pods.statuses import (
    AT_NOW,
    BEFORE,
    HOST,
    LATER,
    NOW,
    OWN,
    RUNNING,
    Object,
    cond,
    condition,
    conditions,
    container,
    merged,
    pod,
)
from tests.pods import a_container


@pytest.mark.parametrize(
    ("reported", "ready", "containers_ready"),
    [
        pytest.param({"phase": "Running"}, "True", "True", id="nothing but a phase"),
        pytest.param({"phase": "Pending"}, "False", "False", id="pending"),
        pytest.param({"containerStatuses": [container()]}, "True", "True", id="from the containers"),
        pytest.param(
            {"containerStatuses": [container(ready=False)]}, "False", "False", id="one that is not ready"
        ),
        pytest.param({"containerStatuses": [container("b")]}, "False", "False", id="one that is not there"),
        pytest.param(
            {"conditions": [cond("Ready", "true")]}, "True", "True", id="in small letters, as a mock does"
        ),
        pytest.param({"conditions": [cond("Ready", "False")]}, "False", "False", id="nothing but Ready"),
        pytest.param(
            {"containerStatuses": [container()], "conditions": [cond("Ready", "False")]},
            "True",
            "True",
            id="Ready contradicts the containers",
        ),
        pytest.param(
            {"conditions": [cond("Ready"), cond("ContainersReady", "False")]},
            "False",
            "False",
            id="a contradiction",
        ),
        pytest.param({"conditions": "broken"}, "True", "True", id="no list"),
        pytest.param({"conditions": [None, {"status": "False"}]}, "True", "True", id="no conditions in it"),
    ],
)
def test_readiness_is_reported_or_computed(reported: Object, ready: str, containers_ready: str) -> None:
    status = merged(pod(), {"phase": "Running", **reported})
    assert conditions(status)["Ready"] == ready
    assert conditions(status)["ContainersReady"] == containers_ready


def test_unready_containers_are_named() -> None:
    of = pod(
        containers=[a_container("a"), a_container("b"), a_container("c")],
        initContainers=[a_container("init"), a_container("sidecar", restartPolicy="Always")],
    )
    reported = {
        "phase": "Running",
        "initContainerStatuses": [container("init", ready=False), container("sidecar", ready=False)],
        "containerStatuses": [container("a"), container("b", ready=False)],
    }
    found = condition(merged(of, reported), "Ready")
    assert found["reason"] == "ContainersNotReady"
    assert found["message"] == ("containers with unknown status: [c], containers with unready status: [sidecar b]")


@pytest.mark.parametrize(
    ("phase", "expected"), [("Pending", "False"), ("Running", "True"), ("Succeeded", "True"), ("Failed", "True")]
)
def test_init_containers_determine_the_initialized_condition(phase: str, expected: str) -> None:
    of = pod(initContainers=[a_container("init")])
    assert conditions(merged(of, {"phase": phase}))["Initialized"] == expected


@pytest.mark.parametrize(
    ("there", "ready", "message"),
    [
        pytest.param(
            [], "False", 'corresponding condition of pod readiness gate "a/b" does not exist.', id="missing"
        ),
        pytest.param(
            [cond("a/b", "False")],
            "False",
            'the status of pod readiness gate "a/b" is not "True", but False',
            id="closed",
        ),
        pytest.param([cond("a/b", "True")], "True", None, id="open"),
    ],
)
def test_readiness_gates_determine_the_ready_condition(
    there: list[Object], ready: str, message: str | None
) -> None:
    of = pod({"conditions": there}, readinessGates=[{"conditionType": "a/b"}])
    found = condition(merged(of, RUNNING), "Ready")
    assert found["status"] == ready
    assert found.get("message") == message
    assert found.get("reason") == (None if ready == "True" else "ReadinessGatesNotReady")


@pytest.mark.parametrize("says", ["True", "False"])
@pytest.mark.parametrize("gate", ["True", "False"])
def test_the_reported_ready_condition_is_ignored(says: str, gate: str) -> None:
    of = pod({"conditions": [cond("a/b", gate)]}, readinessGates=[{"conditionType": "a/b"}])
    reported = [cond("ContainersReady"), cond("Ready", says, reason="ReadinessGatesNotReady", message="no such")]
    status = merged(of, {**RUNNING, "conditions": reported})
    assert conditions(status)["Ready"] == gate


def test_a_gate_that_opens_dates_the_ready_condition() -> None:
    gated = {"readinessGates": [{"conditionType": "a/b"}]}
    opened = pod({"conditions": [cond("a/b"), cond("Ready", "False", BEFORE)]}, **gated)
    status = merged(opened, RUNNING)
    assert condition(status, "Ready") == cond("Ready", time=AT_NOW, observedGeneration=3)
    assert merge_status(pod(status, **gated), RUNNING, now=NOW, host_ips=HOST) is None


@pytest.mark.parametrize(("phase", "reason"), [("Succeeded", "PodCompleted"), ("Failed", "PodFailed")])
def test_an_ended_pod_is_never_ready(phase: str, reason: str) -> None:
    status = merged(pod(RUNNING), {**RUNNING, "phase": phase})
    for type_ in ("Ready", "ContainersReady"):
        found = condition(status, type_)
        assert (found["status"], found["reason"], found["lastTransitionTime"]) == ("False", reason, AT_NOW)


def test_a_pod_that_the_node_ended_is_not_completed() -> None:
    completed = cond("Initialized") | {"reason": "PodCompleted"}
    reported = {"phase": "Succeeded", "containerStatuses": [container(ready=False)], "conditions": [completed]}
    ended = terminal_status(pod(), now=NOW, reported=reported, reason="Preempting", message="for another")
    status = merged(pod(), ended)
    initialized = condition(status, "Initialized")
    assert (status["phase"], initialized["status"], initialized.get("reason")) == ("Failed", "True", None)


def test_conditions_have_an_observed_generation() -> None:
    there = [cond(type_, observedGeneration=1) for type_ in OWN]
    reported = [cond("Initialized", observedGeneration=2), cond("ContainersReady")]
    status = merged(pod({"conditions": there}), {**RUNNING, "conditions": reported})
    seen = {condition["type"]: condition["observedGeneration"] for condition in status["conditions"]}
    assert seen == {**dict.fromkeys(OWN, 3), "Initialized": 2}


def test_foreign_conditions_are_kept() -> None:
    gate, target = cond("a/b", "False"), cond("DisruptionTarget", reason="Preemption")
    echo = {**RUNNING, "conditions": [cond("a/b", "True", LATER), *RUNNING["conditions"]]}
    status = merged(pod({"conditions": [gate, target]}), echo)
    assert gate in status["conditions"]
    assert target in status["conditions"]
    assert len(status["conditions"]) == 7


def test_a_provider_may_report_a_disruption_target() -> None:
    target = cond("DisruptionTarget", reason="TerminationByKubelet")
    assert "DisruptionTarget" in conditions(merged(pod(), {"phase": "Failed", "conditions": [target]}))


DEFERRED = {"type": "PodResizePending", "status": "True", "reason": "Deferred", "observedGeneration": 4}
INFEASIBLE = {**DEFERRED, "reason": "Infeasible"}
IN_PROGRESS = cond("PodResizeInProgress", observedGeneration=4)


def resizing(reported: list[Object], pending: Object | None = None, there: list[Object] | None = None) -> Object:
    """The status of a pod while it is resized."""
    status = merge_status(
        pod({"phase": "Running", "conditions": there or []}),
        {**RUNNING, "conditions": reported},
        now=NOW,
        pending_resize=pending,
    )
    assert status is not None
    return status


def test_the_node_determines_the_pending_resize() -> None:
    status = resizing([IN_PROGRESS, INFEASIBLE], DEFERRED)
    assert condition(status, "PodResizePending") == {**DEFERRED, "lastTransitionTime": AT_NOW}
    assert condition(status, "PodResizeInProgress") == IN_PROGRESS
    assert condition(resizing([INFEASIBLE]), "PodResizePending")["reason"] == "Infeasible"


def test_resize_conditions_exist_while_true() -> None:
    there = [cond("PodResizePending", reason="Deferred"), IN_PROGRESS, cond("a/b")]
    status = resizing([cond("PodResizeInProgress", "False")], there=there)
    assert conditions(status).keys() == {*OWN, "a/b"}
    assert status_patch(pod({"conditions": there}), status)["status"]["conditions"][-2:] == [
        {"$patch": "delete", "type": "PodResizeInProgress"},
        {"$patch": "delete", "type": "PodResizePending"},
    ]
    ended = merged(pod({"conditions": there}), {"phase": "Succeeded", "conditions": [IN_PROGRESS]})
    assert not conditions(ended).keys() & {"PodResizePending", "PodResizeInProgress"}


def test_another_reason_dates_a_pending_resize() -> None:
    there = [cond("PodResizePending", reason="Deferred", observedGeneration=3)]
    assert condition(resizing([], DEFERRED, there), "PodResizePending")["lastTransitionTime"] == BEFORE
    assert condition(resizing([], INFEASIBLE, there), "PodResizePending")["lastTransitionTime"] == AT_NOW


def test_conditions_keep_their_order() -> None:
    there = merged(pod(), RUNNING)
    there["conditions"].append(cond("a/b"))
    assert merge_status(pod(there), RUNNING, now=NOW, host_ips=HOST) is None


@pytest.mark.parametrize(
    ("before", "reported", "expected"),
    [
        pytest.param(cond("Ready", "True", BEFORE), cond("Ready", "True", LATER), BEFORE, id="the same"),
        pytest.param(
            cond("Ready", "False", BEFORE), cond("Ready", "True", LATER), LATER, id="a flip, with its time"
        ),
        pytest.param(cond("Ready", "False", BEFORE), cond("Ready", "True", None), AT_NOW, id="a flip without"),
    ],
)
def test_the_transition_time_changes_with_the_status(before: Object, reported: Object, expected: str) -> None:
    status = merged(pod({"conditions": [before]}), {"phase": "Running", "conditions": [reported]})
    assert condition(status, "Ready")["lastTransitionTime"] == expected
