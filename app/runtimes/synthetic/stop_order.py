"""Compute when the containers of a pod end that is being stopped, and with which exit codes.

The problem: the containers share one grace period, but do not end together. A sidecar serves the others until they
have ended, and a hook can delay SIGTERM.

The rule: all containers are stopped at the same time, each in three steps. Its preStop hook runs. A sidecar then
waits until every regular container and every later sidecar has ended. Then the container gets SIGTERM and ends
`stop-after` later; it is killed when the rest of the grace period is over, but not before two seconds have passed.
The hook and the wait last no longer than the grace period.

An example: a container, the sidecars `proxy` and `logger` in this order, a `stop-after` of 4 s for both sidecars,
a grace period of 30 s. The container ends at 0 s, `logger` at 4 s, `proxy` at 8 s. With a grace period of 5 s
`proxy` has 2 s left at 4 s, and is killed at 6 s.

Source: `killContainer` and `terminationOrdering` of the kubelet.
"""

from datetime import datetime
from typing import NamedTuple

from app.core.timestamps import parse_rfc3339
from app.kubernetes.container_status import KILLED
from app.kubernetes.status import ContainerStatus
from app.runtimes.synthetic.pod import SECOND, SimulatedContainer

TERMINATED = 143
"""The exit code of a process that SIGTERM ended."""
LEAST_GRACE = 2
"""The least number of seconds from SIGTERM to SIGKILL."""

Pairs = list[tuple[SimulatedContainer, ContainerStatus]]


class ContainersByKind(NamedTuple):
    """The containers of a pod with their statuses, each kind in the order of the spec."""

    init: Pairs
    regular: Pairs
    ephemeral: Pairs


class Stop(NamedTuple):
    """The end of a container that is stopped; without a reason, it follows from the exit code."""

    at: datetime
    exit_code: int
    reason: str | None = None


def plan_stops(pairs: ContainersByKind, *, stopped_at: datetime, grace: int) -> dict[str, Stop]:
    """Return the end of each running container: name → stop.

    Args:
        pairs: the containers with their current statuses.
        stopped_at: the time at which the pod is stopped, in whole seconds.
        grace: the grace period in seconds.
    """
    stops: dict[str, Stop] = {}
    others_ended_at = stopped_at
    sidecars = [pair for pair in reversed(pairs.init) if pair[0].kind == "sidecar"]
    for container, status in (*pairs.regular, *sidecars):
        if status.state.running:
            turn_at = others_ended_at if container.kind == "sidecar" else stopped_at
            stops[status.name] = _stop(container, status, stopped_at, turn_at=turn_at, grace=grace)
            others_ended_at = max(others_ended_at, stops[status.name].at)
        elif status.state.terminated and status.state.terminated.finished_at:
            others_ended_at = max(others_ended_at, parse_rfc3339(status.state.terminated.finished_at))
    for container, status in (*pairs.init, *pairs.ephemeral):
        if status.state.running and container.kind != "sidecar":
            stops[status.name] = _stop(container, status, stopped_at, turn_at=stopped_at, grace=grace)
    return stops


def _stop(
    container: SimulatedContainer, status: ContainerStatus, stopped_at: datetime, *, turn_at: datetime, grace: int
) -> Stop:
    """Return the end of a running container whose turn to get SIGTERM comes at `turn_at`.

    A container that exits by itself before that ends as planned. Otherwise the exit code is 0 for a container
    without a planned end (a server), 143 for one with unfinished work, and 137 for one that is killed.
    """
    grace_ends_at = stopped_at + grace * SECOND
    hook_ends_at = stopped_at + min(container.pre_stop, grace) * SECOND
    sigterm_at = max(hook_ends_at, min(turn_at, grace_ends_at))
    exits_at = sigterm_at + container.overrides.stop_after * SECOND
    killed_at = max(grace_ends_at, sigterm_at + LEAST_GRACE * SECOND)
    plan = container.plan
    if plan.ends is not None and plan.failed_probe is None and status.state.running:
        own_end = max(stopped_at, parse_rfc3339(status.state.running.started_at) + plan.ends * SECOND)
        if own_end < min(exits_at, killed_at):
            return Stop(own_end, plan.exit_code, plan.reason)
    if exits_at > killed_at:
        return Stop(killed_at, KILLED)
    is_unfinished = container.kind == "init" or (plan.ends is not None and plan.reason != "OOMKilled")
    return Stop(exits_at, TERMINATED if is_unfinished else 0)
