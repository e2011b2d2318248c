"""Simulate the log of a container. It is a function of the pod and its status, so that nothing is stored."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import NamedTuple

from app.core.timestamps import parse_rfc3339
from app.kubernetes.status import ContainerStatus, PodStatus
from app.runtimes.synthetic.pod import SECOND, SimulatedContainer, SimulatedPod

Line = tuple[datetime, str]


class _Run(NamedTuple):
    """One run of a container, as far as a status describes it.

    Attributes:
        container_id: the ID of the container in this run.
        started_at: the time of its start.
        until: the time up to which the status describes it: its end, or the last change of a condition.
        running: the container's status; None if the run has ended.
        exit_code: its exit code; None while it is running.
    """

    container_id: str
    started_at: datetime
    until: datetime
    running: ContainerStatus | None
    exit_code: int | None


def synthetic_lines(
    pod: SimulatedPod, name: str, *, previous: bool, status: Callable[[], PodStatus]
) -> Iterator[Line | None]:
    """Yield the lines of one run of a container, each with its time.

    A line contains no value of the environment and no word of the command, since both can contain secrets.

    Args:
        pod: the pod.
        name: the name of the container.
        previous: read the run before the current one. For a waiting container, the last run is read either way.
        status: reads the pod's current status.

    Returns:
        Every line so far; then None for each step without a new line. The iterator ends when the run has ended.
    """
    container = pod.container(name)
    current = status()
    container_id = _selected_run(current.container(name), previous=previous)
    yielded = 0
    while run := _find_run(current, name, container_id):
        lines = list(_lines(container, run))
        yield from lines[yielded:]
        yielded = max(yielded, len(lines))
        if run.running is None:
            return
        yield None
        current = status()


def _selected_run(status: ContainerStatus | None, *, previous: bool) -> str | None:
    """Return the container ID of the run to read; None if there is none.

    Source: `validateContainerLogStatus` of the kubelet.
    """
    if status is None:
        return None
    if not previous and not status.state.waiting:
        return status.container_id
    last = status.last_state.terminated
    return last.container_id if last else None


def _find_run(pod_status: PodStatus, container: str, container_id: str | None) -> _Run | None:
    """Return a run from a status; None if the status does not contain it (any more)."""
    status = pod_status.container(container)
    if status is None or container_id is None:
        return None
    running = status.state.running
    if running and status.container_id == container_id:
        changed_at = max(condition.last_transition_time for condition in pod_status.conditions)
        started_at = parse_rfc3339(running.started_at)
        return _Run(container_id, started_at, max(started_at, parse_rfc3339(changed_at)), status, None)
    for ended in (status.state.terminated, status.last_state.terminated):
        if ended and ended.container_id == container_id and ended.started_at and ended.finished_at:
            started_at, finished_at = parse_rfc3339(ended.started_at), parse_rfc3339(ended.finished_at)
            return _Run(container_id, started_at, finished_at, None, ended.exit_code)
    return None


def _lines(container: SimulatedContainer, run: _Run) -> Iterator[Line]:
    spec = container.spec
    if container.overrides.logs is not None:
        text = container.overrides.logs.removesuffix("\n")
        yield from ((run.started_at, line) for line in (text.split("\n") if text else ()))
        return
    command = [*(spec.command or ()), *(spec.args or ())]
    yield run.started_at, f"synthetic container {spec.name} from image {spec.image or '(none)'}"
    yield run.started_at, f"container ID {run.container_id}"
    yield run.started_at, f"command has {len(command)} words" if command else "command is the image's own"
    for port in spec.ports or ():
        yield run.started_at, f"listening on {port.container_port}/{port.protocol or 'TCP'}"
    yield run.started_at, f"started at {run.started_at:%Y-%m-%dT%H:%M:%SZ}"
    for seconds, line, is_reported in sorted(_probe_results(container, run.running), key=lambda result: result[0]):
        time = run.started_at + seconds * SECOND
        if is_reported or time < run.until or (time == run.until and run.running):
            yield time, line
    if run.running is None:
        if container.plan.failed_probe and run.until >= run.started_at + (container.plan.ends or 0) * SECOND:
            yield run.until, f"killed: the {container.plan.failed_probe} probe failed"
        yield run.until, f"exited with code {run.exit_code} at {run.until:%Y-%m-%dT%H:%M:%SZ}"


def _probe_results(
    container: SimulatedContainer, running: ContainerStatus | None
) -> Iterator[tuple[int, str, bool]]:
    """Yield the results of probes: seconds since the start, the line, whether the status contains the result."""
    spec, plan = container.spec, container.plan
    is_started = bool(running and running.started)
    is_ready = bool(running and running.ready)
    if spec.startup_probe and plan.started is not None:
        yield plan.started, "startup probe succeeded", is_started
    if spec.readiness_probe and plan.ready is not None:
        yield plan.ready, "readiness probe succeeded", is_ready
    if spec.readiness_probe and plan.unready is not None:
        yield plan.unready, "readiness probe failed", False
