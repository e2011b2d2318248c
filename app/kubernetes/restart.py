"""The restart policy and the back-off of restarts.

The first restart is immediate, the next one follows after 10 s, and the back-off doubles up to 5 minutes. It is
reset by a run of more than 10 minutes.

A kubelet keeps the current back-off in memory. Here it is derived from the status: from the message while the
container waits, and afterwards from the time between the end of one run and the start of the next.

Source: `ContainerShouldRestart` in `k8s.io/kubernetes/pkg/api/v1/pod` for the policy, `MaxCrashLoopBackOff`,
`doBackOff` and `newCrashLoopBackOff` of the kubelet for the back-off, and "Container restart policy" in the
Kubernetes documentation for both.
"""

import re
from datetime import timedelta

from app.core.timestamps import parse_duration, parse_rfc3339
from app.kubernetes.pod import Container, ContainerRestartRule, PodSpec
from app.kubernetes.status import ContainerStateTerminated

RESTART_ALL = "RestartAllContainers"
RESTARTING_ALL = "RestartingAllContainers"
"""The reason in the status of a container that is restarted because of another one."""
_ACTIONS = ("Restart", RESTART_ALL)
LONGEST = 300
RESET_AFTER = 600
_STEPS = (10, 20, 40, 80, 160, LONGEST)
_MESSAGE = re.compile(r"back-off (\S+) restarting failed container")


def should_restart(container: Container, spec: PodSpec, *, exit_code: int) -> bool:
    """Return whether a container that ended with `exit_code` is restarted.

    The container's rules have precedence, then its own policy, then the pod's policy, whose default is Always.
    The rules apply only if the container has a policy of its own.
    """
    policy = container.restart_policy or spec.restart_policy
    if container.restart_policy and _matching_action(container, exit_code) in _ACTIONS:
        return True
    return exit_code != 0 if policy == "OnFailure" else policy != "Never"


def restarts_all(container: Container, *, exit_code: int) -> bool:
    """Return whether the end of a container restarts all containers of its pod, init containers included.

    Source: `ShouldAllContainersRestart` of the kubelet.
    """
    return _matching_action(container, exit_code) == RESTART_ALL


def can_restart_all(spec: PodSpec) -> bool:
    """Return whether a container of a pod has a rule that restarts all of them."""
    return any(
        rule.action == RESTART_ALL
        for container in (*(spec.init_containers or ()), *spec.containers)
        for rule in container.restart_policy_rules or ()
    )


def backoff_after(ended: ContainerStateTerminated, before: ContainerStateTerminated | None) -> int:
    """Return the seconds from the end of a container to its restart; 0 means immediately.

    Args:
        ended: the run that has ended.
        before: the run before it; None if there was none.
    """
    started = ended.started_at
    if started is None or before is None or before.finished_at is None:
        return 0
    if _seconds(started, ended.finished_at or started) > RESET_AFTER:
        return 0
    return next_backoff(waited=_seconds(before.finished_at, started))


def next_backoff(*, waited: int) -> int:
    """Return the back-off after one of `waited` seconds.

    >>> [next_backoff(waited=seconds) for seconds in (0, 1, 10, 20, 160, 300)]
    [10, 10, 20, 40, 300, 300]
    """
    return next((step for step in _STEPS if step > waited), LONGEST)


def nth_backoff(restarts: int) -> int:
    """Return the back-off after a failure that follows so many restarts, without a long run among them.

    >>> [nth_backoff(restarts) for restarts in (0, 1, 2, 6, 100)]
    [0, 10, 20, 300, 300]
    """
    return _STEPS[min(restarts, len(_STEPS)) - 1] if restarts else 0


def backoff_message(seconds: int, *, container: str, pod: str) -> str:
    """Return the kubelet's message for a container in back-off.

    >>> backoff_message(160, container="web", pod="web-0_default(uid)")
    'back-off 2m40s restarting failed container=web pod=web-0_default(uid)'
    """
    minutes, rest = divmod(seconds, 60)
    return f"back-off {f'{minutes}m' if minutes else ''}{rest}s restarting failed container={container} pod={pod}"


def parse_backoff(text: str | None) -> int:
    """Return the seconds in a :func:`backoff_message`; 0 for any other text.

    >>> parse_backoff(backoff_message(160, container="web", pod="web-0_default(uid)"))
    160
    """
    match = _MESSAGE.match(text or "")
    return int(parse_duration(match[1]).total_seconds()) if match else 0


def pull_attempts(elapsed: int) -> tuple[int, int]:
    """Return the times of the last and the next attempt to pull an image, where every attempt fails.

    >>> [pull_attempts(seconds) for seconds in (0, 9, 10, 29, 30, 609, 610, 909, 10**6)]
    [(0, 10), (0, 10), (10, 30), (10, 30), (30, 70), (310, 610), (610, 910), (610, 910), (999910, 1000210)]

    Args:
        elapsed: seconds since the first attempt.

    Returns:
        Both in seconds since the first attempt.
    """
    last = 0
    for step in _STEPS:
        if elapsed < last + step:
            return last, last + step
        last += step
    last += (elapsed - last) // LONGEST * LONGEST
    return last, last + LONGEST


def _seconds(start: str, end: str) -> int:
    return (parse_rfc3339(end) - parse_rfc3339(start)) // timedelta(seconds=1)


def _matching_action(container: Container, exit_code: int) -> str | None:
    """Return the action of the first rule that matches an exit code; None if none does."""
    return next((rule.action for rule in container.restart_policy_rules or () if _matches(rule, exit_code)), None)


def _matches(rule: ContainerRestartRule, exit_code: int) -> bool:
    if rule.exit_codes is None:
        return False
    is_listed = exit_code in (rule.exit_codes.values or ())
    return is_listed if rule.exit_codes.operator == "In" else rule.exit_codes.operator == "NotIn" and not is_listed
