"""What a synthetic container would have written: a function of the pod and its status, so nothing is stored."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import NamedTuple

from app.core.timestamps import parse_rfc3339
from app.kubernetes.status import ContainerStatus, PodStatus
from app.runtimes.synthetic.pod import SECOND, SimulatedContainer, SimulatedPod

Line = tuple[datetime, str]


class _Run(NamedTuple):
    """What a status tells of one run of a container.

    Attributes:
        container_id: which run.
        begun: when it started.
        until: the time up to which the status tells of it.
        running: the container's status, None where the run has ended.
        exit_code: what it ended with, None where it runs.
    """

    container_id: str
    begun: datetime
    until: datetime
    running: ContainerStatus | None
    exit_code: int | None


def synthetic_lines(
    pod: SimulatedPod, name: str, *, previous: bool, status: Callable[[], PodStatus]
) -> Iterator[Line | None]:
    """Give what one run of a container wrote, each line with its time.

    Names of what it was given, never a value: an environment and a command line hold secrets.

    Args:
        pod: the pod.
        name: the name of the container.
        previous: the run before the present one. Of a container that waits, the last run is read either way.
        status: reads the pod's status anew.

    Returns:
        Every line so far; then None, each time that nothing more is there yet; the end when the run has ended.
    """
    containers = (*pod.init, *pod.regular, *pod.ephemeral)
    container = next(container for container in containers if container.spec.name == name)
    now = status()
    which = _which(now.container(name), previous=previous)
    given = 0
    while run := _read(now, name, which):
        written = list(_written(container, run))
        yield from written[given:]
        given = max(given, len(written))
        if run.running is None:
            return
        yield None
        now = status()


def _which(status: ContainerStatus | None, *, previous: bool) -> str | None:
    """Say which run is read. Source: `validateContainerLogStatus` of the kubelet."""
    if status is None:
        return None
    if not previous and not status.state.waiting:
        return status.container_id
    last = status.last_state.terminated
    return last.container_id if last else None


def _read(now: PodStatus, container: str, which: str | None) -> _Run | None:
    """Find out what a status says of a run; None where it says nothing (any more)."""
    status = now.container(container)
    if status is None or which is None:
        return None
    running = status.state.running
    if running and status.container_id == which:
        told = max(condition.last_transition_time for condition in now.conditions)
        begun = parse_rfc3339(running.started_at)
        return _Run(which, begun, max(begun, parse_rfc3339(told)), status, None)
    for ended in (status.state.terminated, status.last_state.terminated):
        if ended and ended.container_id == which and ended.started_at and ended.finished_at:
            begun, finished = parse_rfc3339(ended.started_at), parse_rfc3339(ended.finished_at)
            return _Run(which, begun, finished, None, ended.exit_code)
    return None


def _written(container: SimulatedContainer, run: _Run) -> Iterator[Line]:
    spec = container.spec
    if container.overrides.logs is not None:
        text = container.overrides.logs.removesuffix("\n")
        yield from ((run.begun, line) for line in (text.split("\n") if text else ()))
        return
    command = [*(spec.command or ()), *(spec.args or ())]
    yield run.begun, f"synthetic container {spec.name} from image {spec.image or '(none)'}"
    yield run.begun, f"container ID {run.container_id}"
    yield run.begun, f"command has {len(command)} words" if command else "command is the image's own"
    for port in spec.ports or ():
        yield run.begun, f"listening on {port.container_port}/{port.protocol or 'TCP'}"
    yield run.begun, f"started at {run.begun:%Y-%m-%dT%H:%M:%SZ}"
    for seconds, line, is_seen in sorted(_probed(container, run.running), key=lambda probed: probed[0]):
        time = run.begun + seconds * SECOND
        if is_seen or time < run.until or (time == run.until and run.running):
            yield time, line
    if run.running is None:
        if container.plan.failed_probe and run.until >= run.begun + (container.plan.ends or 0) * SECOND:
            yield run.until, f"killed: the {container.plan.failed_probe} probe failed"
        yield run.until, f"exited with code {run.exit_code} at {run.until:%Y-%m-%dT%H:%M:%SZ}"


def _probed(container: SimulatedContainer, running: ContainerStatus | None) -> Iterator[tuple[int, str, bool]]:
    """Give the results of probes: seconds since the start, what to write, whether the status shows it."""
    spec, plan = container.spec, container.plan
    is_started = bool(running and running.started)
    is_ready = bool(running and running.ready)
    if spec.startup_probe and plan.started is not None:
        yield plan.started, "startup probe succeeded", is_started
    if spec.readiness_probe and plan.ready is not None:
        yield plan.ready, "readiness probe succeeded", is_ready
    if spec.readiness_probe and plan.unready is not None:
        yield plan.unready, "readiness probe failed", False
