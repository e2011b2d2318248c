from app.lifecycle import containers
from app.lifecycle.conditions import conditions
from app.lifecycle.manifest import Container
from app.lifecycle.status import (
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStatus,
    PodCondition,
)
from tests.lifecycle import wire

AT = "2026-11-22T08:46:38Z"
LATER = "2026-11-22T09:00:00Z"


def waiting(name: str) -> ContainerStatus:
    return containers.waiting(Container(name=name, image="nginx"), reason="ContainerCreating")


def running(name: str) -> ContainerStatus:
    return containers.running(Container(name=name, image="nginx"), pod_uid="uid", at=AT, previous=None)


def in_state(name: str, state: ContainerState, *, started: bool = False) -> ContainerStatus:
    """An init container that has not completed."""
    return ContainerStatus(
        name=name,
        state=state,
        last_state=ContainerState(),
        ready=False,
        restart_count=0,
        image="nginx",
        image_id="",
        started=started,
    )


def completed(name: str) -> ContainerStatus:
    return containers.completed(Container(name=name, image="nginx"), pod_uid="uid", at=AT, previous=None)


def failed(name: str) -> ContainerStatus:
    terminated = ContainerStateTerminated(
        exit_code=1, reason="Error", started_at=AT, finished_at=AT, container_id="synthetic://1"
    )
    return in_state(name, ContainerState(terminated=terminated))


def still_running(name: str) -> ContainerStatus:
    return in_state(name, ContainerState(running=ContainerStateRunning(started_at=AT)), started=True)


def derive(
    *app: ContainerStatus,
    init: tuple[ContainerStatus, ...] = (),
    sandbox: bool = True,
    at: str = AT,
    previous: tuple[PodCondition, ...] = (),
) -> dict[str, PodCondition]:
    derived = conditions(sandbox=sandbox, init_containers=init, containers=app, at=at, previous=previous)
    return {condition.type: condition for condition in derived}


def test_there_are_the_five_of_a_kubelet_in_its_order() -> None:
    assert list(derive(running("web"))) == [
        "PodReadyToStartContainers",
        "Initialized",
        "Ready",
        "ContainersReady",
        "PodScheduled",
    ]


def test_a_condition_that_holds_gives_no_reason() -> None:
    for condition in derive(running("web"), init=(completed("fetch"),)).values():
        assert wire(condition) == {
            "type": condition.type,
            "status": "True",
            "lastProbeTime": None,
            "lastTransitionTime": AT,
        }


def test_a_pod_without_its_sandbox_is_not_ready_to_start_containers() -> None:
    condition = derive(waiting("web"), sandbox=False)["PodReadyToStartContainers"]
    assert (condition.status, condition.reason, condition.message) == ("False", None, None)


def test_a_pod_is_scheduled_and_initialized_before_its_containers_run() -> None:
    derived = derive(waiting("web"), sandbox=False)
    assert derived["PodScheduled"].status == derived["Initialized"].status == "True"


def test_a_pod_whose_containers_are_not_ready_says_which() -> None:
    derived = derive(waiting("db"), running("log"), waiting("web"))
    for type_ in ("Ready", "ContainersReady"):
        assert wire(derived[type_]) == {
            "type": type_,
            "status": "False",
            "lastProbeTime": None,
            "lastTransitionTime": AT,
            "reason": "ContainersNotReady",
            "message": "containers with unready status: [db web]",
        }


def test_a_pod_whose_init_containers_are_not_done_says_which() -> None:
    init = (completed("one"), failed("two"), still_running("three"), waiting("four"))
    assert wire(derive(waiting("web"), init=init)["Initialized"]) == {
        "type": "Initialized",
        "status": "False",
        "lastProbeTime": None,
        "lastTransitionTime": AT,
        "reason": "ContainersNotInitialized",
        "message": "containers with incomplete status: [two three four]",
    }


def test_a_sidecar_that_runs_has_done_its_part() -> None:
    assert derive(waiting("web"), init=(completed("fetch"), running("proxy")))["Initialized"].status == "True"


def test_a_sidecar_that_waits_has_not() -> None:
    assert derive(waiting("web"), init=(waiting("proxy"),))["Initialized"].status == "False"


def test_a_condition_keeps_its_time_while_its_status_is_the_same() -> None:
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


def test_a_condition_takes_its_time_anew_when_it_goes_back() -> None:
    ready = derive(running("web"))
    unready = derive(waiting("web"), at=LATER, previous=tuple(ready.values()))
    assert unready["Ready"].last_transition_time == LATER
    assert unready["Initialized"].last_transition_time == AT


def test_every_condition_says_which_generation_it_describes() -> None:
    derived = conditions(
        sandbox=True, init_containers=(), containers=(running("web"),), at=AT, observed_generation=7
    )
    assert {condition.observed_generation for condition in derived} == {7}
