from typing import Any

from app.kubernetes.conditions import build_conditions
from app.kubernetes.container_status import ContainerStatuses
from app.kubernetes.phase import ContainerPair
from app.kubernetes.pod import Container, ObjectMeta, Pod, PodReadinessGate, PodSpec
from app.kubernetes.status import (
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStateWaiting,
    ContainerStatus,
    PodCondition,
)
from tests.app.simulation import decoded

AT = "2026-11-22T08:46:38Z"
LATER = "2026-11-22T09:00:00Z"
NONE = ContainerStatuses((), ())


def a_pod(spec: PodSpec, *, generation: int | None = None) -> Pod:
    return Pod(metadata=ObjectMeta(namespace="default", name="web-0", generation=generation), spec=spec)


def a_status(
    name: str, state: ContainerState, *, ready: bool = False, started: bool = False, policy: str | None = None
) -> ContainerPair:
    status = ContainerStatus(
        name=name,
        state=state,
        last_state=ContainerState(),
        ready=ready,
        restart_count=0,
        image="nginx",
        image_id="",
        started=started,
    )
    return Container(name=name, restart_policy=policy), status


def waiting(name: str, *, policy: str | None = None) -> ContainerPair:
    return a_status(name, ContainerState(waiting=ContainerStateWaiting("ContainerCreating")), policy=policy)


def running(name: str, *, ready: bool = True, policy: str | None = None) -> ContainerPair:
    state = ContainerState(running=ContainerStateRunning(started_at=AT))
    return a_status(name, state, ready=ready, started=True, policy=policy)


def terminated(name: str, *, exit_code: int = 0) -> ContainerPair:
    state = ContainerState(terminated=ContainerStateTerminated(exit_code=exit_code, reason="Completed"))
    return a_status(name, state, ready=exit_code == 0)


def derive(
    *app: ContainerPair,
    init: tuple[ContainerPair, ...] = (),
    sandbox: bool = True,
    at: str = AT,
    phase: str = "Running",
    previous: tuple[PodCondition, ...] = (),
    **more: Any,
) -> dict[str, PodCondition]:
    spec = PodSpec(
        containers=[container for container, _ in app],
        init_containers=[container for container, _ in init],
        **more,
    )
    statuses = ContainerStatuses([status for _, status in init], [status for _, status in app])
    derived = build_conditions(a_pod(spec), statuses, phase=phase, sandbox=sandbox, at=at, previous=previous)
    return {condition.type: condition for condition in derived}


def test_the_five_conditions_are_in_kubelet_order() -> None:
    assert list(derive(running("web"))) == [
        "PodReadyToStartContainers",
        "Initialized",
        "Ready",
        "ContainersReady",
        "PodScheduled",
    ]


def test_a_condition_that_holds_gives_no_reason() -> None:
    for condition in derive(running("web"), init=(terminated("fetch"),)).values():
        assert decoded(condition) == {
            "type": condition.type,
            "status": "True",
            "lastProbeTime": None,
            "lastTransitionTime": AT,
        }


def test_without_sandbox_it_is_not_ready_to_start() -> None:
    condition = derive(waiting("web"), sandbox=False)["PodReadyToStartContainers"]
    assert (condition.status, condition.reason, condition.message) == ("False", None, None)


def test_scheduled_and_initialized_precede_running_containers() -> None:
    derived = derive(waiting("web"), sandbox=False)
    assert derived["PodScheduled"].status == derived["Initialized"].status == "True"


def test_unready_containers_are_named() -> None:
    derived = derive(waiting("db"), running("log"), waiting("web"))
    for type_ in ("Ready", "ContainersReady"):
        assert decoded(derived[type_]) == {
            "type": type_,
            "status": "False",
            "lastProbeTime": None,
            "lastTransitionTime": AT,
            "reason": "ContainersNotReady",
            "message": "containers with unready status: [db web]",
        }


def test_incomplete_init_containers_are_named() -> None:
    init = (terminated("one"), terminated("two", exit_code=1), running("three", ready=False), waiting("four"))
    assert decoded(derive(waiting("web"), init=init)["Initialized"]) == {
        "type": "Initialized",
        "status": "False",
        "lastProbeTime": None,
        "lastTransitionTime": AT,
        "reason": "ContainersNotInitialized",
        "message": "containers with incomplete status: [two three four]",
    }


def test_a_started_sidecar_counts_as_initialized() -> None:
    init = (terminated("fetch"), running("proxy", policy="Always", ready=False))
    derived = derive(waiting("web"), init=init)
    assert derived["Initialized"].status == "True"
    assert derived["Ready"].message == "containers with unready status: [proxy web]"


def test_a_sidecar_that_waits_has_not() -> None:
    assert derive(waiting("web"), init=(waiting("proxy", policy="Always"),))["Initialized"].status == "False"


def test_a_sidecar_restart_keeps_the_pod_initialized() -> None:
    init = (running("proxy", policy="Always"),)
    before = derive(waiting("web"), init=init)
    after = derive(waiting("web"), init=(waiting("proxy", policy="Always"),), previous=tuple(before.values()))
    assert after["Initialized"] == before["Initialized"]


def test_a_succeeded_pod_is_unready_as_completed() -> None:
    derived = derive(terminated("web"), init=(terminated("fetch"),), phase="Succeeded", sandbox=False)
    assert {(c.type, c.status, c.reason) for c in derived.values()} == {
        ("PodReadyToStartContainers", "False", None),
        ("Initialized", "True", "PodCompleted"),
        ("Ready", "False", "PodCompleted"),
        ("ContainersReady", "False", "PodCompleted"),
        ("PodScheduled", "True", None),
    }


def test_a_failed_pod_is_unready_as_failed() -> None:
    derived = derive(running("web"), phase="Failed")
    assert [(derived[t].status, derived[t].reason) for t in ("Ready", "ContainersReady")] == [
        ("False", "PodFailed"),
        ("False", "PodFailed"),
    ]


def test_a_readiness_gate_affects_only_ready() -> None:
    derived = derive(running("web"), readiness_gates=[PodReadinessGate(condition_type="example.com/lb")])
    assert derived["ContainersReady"].status == "True"
    assert (derived["Ready"].status, derived["Ready"].reason, derived["Ready"].message) == (
        "False",
        "ReadinessGatesNotReady",
        'corresponding condition of pod readiness gate "example.com/lb" does not exist.',
    )


def test_an_unchanged_condition_keeps_its_transition_time() -> None:
    before = derive(waiting("db"), waiting("web"), sandbox=False)
    after = derive(running("db"), waiting("web"), at=LATER, previous=tuple(before.values()))
    assert {type_: condition.last_transition_time for type_, condition in after.items()} == {
        "PodReadyToStartContainers": LATER,
        "Initialized": AT,
        "Ready": AT,
        "ContainersReady": AT,
        "PodScheduled": AT,
    }
    assert after["Ready"].message == "containers with unready status: [web]"


def test_a_changed_condition_gets_a_new_transition_time() -> None:
    ready = derive(running("web"))
    unready = derive(waiting("web"), at=LATER, previous=tuple(ready.values()))
    assert unready["Ready"].last_transition_time == LATER
    assert unready["Initialized"].last_transition_time == AT


def test_every_condition_has_its_observed_generation() -> None:
    derived = build_conditions(
        a_pod(PodSpec(containers=[]), generation=7), NONE, phase="Running", sandbox=True, at=AT
    )
    assert {condition.observed_generation for condition in derived} == {7}


def test_further_conditions_come_first() -> None:
    derived = build_conditions(
        a_pod(PodSpec(containers=[])), NONE, phase="Failed", sandbox=True, at=AT,
        also=[("DisruptionTarget", ("TerminationByKubelet", "why"))],
    )  # fmt: skip
    assert decoded(derived[0]) == {
        "type": "DisruptionTarget",
        "status": "True",
        "lastProbeTime": None,
        "lastTransitionTime": AT,
        "reason": "TerminationByKubelet",
        "message": "why",
    }
