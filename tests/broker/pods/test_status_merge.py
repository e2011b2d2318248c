"""The status of a pod, merged from Kubernetes and the provider."""

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
    conditions,
    container,
    merged,
    pod,
)
from tests.pods import a_container


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


def test_an_observed_generation_does_not_go_back() -> None:
    conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": BEFORE, "observedGeneration": 2}]
    of = pod({"observedGeneration": 2, "conditions": conditions})
    status = merge_status(of, {**RUNNING, "observedGeneration": 1}, now=NOW)
    assert status
    assert status["observedGeneration"] == 2
    assert {condition["observedGeneration"] for condition in status["conditions"]} == {2}


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


WAITS: Object = {"waiting": {"reason": "PodInitializing"}}


@pytest.mark.parametrize(
    ("init", "regular", "ended"),
    [
        pytest.param([WAITS, WAITS], [WAITS], {"one"}, id="nothing has run"),
        pytest.param([container()["state"], WAITS], [WAITS], {"one"}, id="the first runs"),
        pytest.param([ENDED, FAILED], [WAITS], {"one", "two"}, id="the last has failed"),
        pytest.param([ENDED, ENDED], [WAITS], {"one", "two", "web"}, id="all have succeeded"),
        pytest.param([ENDED, WAITS], [FAILED], {"one", "web"}, id="a container has run"),
    ],
)
def test_unreached_containers_keep_waiting(init: list[Object], regular: list[Object], ended: set[str]) -> None:
    names = ("one", "two")
    of = pod(
        {
            "initContainerStatuses": [container(*pair) for pair in zip(names, init, strict=True)],
            "containerStatuses": [container("web", state) for state in regular],
        },
        initContainers=[a_container(name) for name in names],
    )
    status = terminal_status(of, now=NOW)
    containers = [*status["initContainerStatuses"], *status["containerStatuses"]]
    assert {c["name"] for c in containers if "terminated" in c["state"]} == ended
    assert status["phase"] == "Failed"


def test_a_terminal_status_may_have_a_reason() -> None:
    of = pod({"phase": "Running", "containerStatuses": [container("web", ENDED)]})
    status = merged(of, terminal_status(of, now=NOW, reason="DeadlineExceeded", message="too long"))
    assert (status["phase"], status["reason"], status["message"]) == ("Failed", "DeadlineExceeded", "too long")


@pytest.mark.parametrize("invalid", [{"state": {}}, "web", None])
def test_a_terminal_status_ignores_what_is_no_container(invalid: object) -> None:
    ended = {"name": "web", "state": {"terminated": {"exitCode": 0}}}
    status = terminal_status(pod({}), now=NOW, reported={"containerStatuses": [invalid, ended]})
    assert [container["name"] for container in status["containerStatuses"]] == ["web"]
    assert status["phase"] == "Succeeded"
    assert terminal_status(pod({}), now=NOW, reported={"containerStatuses": [invalid]})["phase"] == "Failed"
