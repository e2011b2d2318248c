"""The QoS class: cases of Kubernetes' `TestComputePodQOS`, and further ones of its rules."""

from typing import Any

import pytest

from app.core.errors import InvalidRequest
from app.kubernetes.resources import qos_class
from tests.app.simulation import SECRET, parse_pod
from tests.pods import a_container, a_pod

Resources = dict[str, dict[str, Any]]
SMALL = {"cpu": "100m", "memory": "100Mi"}
LARGE = {"cpu": "200m", "memory": "200Mi"}
GUARANTEED: Resources = {"requests": SMALL, "limits": SMALL}
BURSTABLE: Resources = {"requests": SMALL, "limits": LARGE}
NOTHING: Resources = {}
ZEROS: Resources = {"requests": {"cpu": "0", "memory": "0"}, "limits": {"cpu": "0m", "memory": 0}}


def qos(*containers: Resources, init: list[Resources] | None = None, **spec: Any) -> str:
    """Return the QoS class of a pod whose containers have these resources."""
    pod = a_pod(
        containers=[a_container(f"web-{index}", resources=r) for index, r in enumerate(containers)],
        initContainers=[a_container(f"init-{index}", resources=r) for index, r in enumerate(init or ())],
        **spec,
    )
    return qos_class(parse_pod(pod).spec)


@pytest.mark.parametrize(
    "resources",
    [
        pytest.param(GUARANTEED, id="requests equal limits"),
        pytest.param({"limits": SMALL}, id="a missing request is its limit"),
        pytest.param({"limits": SMALL, "requests": {"cpu": "100m"}}, id="a missing memory request too"),
        pytest.param({"limits": SMALL, "requests": None}, id="requests are null"),
        pytest.param(
            {
                "requests": {"cpu": "0.5", "memory": "1Gi"},
                "limits": {"cpu": "500m", "memory": "1073741824"},
            },
            id="in other words",
        ),
        pytest.param(
            {"requests": {"cpu": 1, "memory": 1e9}, "limits": {"cpu": "1000m", "memory": "1G"}},
            id="bare numbers",
        ),
        pytest.param(
            {
                "requests": {**SMALL, "ephemeral-storage": "1Gi"},
                "limits": {**SMALL, "ephemeral-storage": "2Gi", "example.com/gpu": "1"},
            },
            id="other resources do not count",
        ),
    ],
)
def test_a_pod_whose_requests_equal_limits_is_guaranteed(resources: Resources) -> None:
    assert qos(resources) == "Guaranteed"


@pytest.mark.parametrize(
    "resources",
    [
        pytest.param(NOTHING, id="nothing"),
        pytest.param({"requests": {}, "limits": {}}, id="empty"),
        pytest.param({"requests": None, "limits": None}, id="null"),
        pytest.param(ZEROS, id="zeros"),
        pytest.param({"requests": {"ephemeral-storage": "1Gi"}}, id="ephemeral storage"),
        pytest.param({"requests": {"hugepages-2Mi": "1Gi"}, "limits": {"hugepages-2Mi": "1Gi"}}, id="huge pages"),
        pytest.param({"limits": {"example.com/gpu": "1"}}, id="a device"),
    ],
)
def test_a_pod_without_resources_is_best_effort(resources: Resources) -> None:
    assert qos(resources) == "BestEffort"


@pytest.mark.parametrize(
    "resources",
    [
        pytest.param(BURSTABLE, id="limits above requests"),
        pytest.param({"requests": SMALL}, id="no limits"),
        pytest.param({"requests": {"cpu": "1m"}}, id="one request"),
        pytest.param({"limits": {"cpu": "1"}}, id="a cpu limit alone"),
        pytest.param({"limits": {"memory": "1Gi"}}, id="a memory limit alone"),
        pytest.param({"requests": {"memory": "1Gi"}, "limits": {"memory": "1Gi"}}, id="memory alone"),
        pytest.param({"requests": {"cpu": "100m", "memory": "50Mi"}, "limits": SMALL}, id="one request is less"),
        pytest.param({"requests": SMALL, "limits": {"cpu": "100m", "memory": "0"}}, id="a limit of zero"),
        pytest.param(
            {"requests": {"cpu": "100m", "memory": "0"}, "limits": {"cpu": "100m", "memory": "0"}},
            id="both of zero",
        ),
        pytest.param({"requests": {"cpu": "0", "memory": "0"}, "limits": LARGE}, id="requests of zero"),
        pytest.param({"requests": {"cpu": "0", "memory": "200Mi"}, "limits": LARGE}, id="a request of zero"),
    ],
)
def test_a_pod_in_between_is_burstable(resources: Resources) -> None:
    assert qos(resources) == "Burstable"


@pytest.mark.parametrize(
    ("containers", "expected"),
    [
        pytest.param([GUARANTEED, GUARANTEED], "Guaranteed", id="all guaranteed"),
        pytest.param([NOTHING, NOTHING], "BestEffort", id="all best effort"),
        pytest.param([NOTHING, GUARANTEED], "Burstable", id="one asks for nothing"),
        pytest.param([ZEROS, GUARANTEED], "Burstable", id="one asks for zeros"),
        pytest.param([ZEROS, NOTHING], "BestEffort", id="zeros are nothing"),
        pytest.param([GUARANTEED, BURSTABLE], "Burstable", id="one is burstable"),
        pytest.param([BURSTABLE, {"requests": SMALL}], "Burstable", id="sums that match"),
    ],
)
def test_all_containers_decide_the_class(containers: list[Resources], expected: str) -> None:
    assert qos(*containers) == expected
    assert qos(*reversed(containers)) == expected


@pytest.mark.parametrize(
    ("container", "init", "expected"),
    [
        pytest.param(GUARANTEED, GUARANTEED, "Guaranteed", id="guaranteed"),
        pytest.param(GUARANTEED, NOTHING, "Burstable", id="init asks for nothing"),
        pytest.param(NOTHING, BURSTABLE, "Burstable", id="init alone asks"),
        pytest.param(NOTHING, NOTHING, "BestEffort", id="neither asks"),
    ],
)
def test_init_containers_count(container: Resources, init: Resources, expected: str) -> None:
    assert qos(container, init=[init]) == expected


def test_ephemeral_containers_do_not_count() -> None:
    assert qos(GUARANTEED, ephemeralContainers=[{"name": "debug", "image": "busybox"}]) == "Guaranteed"


@pytest.mark.parametrize(
    ("of_the_pod", "of_the_container", "expected"),
    [
        pytest.param(GUARANTEED, NOTHING, "Guaranteed", id="guaranteed"),
        pytest.param(GUARANTEED, BURSTABLE, "Guaranteed", id="guaranteed over burstable"),
        pytest.param(BURSTABLE, NOTHING, "Burstable", id="burstable"),
        pytest.param(BURSTABLE, GUARANTEED, "Burstable", id="burstable over guaranteed"),
        pytest.param({"requests": SMALL}, BURSTABLE, "Burstable", id="requests"),
        pytest.param({"requests": SMALL, "limits": {"cpu": "100m"}}, GUARANTEED, "Burstable", id="one limit"),
        pytest.param(None, GUARANTEED, "Guaranteed", id="none"),
    ],
)
def test_pod_level_resources_override_the_containers(
    of_the_pod: Resources | None, of_the_container: Resources, expected: str
) -> None:
    assert qos(of_the_container, resources=of_the_pod) == expected


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        pytest.param(
            {"containers": [a_container(resources={"requests": {"cpu": SECRET}})]},
            "spec.containers[0].resources.requests.cpu",
            id="request",
        ),
        pytest.param(
            {"containers": [a_container(), a_container("b", resources={"limits": {"memory": SECRET}})]},
            "spec.containers[1].resources.limits.memory",
            id="limit",
        ),
        pytest.param(
            {"initContainers": [a_container("a", resources={"limits": {"memory": SECRET}})]},
            "spec.initContainers[0].resources.limits.memory",
            id="init container",
        ),
        pytest.param(
            {"resources": {"limits": {"cpu": SECRET}}},
            "spec.resources.limits.cpu",
            id="pod",
        ),
        pytest.param(
            {
                "resources": {"limits": {"cpu": "1"}},
                "containers": [a_container(resources={"requests": {"cpu": SECRET}})],
            },
            "spec.containers[0].resources.requests.cpu",
            id="container of a pod with resources",
        ),
    ],
)
def test_an_invalid_quantity_names_only_its_field(spec: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        qos_class(parse_pod(a_pod(**spec)).spec)
    assert refusal.value.field == field
    assert str(refusal.value) == f"{field}: not a quantity such as 500m, 2 or 1Gi"
