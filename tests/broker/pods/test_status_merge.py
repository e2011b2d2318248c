"""The status of a pod, merged from Kubernetes and the provider."""

from datetime import UTC, datetime
from typing import Any

import pytest

from broker.pods.status_merge import merge_status, status_patch, terminal_status
from tests.pods import a_container, a_pod

Object = dict[str, Any]
NOW = datetime(2026, 11, 22, 9, 0, 0, tzinfo=UTC)
BEFORE, AT_NOW, LATER = "2026-11-22T08:00:00Z", "2026-11-22T09:00:00Z", "2026-11-22T10:00:00Z"
HOST = ["192.0.2.1", "2001:db8::1"]


def pod(status: Object | None = None, **spec: Any) -> Object:
    """Return a pod with its status in Kubernetes."""
    made = a_pod(uid="uid-1", metadata={"generation": 3, "resourceVersion": "7"}, **spec)
    return {**made, "status": {"phase": "Pending", "qosClass": "BestEffort", **(status or {})}}


def cond(type_: str, status: str = "True", time: str | None = BEFORE, **more: Any) -> Object:
    return {"type": type_, "status": status, **({"lastTransitionTime": time} if time else {}), **more}


def container(name: str = "web", state: Object | None = None, *, ready: bool = True) -> Object:
    """A container's status."""
    return {"name": name, "ready": ready, "state": state or {"running": {"startedAt": BEFORE}}}


OWN = ("PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready", "PodScheduled")
RUNNING = {
    "phase": "Running",
    "startTime": BEFORE,
    "podIP": "10.0.0.7",
    "conditions": [cond(type_) for type_ in OWN],
    "containerStatuses": [container()],
}


def merged(of: Object, reported: Object) -> Object:
    status = merge_status(of, reported, now=NOW, host_ips=HOST, generation=3)
    assert status is not None
    return status


def conditions(status: Object) -> dict[str, str]:
    return {condition["type"]: condition["status"] for condition in status["conditions"]}


def condition(status: Object, type_: str) -> Object:
    (found,) = [condition for condition in status["conditions"] if condition["type"] == type_]
    return {name: value for name, value in found.items() if value is not None}


def test_a_complete_status_is_unchanged() -> None:
    status = merged(pod(), RUNNING)
    assert status["phase"] == "Running"
    assert status["startTime"] == BEFORE
    assert status["podIP"] == "10.0.0.7"
    assert status["podIPs"] == [{"ip": "10.0.0.7"}]
    assert status["containerStatuses"] == [container()]
    assert conditions(status) == dict.fromkeys(OWN, "True")


def test_an_unchanged_status_returns_none() -> None:
    running = pod(merged(pod(), RUNNING))
    assert merge_status(running, RUNNING, now=NOW, host_ips=HOST) is None
    with_empty = {**RUNNING, "message": "", "initContainerStatuses": [], "podIPs": None}
    assert merge_status(running, with_empty, now=NOW, host_ips=HOST) is None


def test_fields_absent_from_the_report_are_kept() -> None:
    kept = {
        "resourceClaimStatuses": [{"name": "gpu"}],
        "nominatedNodeName": "other",
        "resize": "Deferred",
        "initContainerStatuses": [container("init")],
        "podIP": "10.0.0.7",
        "podIPs": [{"ip": "10.0.0.7"}],
        "hostIP": "192.0.2.9",
        "hostIPs": [{"ip": "192.0.2.9"}],
        "startTime": BEFORE,
    }
    status = merged(pod(kept), {"phase": "Running"})
    assert {name: status[name] for name in kept} == kept
    assert status["qosClass"] == "BestEffort"


def test_fields_owned_by_kubernetes_are_ignored() -> None:
    status = merged(
        pod({"startTime": BEFORE}),
        {
            **RUNNING,
            "startTime": LATER,
            "qosClass": "Guaranteed",
            "nominatedNodeName": "x",
            "resourceClaimStatuses": [1],
        },
    )
    assert status["startTime"] == BEFORE
    assert status["qosClass"] == "BestEffort"
    assert "nominatedNodeName" not in status
    assert "resourceClaimStatuses" not in status


def test_an_outdated_message_is_removed() -> None:
    status = merged(pod({"message": "pulling", "reason": "Slow"}), RUNNING)
    assert not status["message"]
    assert not status["reason"]


def test_the_start_time_defaults_to_now() -> None:
    assert merged(pod(), {"phase": "Pending"})["startTime"] == AT_NOW


@pytest.mark.parametrize(
    ("reported", "acknowledged", "expected"), [({}, 3, 3), ({"observedGeneration": 2}, 3, 2), ({}, None, 1)]
)
def test_observed_generation_is_that_of_the_provider(
    reported: Object, acknowledged: int | None, expected: int
) -> None:
    of = pod({"observedGeneration": 1})
    status = merge_status(of, {**RUNNING, **reported}, now=NOW, generation=acknowledged)
    assert status
    assert status["observedGeneration"] == expected


@pytest.mark.parametrize(
    ("current", "reported", "phase"),
    [
        ("Pending", "Running", "Running"),
        ("Running", "Succeeded", "Succeeded"),
        ("Running", "Failed", "Failed"),
        ("Running", "Unknown", "Unknown"),
        ("Running", "Pending", "Running"),
        ("Running", "running", "Running"),
        ("Pending", None, "Pending"),
        ("Pending", 7, "Pending"),
    ],
)
def test_a_phase_never_regresses(current: str, reported: object, phase: str) -> None:
    assert merged(pod({"phase": current}), {"phase": reported, "message": "changed"})["phase"] == phase


@pytest.mark.parametrize("current", ["Succeeded", "Failed"])
@pytest.mark.parametrize("reported", ["Pending", "Running", "Unknown", "Succeeded", "Failed"])
def test_a_terminal_phase_is_final(current: str, reported: str) -> None:
    if current != reported:
        of = pod({"phase": current, "reason": "NodeLost"})
        status = merge_status(of, {"phase": reported, "reason": "Other"}, now=NOW)
        if reported not in ("Succeeded", "Failed"):
            assert status is None
        else:
            assert status
            assert (status["phase"], status["reason"]) == (current, "NodeLost")


def test_reason_and_message_of_an_end_are_kept() -> None:
    ended = {"phase": "Failed", "reason": "DeadlineExceeded", "message": "too long", "startTime": BEFORE}
    status = merged(pod(ended), {"phase": "Failed", "containerStatuses": [container()]})
    assert (status["reason"], status["message"]) == ("DeadlineExceeded", "too long")


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


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        pytest.param({"podIP": "10.0.0.7"}, ["10.0.0.7"], id="one"),
        pytest.param({"podIPs": [{"ip": "10.0.0.7"}]}, ["10.0.0.7"], id="a list"),
        pytest.param(
            {"podIP": "10.0.0.7", "podIPs": [{"ip": "fd00::7"}]}, ["10.0.0.7", "fd00::7"], id="of each family"
        ),
        pytest.param({"podIPs": [{"ip": "10.0.0.7"}, {"ip": "10.0.0.8"}]}, ["10.0.0.7"], id="two of one family"),
        pytest.param({"podIP": "nowhere", "podIPs": [{"ip": "1.2.3.4.5"}]}, [], id="no addresses"),
        pytest.param({"podIPs": "10.0.0.7"}, [], id="no list"),
        pytest.param({}, [], id="none"),
    ],
)
def test_only_valid_addresses_are_kept(reported: Object, expected: list[str]) -> None:
    status = merged(pod(), {"phase": "Running", **reported})
    assert [entry["ip"] for entry in status["podIPs"]] == expected
    assert status["podIP"] == (expected[0] if expected else None)


@pytest.mark.parametrize(
    ("reported", "expected"), [({}, HOST), ({"hostIP": "198.51.100.1"}, ["198.51.100.1"]), ({"hostIP": "x"}, HOST)]
)
def test_the_host_ip_defaults_to_the_node(reported: Object, expected: list[str]) -> None:
    status = merged(pod(), {"phase": "Running", **reported})
    assert status["hostIP"] == expected[0]
    assert [entry["ip"] for entry in status["hostIPs"]] == expected


ENDED: Object = {"terminated": {"exitCode": 0}}
FAILED: Object = {"terminated": {"exitCode": 1}}
AGAIN: Object = {"running": {"startedAt": LATER}}


@pytest.mark.parametrize(
    ("policy", "state", "may"),
    [
        ("Always", ENDED, True),
        ("OnFailure", FAILED, True),
        ("OnFailure", ENDED, False),
        ("Never", FAILED, False),
        ("Never", ENDED, False),
    ],
)
def test_a_terminated_container_restarts_only_if_allowed(policy: str, state: Object, may: bool) -> None:
    of = pod({"phase": "Running", "containerStatuses": [container("web", state)]}, restartPolicy=policy)
    status = merged(of, {"phase": "Running", "containerStatuses": [container("web", AGAIN)], "message": "again"})
    assert status["containerStatuses"] == [container("web", AGAIN if may else state)]


def test_the_restart_policy_of_a_container_takes_precedence() -> None:
    of = pod(
        {"phase": "Running", "containerStatuses": [container("web", FAILED)]},
        restartPolicy="Never",
        containers=[a_container(restartPolicy="Always")],
    )
    status = merged(of, {"phase": "Running", "containerStatuses": [container("web", AGAIN)]})
    assert status["containerStatuses"] == [container("web", AGAIN)]


def test_a_patch_contains_changes_uid_and_version() -> None:
    current = {"startTime": BEFORE, "conditions": [cond("PodScheduled", observedGeneration=3), cond("a/b")]}
    of = pod(current)
    patch = status_patch(of, merged(of, RUNNING))
    assert patch["metadata"] == {"uid": "uid-1", "resourceVersion": "7"}
    assert patch["status"].keys() == {
        "phase",
        "podIP",
        "podIPs",
        "hostIP",
        "hostIPs",
        "conditions",
        "containerStatuses",
        "observedGeneration",
    }
    assert {condition["type"] for condition in patch["status"]["conditions"]} == set(OWN) - {"PodScheduled"}


def test_a_patch_clears_removed_fields() -> None:
    of = pod({**merged(pod(), RUNNING), "message": "pulling"})
    assert status_patch(of, merged(of, RUNNING))["status"] == {"message": None}


def test_a_patch_replaces_addresses() -> None:
    of = pod({"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]})
    status = status_patch(of, merged(of, RUNNING))["status"]
    assert status["podIPs"] == [{"ip": "10.0.0.7"}, {"$patch": "replace"}]


@pytest.mark.parametrize(
    ("containers", "phase"),
    [
        pytest.param([container()], "Failed", id="running"),
        pytest.param([container("web", {"waiting": {"reason": "ContainerCreating"}})], "Failed", id="waiting"),
        pytest.param([container("web", ENDED)], "Succeeded", id="ended well"),
        pytest.param([container("web", ENDED), container("b", FAILED)], "Failed", id="one failed"),
        pytest.param([], "Failed", id="nothing known"),
    ],
)
def test_a_terminal_status_terminates_every_container(containers: list[Object], phase: str) -> None:
    status = terminal_status(pod({"phase": "Running", "containerStatuses": containers}), now=NOW)
    assert status["phase"] == phase
    assert all("terminated" in status["state"] for status in status.get("containerStatuses", []))


def test_a_container_without_known_end_has_failed() -> None:
    running = {**container(), "containerID": "x://1", "started": True}
    (ended,) = terminal_status(pod({"containerStatuses": [running]}), now=NOW)["containerStatuses"]
    assert (ended["ready"], ended["started"]) == (False, False)
    assert ended["state"]["terminated"] == {
        "exitCode": 137,
        "reason": "ContainerStatusUnknown",
        "message": "The container could not be located when the pod was terminated",
        "startedAt": BEFORE,
        "finishedAt": AT_NOW,
        "containerID": "x://1",
    }


def test_a_terminal_status_may_have_a_reason() -> None:
    of = pod({"phase": "Running", "containerStatuses": [container("web", ENDED)]})
    status = merged(of, terminal_status(of, now=NOW, reason="DeadlineExceeded", message="too long"))
    assert (status["phase"], status["reason"], status["message"]) == ("Failed", "DeadlineExceeded", "too long")
