"""How long a kubelet waits before it tries again.

Source: `MaxCrashLoopBackOff`, `doBackOff` and `newCrashLoopBackOff` of the kubelet, "Container restart policy" in
the Kubernetes documentation. A first try costs nothing, then 10 s, doubling to 5 minutes. A container that has run
for more than 10 minutes begins anew.

A kubelet keeps in memory how far a container has got; here the status tells it: in the message while the
container waits, and afterwards in the time between the end of one run and the start of the next.
"""

import re
from datetime import timedelta

from app.lifecycle.status import ContainerStateTerminated
from app.lifecycle.times import parse_duration, parse_rfc3339

LONGEST = 300
RESET_AFTER = 600
_STEPS = (10, 20, 40, 80, 160, LONGEST)
_MESSAGE = re.compile(r"back-off (\S+) restarting failed container")


def pause(ended: ContainerStateTerminated, before: ContainerStateTerminated | None) -> int:
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
    return next_pause(waited=_seconds(before.finished_at, started))


def next_pause(*, waited: int) -> int:
    """Give the pause that follows one of so many seconds.

    >>> [next_pause(waited=seconds) for seconds in (0, 1, 10, 20, 160, 300)]
    [10, 10, 20, 40, 300, 300]
    """
    return next((step for step in _STEPS if step > waited), LONGEST)


def message(seconds: int, *, container: str, pod: str) -> str:
    """Say what a kubelet says while a container waits to be restarted.

    >>> message(160, container="web", pod="web-0_default(uid)")
    'back-off 2m40s restarting failed container=web pod=web-0_default(uid)'
    """
    minutes, rest = divmod(seconds, 60)
    return f"back-off {f'{minutes}m' if minutes else ''}{rest}s restarting failed container={container} pod={pod}"


def read_pause(text: str | None) -> int:
    """Read the seconds out of a :func:`message`.

    >>> read_pause(message(160, container="web", pod="web-0_default(uid)"))
    160
    """
    match = _MESSAGE.match(text or "")
    return int(parse_duration(match[1]).total_seconds()) if match else 0


def attempts(elapsed: int) -> tuple[int, int]:
    """Say when an image was last tried to be pulled, and when it is next, where it never succeeds.

    >>> [attempts(seconds) for seconds in (0, 9, 10, 29, 30, 609, 610, 909, 10**6)]
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
