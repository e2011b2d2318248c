"""Timelines of pods of every kind of workload, as an API server delivers them."""

from datetime import timedelta
from typing import Any

import pytest
import yaml

from app.kubernetes.status import PodStatus
from app.runtimes.base import Placement
from app.runtimes.synthetic.timeline import delete
from tests.app.runtimes.synthetic.invariants import check
from tests.app.simulation import NOW, PLACEMENT, after, parse_pod, simulated_pod, transitions_until
from tests.server import ROOT

MANIFESTS = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / "tests/data/pods").glob("*.yaml")}
HOST = Placement(host_ips=("10.0.0.5",), pod_ip=None)

TIMELINES: dict[str, list[tuple[float, str, bool]]] = {
    "bare-with-a-readiness-gate": [(0, "Running", False)],
    "cronjob-with-a-sidecar": [
        (0, "Pending", False),  # the sidecar starts
        (2, "Pending", False),  # it is started: migrate runs
        (5, "Running", True),
        (10, "Succeeded", False),
    ],
    "daemonset-on-the-hosts-network": [(0, "Running", True)],
    "deployment": [(0, "Running", False), (3, "Running", True)],
    "job-with-completions": [(0, "Running", True), (5, "Succeeded", False)],
    "many-containers": [
        (0, "Pending", False),  # one
        (3, "Pending", False),  # mesh and two
        (4, "Pending", False),  # mesh is ready
        (6, "Running", False),
        (15, "Running", True),
    ],
    "statefulset": [(0, "Pending", False), (3, "Running", False), (8, "Running", True)],
}
"""By workload: seconds after the pod's creation, phase, and Ready; init containers run for 3 s."""

every_workload = pytest.mark.parametrize("name", sorted(MANIFESTS))


def circumstances(pod: dict[str, Any]) -> dict[str, Any]:
    return {"placement": HOST if pod["spec"].get("hostNetwork") else PLACEMENT, "init_duration": 3}


def is_ready(status: PodStatus) -> bool:
    return any(condition.type == "Ready" and condition.status == "True" for condition in status.conditions)


@every_workload
def test_a_workload_has_the_timeline_of_a_kubelet(name: str) -> None:
    pod = MANIFESTS[name]
    timeline = transitions_until(pod, until=after(86_400), **circumstances(pod))
    check(parse_pod(pod), timeline)
    found = [(at, status.phase, is_ready(status)) for at, status in timeline]
    assert found == [(max(NOW, after(at)), phase, ready) for at, phase, ready in TIMELINES[name]]


@every_workload
@pytest.mark.parametrize("at", [0.5, 2, 4, 7, 3600])
def test_a_workload_can_be_deleted_at_any_time(name: str, at: float) -> None:
    pod = MANIFESTS[name]
    timeline = [
        t for t in transitions_until(pod, until=after(at), **circumstances(pod)) if t.effective_at < after(at)
    ]
    simulated = simulated_pod(pod, **circumstances(pod))
    termination = delete(simulated, current=timeline[-1], grace=timedelta(seconds=30), now=after(at)).transitions
    check(parse_pod(pod), [*timeline, *termination])
    assert [*timeline, *termination][-1].status.is_terminal


def test_every_manifest_has_an_expected_timeline() -> None:
    assert TIMELINES.keys() == MANIFESTS.keys()
