"""`/metrics/probes`: probes counted by their periods and by the status of the container."""

import json
from datetime import timedelta
from typing import Any

from broker.kubelet.schema import Pod, parse_pod
from broker.kubelet.stats.probes import ProbeCounter
from tests.broker.kubelet.stats.conftest import NOW, samples

STARTED_AT = "2026-11-22T08:59:00Z"  # a minute before NOW


def probed(probes: dict[str, Any], *, started_at: str = STARTED_AT, **status: Any) -> Pod:
    """Return a pod with a running container that has these probes."""
    return parse_pod(
        json.dumps(
            {
                "metadata": {"namespace": "shop", "name": "web", "uid": "u"},
                "spec": {"containers": [{"name": "app", **probes}]},
                "status": {
                    "containerStatuses": [
                        {"name": "app", "state": {"running": {"startedAt": started_at}}, **status}
                    ]
                },
            }
        ).encode()
    )


def counted(counter: ProbeCounter, pod: Pod, *, seconds: float = 0) -> dict[tuple[str, str], float]:
    """Return (type, result) → number."""
    text = counter.metrics([pod], now=NOW + timedelta(seconds=seconds))
    return {(key[-2], key[-1]): value for key, value in samples(text).items()}


READINESS = {"readinessProbe": {"periodSeconds": 5, "initialDelaySeconds": 20}}


def test_one_probe_for_each_period_that_passed() -> None:
    counter = ProbeCounter()
    assert counted(counter, probed(READINESS, ready=True)) == {("Readiness", "successful"): 8}
    assert counted(counter, probed(READINESS, ready=True), seconds=4) == {("Readiness", "successful"): 8}
    assert counted(counter, probed(READINESS, ready=True), seconds=5) == {("Readiness", "successful"): 9}


def test_the_result_is_that_of_the_status() -> None:
    counter = ProbeCounter()
    counted(counter, probed(READINESS, ready=True))
    found = counted(counter, probed(READINESS, ready=False), seconds=10)
    assert found == {("Readiness", "successful"): 8, ("Readiness", "failed"): 2}


def test_only_the_startup_probe_runs_at_first() -> None:
    probes = {"startupProbe": {"periodSeconds": 20}, "livenessProbe": {}, **READINESS}
    counter = ProbeCounter()
    assert counted(counter, probed(probes, started=False)) == {("Startup", "failed"): 3}
    found = counted(counter, probed(probes, started=True, ready=True), seconds=1)
    assert found["Startup", "failed"] == 3
    assert found["Startup", "successful"] == 1
    assert found["Liveness", "successful"] == 6


WAITING = {"waiting": {"reason": "CrashLoopBackOff"}}


def test_a_container_that_does_not_run_is_not_probed() -> None:
    assert counted(ProbeCounter(), probed(READINESS, state=WAITING)) == {}


def test_a_container_that_restarts_is_counted_on() -> None:
    """Also where it waits at a scrape, or its startup probe runs again."""
    probes = {"startupProbe": {"periodSeconds": 20}, **READINESS}
    counter = ProbeCounter()
    first = counted(counter, probed(probes, started=True, ready=True))
    assert first == {("Startup", "successful"): 1, ("Readiness", "successful"): 8}
    assert counted(counter, probed(probes, state=WAITING), seconds=30) == first
    again = "2026-11-22T09:01:00Z"
    starts = probed(probes, started=False, started_at=again)
    assert counted(counter, starts, seconds=85) == first | {("Startup", "failed"): 1}
    runs = probed(probes, started=True, ready=True, started_at=again)
    assert counted(counter, runs, seconds=90) == {
        ("Startup", "successful"): 2,
        ("Startup", "failed"): 1,
        ("Readiness", "successful"): 10,
    }
