"""The resource requests of a pod: cases of Kubernetes' `TestPodRequestsAndLimits`."""

import re
from typing import Any

import pytest

from app.core.errors import InvalidRequest
from app.kubernetes.resources import pod_requests
from tests.app.simulation import parse_pod
from tests.pods import a_container, a_pod

MI = 2**20
NOTHING: dict[str, Any] = {}


def a(cpu: str, memory: str = "1Mi", **more: Any) -> dict[str, Any]:
    """Return a container with these requests."""
    return {"resources": {"requests": {"cpu": cpu, "memory": memory}}, **more}


def of(*containers: dict[str, Any], init: tuple[dict[str, Any], ...] = (), **spec: Any) -> tuple[int, int]:
    pod = a_pod(
        containers=[a_container(f"web-{index}", **fields) for index, fields in enumerate(containers)],
        initContainers=[a_container(f"init-{index}", **fields) for index, fields in enumerate(init)],
        **spec,
    )
    found = pod_requests(parse_pod(pod).spec)
    return found.cpu_millicores, found.memory_bytes


SIDECAR = a("1", restartPolicy="Always")


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(of(NOTHING), (0, 0), id="nothing"),
        pytest.param(of(a("100m", "64Mi"), a("1.5", "1Gi")), (1600, 1088 * MI), id="containers add up"),
        pytest.param(of(a("0.1n", "1")), (1, 1), id="a fraction is rounded up"),
        pytest.param(
            of({"resources": {"limits": {"cpu": 2, "memory": "1Ki"}}}), (2000, 1024), id="limits stand in"
        ),
        pytest.param(
            of({"resources": {"limits": {"cpu": "2"}, "requests": {"cpu": "1"}}}),
            (1000, 0),
            id="requests come first",
        ),
        pytest.param(of(a("1"), init=(a("3"), a("2"))), (3000, MI), id="the largest init container counts"),
        pytest.param(of(a("2"), a("2"), init=(a("3"),)), (4000, 2 * MI), id="and only where it is larger"),
        pytest.param(of(a("2"), init=(SIDECAR,)), (3000, 2 * MI), id="a sidecar runs beside the containers"),
        pytest.param(of(a("1"), init=(SIDECAR, a("3"))), (4000, 2 * MI), id="and beside a later init container"),
        pytest.param(of(a("1"), init=(a("3"), SIDECAR)), (3000, 2 * MI), id="and not beside an earlier one"),
        pytest.param(
            of(a("1"), resources={"requests": {"cpu": "5"}}),
            (5000, MI),
            id="what the pod requests as a whole counts",
        ),
        pytest.param(
            of(a("1"), resources={"limits": {"cpu": "5"}}), (1000, MI), id="its limit where nothing else does"
        ),
        pytest.param(of(NOTHING, resources={"limits": {"cpu": "5"}}), (5000, 0), id="its limit stands in"),
        pytest.param(
            of(a("1"), overhead={"cpu": "250m", "memory": "1Mi"}), (1250, 2 * MI), id="overhead comes on top"
        ),
        pytest.param(of(a("1E", "1E")), (2**50, 2**50), id="more than any node has is cut"),
        pytest.param(of(a("-1", "-1")), (0, 0), id="less than nothing is nothing"),
    ],
)
def test_the_requests_are_those_that_a_scheduler_counts(found: tuple[int, int], expected: tuple[int, int]) -> None:
    assert found == expected


@pytest.mark.parametrize(
    ("field", "spec"),
    [
        ("spec.overhead.cpu", {"overhead": {"cpu": "much"}}),
        (
            "spec.ephemeralContainers[0].resources.limits.cpu",
            {"ephemeralContainers": [a_container("debug", resources={"limits": {"cpu": "much"}})]},
        ),
    ],
)
def test_a_quantity_that_is_none_is_named(field: str, spec: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(field)):
        of(NOTHING, **spec)
