"""Invariants of every timeline of every pod, which all tests of timelines check."""

from collections.abc import Collection, Iterable
from datetime import datetime
from itertools import pairwise

from app.core.timestamps import parse_rfc3339, rfc3339
from app.kubernetes.env import CONFIG_ERROR, missing_object
from app.kubernetes.pod import Container, Pod
from app.kubernetes.restart import should_restart
from app.kubernetes.status import (
    ContainerStatus,
    PodCondition,
    PodStatus,
    Transition,
    decode_status,
    encode_status,
)

Entry = tuple[Pod, Transition]
"""A transition, and the pod at that time."""

_MOVES = {
    ("Pending", "Running"),
    ("Pending", "Succeeded"),
    ("Pending", "Failed"),
    ("Pending", "Unknown"),
    ("Running", "Succeeded"),
    ("Running", "Failed"),
    ("Running", "Unknown"),
    ("Unknown", "Failed"),
    ("Unknown", "Succeeded"),
}


def check(pod: Pod, timeline: Iterable[Transition]) -> None:
    """Check the timeline of a pod that is not updated."""
    check_history([(pod, transition) for transition in timeline])


def check_history(history: list[Entry], *, leaps: Collection[datetime] = ()) -> None:
    """Check the history of a pod that may have been updated.

    Args:
        history: the transitions, each with the pod at its time.
        leaps: the times of statuses before which others were skipped, because the pod was not read.
    """
    for pod, transition in history:
        _check_status(pod, transition)
    pod, first = history[0]
    for entry in first.status.all_containers:
        _check_environment(_spec(pod, entry.name), None, entry)
    for (_, before), (pod, after) in pairwise(history):
        assert before.effective_at < after.effective_at, "times increase"
        assert before.status != after.status, "consecutive statuses differ"
        _check_move(pod, before, after, leaps=after.effective_at in leaps)


def _check_status(pod: Pod, transition: Transition) -> None:
    effective_at, status = transition
    assert decode_status(encode_status(status)) == status
    _check_containers(pod, status)
    conditions = {condition.type: condition for condition in status.conditions}
    assert len(conditions) == len(status.conditions), "each condition once"
    for condition in status.conditions:
        assert parse_rfc3339(condition.last_transition_time) <= effective_at
    for entry in status.all_containers:
        _check_container(entry, effective_at)
    assert parse_rfc3339(status.start_time) <= effective_at
    assert status.pod_ip == (status.pod_ips[0].ip if status.pod_ips else None)
    if status.phase != "Unknown":
        _check_conditions(pod, status, conditions)
    _check_phase(pod, status)


def _check_containers(pod: Pod, status: PodStatus) -> None:
    """Check that every container of the spec has an entry, and that there is no other."""
    for specs, entries in (
        (pod.spec.init_containers, status.init_container_statuses),
        (pod.spec.containers, status.container_statuses),
        (pod.spec.ephemeral_containers, status.ephemeral_container_statuses),
    ):
        names = [spec.name for spec in specs or ()]
        listed = [entry.name for entry in entries]
        assert listed == (names if entries is status.init_container_statuses else sorted(names))


def _check_container(entry: ContainerStatus, effective_at: datetime) -> None:
    states = (entry.state.waiting, entry.state.running, entry.state.terminated)
    assert sum(state is not None for state in states) == 1, "exactly one state"
    assert entry.last_state.waiting is None
    assert entry.last_state.running is None
    if entry.started:
        assert entry.state.running
    if entry.ready:
        assert (entry.state.running and entry.started) or (
            entry.state.terminated and entry.state.terminated.exit_code == 0
        )
    if entry.state.running:
        assert entry.container_id
        assert entry.image_id or not entry.image
        assert bool(entry.restart_count) == bool(entry.last_state.terminated)
    times: list[str] = []
    for ended in (entry.last_state.terminated, entry.state.terminated):
        if ended:
            times += [time for time in (ended.started_at, ended.finished_at) if time]
            assert (ended.reason == "Completed") == (ended.exit_code == 0)
    if entry.state.running:
        times.append(entry.state.running.started_at)
    assert times == sorted(times), "one run after the other"
    assert all(parse_rfc3339(time) <= effective_at for time in times), "no time is later than the status"


def _check_environment(spec: Container, before: ContainerStatus | None, entry: ContainerStatus) -> None:
    """A container whose environment is incomplete is not started."""
    message = missing_object(spec)
    if message and (before is None or not before.state.running):
        assert not entry.state.running
        waiting = entry.state.waiting
        assert not (
            waiting
            and waiting.reason == CONFIG_ERROR
            and waiting.message not in (message, f'configmap "{spec.name}" not found')
        )


def _check_conditions(pod: Pod, status: PodStatus, conditions: dict[str, PodCondition]) -> None:
    kubelets = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]
    assert [condition.type for condition in status.conditions][-5:] == kubelets
    holds = {type_: condition.status == "True" for type_, condition in conditions.items()}
    sidecars = {spec.name for spec in pod.spec.init_containers or () if spec.restart_policy == "Always"}
    counted = [
        *(entry for entry in status.init_container_statuses if entry.name in sidecars),
        *status.container_statuses,
    ]
    all_ready = all(entry.ready for entry in counted)
    assert holds["ContainersReady"] == (all_ready and not status.is_terminal), "ContainersReady is all ready"
    assert holds["Ready"] == (holds["ContainersReady"] and not pod.spec.readiness_gates)
    assert holds["PodScheduled"]
    is_any_running = any(entry.state.running for entry in status.all_containers)
    if is_any_running:
        assert holds["PodReadyToStartContainers"], "a container needs a sandbox"
        assert status.pod_ips
    if any(entry.state.running for entry in status.container_statuses):
        assert holds["Initialized"], "containers come after the init containers"
    assert {condition.observed_generation for condition in status.conditions} == {pod.metadata.generation}
    assert status.observed_generation == pod.metadata.generation


def _check_phase(pod: Pod, status: PodStatus) -> None:
    regular = status.container_statuses
    if status.phase == "Running":
        assert all(entry.container_id for entry in regular), "a pod is Running once all of its containers have run"
    if status.is_terminal:
        assert not any(entry.state.running for entry in status.all_containers), (
            "nothing runs in a pod that has ended"
        )
    if status.phase == "Succeeded":
        assert all(entry.state.terminated and entry.state.terminated.exit_code == 0 for entry in regular)
    if status.reason:
        assert status.phase in ("Failed", "Unknown")


def _check_move(pod: Pod, earlier: Transition, later: Transition, *, leaps: bool) -> None:
    before, after = earlier.status, later.status
    assert before.phase == after.phase or (before.phase, after.phase) in _MOVES
    assert not before.is_terminal, "a terminal pod never changes again"
    assert before.start_time == after.start_time
    if before.pod_ips and after.pod_ips:
        assert before.pod_ips == after.pod_ips
    was = {condition.type: condition for condition in before.conditions}
    for condition in after.conditions:
        known = was.get(condition.type)
        is_same = known is not None and known.status == condition.status
        since = known.last_transition_time if known and is_same else rfc3339(later.effective_at)
        is_missed = leaps and condition.last_transition_time > rfc3339(earlier.effective_at)
        assert condition.last_transition_time == since or is_missed, "transition times move only with their status"
    for entry in after.all_containers:
        known_entry = before.container(entry.name)
        if not leaps:
            _check_environment(_spec(pod, entry.name), known_entry, entry)
        if known_entry:
            _check_container_move(pod, known_entry, entry)


def _check_container_move(pod: Pod, before: ContainerStatus, after: ContainerStatus) -> None:
    assert after.restart_count >= before.restart_count
    if after.restart_count == before.restart_count and before.container_id:
        assert after.container_id == before.container_id
        if before.state.running and after.state.running:
            assert before.state.running == after.state.running, "what runs keeps its start"
        if before.state.terminated and not after.state.waiting:
            assert before.state.terminated == after.state.terminated, "what has ended keeps its end"
    elif after.restart_count > before.restart_count:
        assert after.container_id != before.container_id
    ended = before.state.terminated
    spec = _spec(pod, after.name)
    if ended and after.image == before.image:
        restartable = should_restart(spec, pod.spec, exit_code=ended.exit_code)
        assert after.state.terminated or restartable, "what has ended for good does not come back"


def _spec(pod: Pod, name: str) -> Container:
    return next(spec for spec in pod.spec.all_containers if spec.name == name)
