"""Whether a container is restarted once it has ended, and after how long.

Whether: `ContainerShouldRestart` in `k8s.io/kubernetes/pkg/api/v1/pod`. How long: `MaxCrashLoopBackOff`,
`doBackOff` and `newCrashLoopBackOff` of the kubelet. Both: "Container restart policy" in the Kubernetes
documentation. The first restart follows at once, the next after 10 s, doubling to 5 minutes. A container that has
run for more than 10 minutes starts from the beginning.

A kubelet keeps the current back-off in memory. Here it is read from the status: from the message while the
container waits, and afterwards from the time between the end of one run and the start of the next.
"""

import re
from datetime import timedelta

from app.core.timestamps import parse_duration, parse_rfc3339
from app.kubernetes.pod import Container, ContainerRestartRule, PodSpec
from app.kubernetes.status import ContainerStateTerminated

LONGEST = 300
RESET_AFTER = 600
_STEPS = (10, 20, 40, 80, 160, LONGEST)
_MESSAGE = re.compile(r"back-off (\S+) restarting failed container")


def should_restart(container: Container, spec: PodSpec, *, exit_code: int) -> bool:
    """Decide by the container's rules, else by its own policy, else by the pod's, whose default is Always.

    The rules count only where the container has a policy of its own. `RestartAllContainers` restarts the
    container that has it, and no other.
    """
    policy = container.restart_policy or spec.restart_policy
    rules = container.restart_policy_rules if container.restart_policy else None
    if rules and any(_applies(rule, exit_code) for rule in rules):
        return True
    return exit_code != 0 if policy == "OnFailure" else policy != "Never"


def backoff_after(ended: ContainerStateTerminated, before: ContainerStateTerminated | None) -> int:
    """Say how many seconds after its end a container is restarted; 0 means at once.

    Args:
        ended: the run that is over.
        before: the run before that one, None where there was none.
    """
    started = ended.started_at
    if started is None or before is None or before.finished_at is None:
        return 0
    if _seconds(started, ended.finished_at or started) > RESET_AFTER:
        return 0
    return next_backoff(waited=_seconds(before.finished_at, started))


def next_backoff(*, waited: int) -> int:
    """Give the pause that follows one of so many seconds.

    >>> [next_backoff(waited=seconds) for seconds in (0, 1, 10, 20, 160, 300)]
    [10, 10, 20, 40, 300, 300]
    """
    return next((step for step in _STEPS if step > waited), LONGEST)


def backoff_message(seconds: int, *, container: str, pod: str) -> str:
    """Say what a kubelet says while a container waits to be restarted.

    >>> backoff_message(160, container="web", pod="web-0_default(uid)")
    'back-off 2m40s restarting failed container=web pod=web-0_default(uid)'
    """
    minutes, rest = divmod(seconds, 60)
    return f"back-off {f'{minutes}m' if minutes else ''}{rest}s restarting failed container={container} pod={pod}"


def parse_backoff(text: str | None) -> int:
    """Read the seconds out of a :func:`backoff_message`.

    >>> parse_backoff(backoff_message(160, container="web", pod="web-0_default(uid)"))
    160
    """
    match = _MESSAGE.match(text or "")
    return int(parse_duration(match[1]).total_seconds()) if match else 0


def pull_attempts(elapsed: int) -> tuple[int, int]:
    """Say when an image was last tried to be pulled, and when it is next, where it never succeeds.

    >>> [pull_attempts(seconds) for seconds in (0, 9, 10, 29, 30, 609, 610, 909, 10**6)]
    [(0, 10), (0, 10), (10, 30), (10, 30), (30, 70), (310, 610), (610, 910), (610, 910), (999910, 1000210)]

    Args:
        elapsed: seconds since the first time.

    Returns:
        Both in seconds since the first time.
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


def _applies(rule: ContainerRestartRule, exit_code: int) -> bool:
    if rule.exit_codes is None or rule.action not in ("Restart", "RestartAllContainers"):
        return False
    is_listed = exit_code in (rule.exit_codes.values or ())
    return is_listed if rule.exit_codes.operator == "In" else rule.exit_codes.operator == "NotIn" and not is_listed
