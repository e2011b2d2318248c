"""Complete statuses of a timeline, as a kubelet writes them."""

from typing import Any

import pytest

from app.runtimes.base import Placement
from tests.app.simulation import PODS, a_pod_with_a_sidecar, decoded, transitions_of
from tests.pods import a_container, a_pod

DELAY = 2
ARRIVED, STARTED = "2026-11-22T08:46:38Z", "2026-11-22T08:46:40Z"

every_pod = pytest.mark.parametrize("pod", PODS.values(), ids=PODS.keys())


def condition(type_: str, status: str, since: str, **reason: str) -> dict[str, Any]:
    return {
        "type": type_,
        "status": status,
        "observedGeneration": 3,
        "lastProbeTime": None,
        "lastTransitionTime": since,
        **reason,
    }


def test_a_pod_that_is_pending_in_full() -> None:
    waiting = {
        "state": {"waiting": {"reason": "PodInitializing"}},
        "lastState": {},
        "ready": False,
        "restartCount": 0,
        "imageID": "",
        "started": False,
    }
    uninitialized = {
        "reason": "ContainersNotInitialized",
        "message": "containers with incomplete status: [fetch]",
    }
    unready = {"reason": "ContainersNotReady", "message": "containers with unready status: [web]"}
    pod = a_pod_with_a_sidecar()
    pod["spec"]["initContainers"].pop()
    pod["spec"]["containers"].pop()
    assert decoded(transitions_of(pod, start_delay=DELAY)[0].status) == {
        "observedGeneration": 3,
        "phase": "Pending",
        "conditions": [
            condition("PodReadyToStartContainers", "False", ARRIVED),
            condition("Initialized", "False", ARRIVED, **uninitialized),
            condition("Ready", "False", ARRIVED, **unready),
            condition("ContainersReady", "False", ARRIVED, **unready),
            condition("PodScheduled", "True", ARRIVED),
        ],
        "hostIP": "10.0.0.5",
        "hostIPs": [{"ip": "10.0.0.5"}],
        "startTime": ARRIVED,
        "initContainerStatuses": [{"name": "fetch", "image": "busybox:1.37", **waiting}],
        "containerStatuses": [{"name": "web", "image": "nginx:1.27", **waiting}],
        "qosClass": "Burstable",
    }


def test_a_pod_that_runs_in_full() -> None:
    fetch = "synthetic://864941027a97c267962e8c7414f7b4f61d9c6a00346bf76c316c594d019f9c65"
    assert decoded(transitions_of(a_pod_with_a_sidecar(), start_delay=DELAY, init_duration=0)[-1].status) == {
        "observedGeneration": 3,
        "phase": "Running",
        "conditions": [
            condition("PodReadyToStartContainers", "True", "2026-11-22T08:46:39Z"),
            condition("Initialized", "True", STARTED),
            condition("Ready", "True", STARTED),
            condition("ContainersReady", "True", STARTED),
            condition("PodScheduled", "True", ARRIVED),
        ],
        "hostIP": "10.0.0.5",
        "hostIPs": [{"ip": "10.0.0.5"}],
        "podIP": "198.18.0.7",
        "podIPs": [{"ip": "198.18.0.7"}],
        "startTime": ARRIVED,
        "initContainerStatuses": [
            {
                "name": "fetch",
                "state": {
                    "terminated": {
                        "exitCode": 0,
                        "reason": "Completed",
                        "startedAt": STARTED,
                        "finishedAt": STARTED,
                        "containerID": fetch,
                    }
                },
                "lastState": {},
                "ready": True,
                "restartCount": 0,
                "image": "busybox:1.37",
                "imageID": "docker.io/library/busybox@sha256:"
                "b606ab8238fb2ffb1f1bfea94c26a87238623870cb315cf440156192c92ccd19",
                "containerID": fetch,
                "started": False,
                "resources": {},
            },
            {
                "name": "proxy",
                "state": {"running": {"startedAt": STARTED}},
                "lastState": {},
                "ready": True,
                "restartCount": 0,
                "image": "ghcr.io/example/proxy:2",
                "imageID": "ghcr.io/example/proxy@sha256:"
                "ab277fe49daa14e5ce3f8a4083a16438ab592326ddaa5fca77b192b444cc73ae",
                "containerID": "synthetic://4a94820a75407eb51707f1c376540533346c315c126be414bd469baf5fa7b69f",
                "started": True,
                "resources": {},
            },
        ],
        "containerStatuses": [
            {
                "name": "api",
                "state": {"running": {"startedAt": STARTED}},
                "lastState": {},
                "ready": True,
                "restartCount": 0,
                "image": "example/api",
                "imageID": "docker.io/example/api@sha256:"
                "5d29ab07f779242f37b790fb44501e30bced72f89ec51046696fb496d20a47b9",
                "containerID": "synthetic://70b5f5e499f5d02650cae0de80fec588f224111d8749f8600466d2951370e771",
                "started": True,
                "resources": {},
            },
            {
                "name": "web",
                "state": {"running": {"startedAt": STARTED}},
                "lastState": {},
                "ready": True,
                "restartCount": 0,
                "image": "nginx:1.27",
                "imageID": "docker.io/library/nginx@sha256:"
                "6965a10c15290ad0b29ca7fd1866de1850408b3cb15fb11a3bbbbc2fddb158bd",
                "containerID": "synthetic://b3edbcc59ce49abb92820b34c599206606ef87d6b648d76c7991df0c0225c669",
                "started": True,
                "allocatedResources": {"cpu": "100m"},
                "resources": {"requests": {"cpu": "100m"}},
            },
        ],
        "qosClass": "Burstable",
    }


@every_pod
def test_every_container_has_its_entry_in_every_status(pod: dict[str, Any]) -> None:
    for _, status in transitions_of(pod, start_delay=DELAY):
        for listed, spec in (
            (status.container_statuses, pod["spec"]["containers"]),
            (status.init_container_statuses, pod["spec"].get("initContainers", [])),
        ):
            assert sorted(entry.name for entry in listed) == sorted(container["name"] for container in spec)


def test_containers_sort_by_name_init_containers_by_order() -> None:
    names = ["web", "api", "log"]
    pod = a_pod(
        containers=[a_container(name) for name in names],
        initContainers=[a_container(f"{name}-init") for name in names],
    )
    for _, status in transitions_of(pod, start_delay=DELAY):
        assert [entry.name for entry in status.container_statuses] == ["api", "log", "web"]
        assert [entry.name for entry in status.init_container_statuses] == ["web-init", "api-init", "log-init"]


def test_unready_containers_are_named_sidecars_first() -> None:
    pending = transitions_of(a_pod_with_a_sidecar(), start_delay=DELAY)[0].status
    ready = next(condition for condition in pending.conditions if condition.type == "Ready")
    assert ready.message == "containers with unready status: [proxy web api]"


@every_pod
def test_every_started_container_has_a_unique_id(pod: dict[str, Any]) -> None:
    status = transitions_of(pod)[-1].status
    entries = [*status.container_statuses, *status.init_container_statuses]
    assert all(entry.container_id and entry.image_id for entry in entries)
    assert len({entry.container_id for entry in entries}) == len(entries)


def test_two_pods_share_images_and_no_container() -> None:
    first, second = (transitions_of(a_pod())[0].status.container_statuses[0] for _ in range(2))
    assert first.image_id == second.image_id
    assert first.container_id != second.container_id


def test_a_pod_without_a_generation_observes_none() -> None:
    status = decoded(transitions_of(a_pod(metadata={"generation": None}))[0].status)
    assert "observedGeneration" not in status
    assert all("observedGeneration" not in condition for condition in status["conditions"])


@pytest.mark.parametrize(
    ("host_ips", "pod_ip", "pod_ips"),
    [
        pytest.param(("10.0.0.5",), "198.18.0.7", ["198.18.0.7"], id="its own"),
        pytest.param(("10.0.0.5", "fd00::5"), "198.18.0.7", ["198.18.0.7"], id="two of the host"),
        pytest.param(("fd00::5",), "fd00:1::7", ["fd00:1::7"], id="IPv6"),
        pytest.param(("10.0.0.5",), None, ["10.0.0.5"], id="the host's"),
        pytest.param(("10.0.0.5", "fd00::5"), None, ["10.0.0.5", "fd00::5"], id="both of the host"),
    ],
)
def test_a_running_pod_has_pod_and_host_ips(
    host_ips: tuple[str, ...], pod_ip: str | None, pod_ips: list[str]
) -> None:
    placement = Placement(host_ips=host_ips, pod_ip=pod_ip)
    status = decoded(transitions_of(a_pod(hostNetwork=pod_ip is None), placement=placement)[0].status)
    assert status["hostIP"] == host_ips[0]
    assert status["hostIPs"] == [{"ip": ip} for ip in host_ips]
    assert status["podIP"] == pod_ips[0]
    assert status["podIPs"] == [{"ip": ip} for ip in pod_ips]


def test_a_pending_pod_has_no_pod_ip() -> None:
    status = transitions_of(a_pod(), start_delay=DELAY)[0].status
    assert (status.pod_ip, status.pod_ips) == (None, ())


def test_a_host_network_pod_always_has_its_ip() -> None:
    placement = Placement(host_ips=("10.0.0.5", "fd00::5"), pod_ip=None)
    status = decoded(transitions_of(a_pod(hostNetwork=True), placement=placement, start_delay=DELAY)[0].status)
    assert status["podIP"] == "10.0.0.5"
    assert status["podIPs"] == [{"ip": "10.0.0.5"}, {"ip": "fd00::5"}]
