"""Probes determine when a container is started and ready, and when it is killed."""

from typing import Any

import pytest

from app.runtimes.synthetic.annotations import ContainerOverrides
from app.runtimes.synthetic.probes import ENDLESS, RunPlan, plan_run
from tests.app.runtimes.synthetic.invariants import check
from tests.app.simulation import after, annotated, container, parse_pod, transitions_of, transitions_until
from tests.pods import a_container, a_pod


def run_of(
    probes: dict[str, Any], orders: ContainerOverrides | None = None, *, lasts: int | None = None
) -> RunPlan:
    spec = parse_pod(a_pod(containers=[a_container(**probes)])).spec.containers[0]
    return plan_run(spec, orders or ContainerOverrides(), duration=lasts, grace=30)


@pytest.mark.parametrize(
    ("probes", "started", "ready"),
    [
        pytest.param({}, 0, 0, id="none"),
        pytest.param({"readinessProbe": {}}, 0, 0, id="readiness"),
        pytest.param({"readinessProbe": {"initialDelaySeconds": 7}}, 0, 7, id="its delay"),
        pytest.param({"readinessProbe": {"successThreshold": 3}}, 0, 20, id="three times, every 10 s"),
        pytest.param({"readinessProbe": {"successThreshold": 3, "periodSeconds": 2}}, 0, 4, id="every 2 s"),
        pytest.param(
            {"readinessProbe": {"initialDelaySeconds": 5, "successThreshold": 2, "periodSeconds": 3}}, 0, 8,
            id="all of its fields",
        ),
        pytest.param({"startupProbe": {"initialDelaySeconds": 9}}, 9, 9, id="startup"),
        pytest.param(
            {"startupProbe": {"initialDelaySeconds": 9}, "readinessProbe": {"initialDelaySeconds": 4}}, 9, 9,
            id="readiness waits for startup",
        ),
        pytest.param(
            {"startupProbe": {"initialDelaySeconds": 9}, "readinessProbe": {"initialDelaySeconds": 14}},
            9, 14, id="both count from the start",
        ),
        pytest.param({"livenessProbe": {"initialDelaySeconds": 9}}, 0, 0, id="liveness"),
        pytest.param(
            {"readinessProbe": {"periodSeconds": 2**31 - 1, "successThreshold": 2**31 - 1}}, 0, None, id="never"
        ),
    ],
)  # fmt: skip
def test_successful_probes_set_started_and_ready(probes: dict[str, Any], started: int, ready: int | None) -> None:
    found = run_of(probes)
    assert (found.started, found.ready, found.unready, found.ends) == (started, ready, None, None)


@pytest.mark.parametrize(
    ("fail", "probe", "expected"),
    [
        pytest.param("StartupProbe", {}, (None, None, None, 50), id="startup: 3 times, and the grace"),
        pytest.param(
            "StartupProbe", {"initialDelaySeconds": 5, "periodSeconds": 1, "failureThreshold": 10},
            (None, None, None, 44), id="startup: its fields",
        ),
        pytest.param(
            "StartupProbe", {"terminationGracePeriodSeconds": 1}, (None, None, None, 21),
            id="its own grace"
        ),
        pytest.param("ReadinessProbe", {"periodSeconds": 2}, (0, 0, 10, None), id="readiness: after 5 s, 3 times"),
        pytest.param(
            "ReadinessProbe", {"initialDelaySeconds": 5}, (0, None, 25, None), id="readiness: never once ready"
        ),
        pytest.param("LivenessProbe", {"periodSeconds": 5}, (0, 0, None, 45), id="liveness: and the grace"),
        pytest.param(
            "LivenessProbe", {"periodSeconds": 5, "failureThreshold": 1, "terminationGracePeriodSeconds": 2},
            (0, 0, None, 7), id="liveness: its fields",
        ),
    ],
)  # fmt: skip
def test_a_probe_that_fails_shapes_the_run(
    fail: Any, probe: dict[str, Any], expected: tuple[int | None, ...]
) -> None:
    kind = fail[0].lower() + fail[1:]
    found = run_of({kind: probe}, ContainerOverrides(fail=fail))
    assert (found.started, found.ready, found.unready, found.ends) == expected
    if found.ends:
        assert (found.exit_code, found.reason) == (137, "Error")


def test_a_readiness_probe_may_never_succeed() -> None:
    found = run_of({"readinessProbe": {}}, ContainerOverrides(fail="ReadinessProbe", fail_after=0))
    assert (found.started, found.ready, found.ends) == (0, None, None)


def test_a_container_may_end_before_its_probe_fails() -> None:
    found = run_of({"livenessProbe": {}}, ContainerOverrides(fail="LivenessProbe", run_for=7))
    assert (found.ends, found.exit_code, found.failed_probe) == (7, 0, None)


@pytest.mark.parametrize(
    ("orders", "lasts", "expected"),
    [
        pytest.param(ContainerOverrides(), None, (None, 0, "Completed"), id="a service"),
        pytest.param(ContainerOverrides(), 5, (5, 0, "Completed"), id="a job"),
        pytest.param(ContainerOverrides(run_for=9), 5, (9, 0, "Completed"), id="run-for"),
        pytest.param(ContainerOverrides(exit_code=3), 5, (5, 3, "Error"), id="exit-code"),
        pytest.param(
            ContainerOverrides(exit_code=3), 0, (1, 3, "Error"), id="an init container that fails takes some time"
        ),
        pytest.param(ContainerOverrides(fail="CrashLoopBackOff"), None, (5, 1, "Error"), id="crashes"),
        pytest.param(
            ContainerOverrides(fail="CrashLoopBackOff", fail_after=2),
            9,
            (2, 1, "Error"),
            id="crashes after a time",
        ),
        pytest.param(
            ContainerOverrides(fail="CrashLoopBackOff", fail_after=0), None, (1, 1, "Error"), id="crashes at once"
        ),
        pytest.param(
            ContainerOverrides(fail="CrashLoopBackOff", exit_code=0), 9, (5, 0, "Completed"), id="crashes well"
        ),
        pytest.param(
            ContainerOverrides(fail="OOMKilled", exit_code=3), 9, (5, 137, "OOMKilled"), id="out of memory"
        ),
    ],
)
def test_a_run_ends_as_it_is_asked_to(
    orders: ContainerOverrides, lasts: int | None, expected: tuple[int | None, int, str]
) -> None:
    found = run_of({}, orders, lasts=lasts)
    assert (found.ends, found.exit_code, found.reason) == expected


def test_a_service_without_probes_has_a_plain_run() -> None:
    assert run_of({}) is ENDLESS


def test_started_and_ready_appear_in_the_timeline() -> None:
    probes: dict[str, Any] = {
        "startupProbe": {"initialDelaySeconds": 3},
        "readinessProbe": {"initialDelaySeconds": 8},
    }
    pod = a_pod(containers=[a_container(**probes)])
    timeline = transitions_of(pod)
    check(parse_pod(pod), timeline)
    assert [(at, container(s).started, container(s).ready) for at, s in timeline] == [
        (timeline[0].effective_at, False, False),
        (after(3), True, False),
        (after(8), True, True),
    ]
    assert {status.phase for _, status in timeline} == {"Running"}


def test_a_sidecar_startup_probe_delays_later_containers() -> None:
    sidecar = a_container("proxy", restartPolicy="Always", startupProbe={"initialDelaySeconds": 4})
    timeline = transitions_of(a_pod(initContainers=[sidecar]))
    assert [(at, s.phase) for at, s in timeline] == [(timeline[0].effective_at, "Pending"), (after(4), "Running")]


def test_a_failing_liveness_probe_restarts_the_container() -> None:
    probe = {"periodSeconds": 1, "failureThreshold": 1, "terminationGracePeriodSeconds": 1}
    pod = annotated(a_pod(containers=[a_container(livenessProbe=probe)]), fail="LivenessProbe")
    timeline = transitions_until(pod, until=after(100))
    check(parse_pod(pod), timeline)
    ended = container(timeline[1].status).state.terminated
    assert ended
    assert (timeline[1].effective_at, ended.exit_code, ended.reason) == (after(6), 137, "Error")
    assert container(timeline[-1].status).restart_count == 4


def test_a_failing_readiness_probe_only_makes_it_unready() -> None:
    pod = annotated(a_pod(containers=[a_container(readinessProbe={"periodSeconds": 1})]), fail="ReadinessProbe")
    at, status = transitions_of(pod)[-1]
    assert (at, status.phase, container(status).started, container(status).ready) == (
        after(7),
        "Running",
        True,
        False,
    )
