"""One run of a container: what happens to it, in seconds since its start.

Everything in a status is told in whole seconds, and so is a run: what follows can be computed from `startedAt`
alone, whenever and by whomever, and comes out the same.

Source of the probes' timing: "Configure Probes" in the Kubernetes documentation and `worker.doProbe` of the
kubelet. A probe is made `initialDelaySeconds` after the start and every `periodSeconds` from then on; the others
wait for the startup probe to succeed. The kubelet's ticks drift against the start of the container; these do not.
"""

import msgspec

from app.kubernetes.pod import Container, Probe
from app.runtimes.synthetic.annotations import NO_OVERRIDES, ContainerOverrides

FAIL_AFTER = 5
KILLED = 137
_NEVER_AFTER = 100 * 365 * 86_400  # a century: no time overflows


class RunPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A run of a container.

    Attributes:
        started: when its startup probe has succeeded; None for never.
        ready: when it becomes ready; None for never.
        unready: when its readiness probe has failed; None for never.
        ends: when it ends by itself or is killed for a probe that fails; None for never.
        exit_code: what it ends with.
        reason: what a kubelet calls that.
        hung: the probe for whose failure it is killed, None for none.
    """

    started: int | None = 0
    ready: int | None = 0
    unready: int | None = None
    ends: int | None = None
    exit_code: int = 0
    reason: str = "Completed"
    hung: str | None = None

    def is_started(self, elapsed: int) -> bool:
        """Say whether it counts as started so many seconds after its start."""
        return self.started is not None and elapsed >= self.started

    def is_ready(self, elapsed: int) -> bool:
        """Say whether it is ready so many seconds after its start."""
        return (
            self.ready is not None and elapsed >= self.ready and (self.unready is None or elapsed < self.unready)
        )

    def next(self, elapsed: int) -> int | None:
        """Say when, in seconds after its start, something changes next."""
        times = (self.started, self.ready, self.unready, self.ends)
        return min((time for time in times if time is not None and time > elapsed), default=None)


ENDLESS = RunPlan()


def plan_run(
    container: Container,
    overrides: ContainerOverrides = NO_OVERRIDES,
    *,
    lasts: int | None,
    extra: int = 0,
    grace: int,
) -> RunPlan:
    """Compute the run of a container.

    Args:
        container: the container, of whichever kind.
        overrides: what its pod's annotations ask of it.
        lasts: how long it runs where they do not say, in seconds; None for ever.
        extra: seconds that are added to a run that ends by itself.
        grace: seconds that it gets to end by itself, where its probes have no value of their own.
    """
    if overrides.run_for is not None:
        lasts = overrides.run_for
    ends, code, reason = _ending(overrides, None if lasts is None else lasts + extra)
    startup, readiness, liveness = container.startup_probe, container.readiness_probe, container.liveness_probe
    if startup is None and readiness is None and liveness is None:
        return ENDLESS if ends is None else RunPlan(ends=ends, exit_code=code, reason=reason)
    fails_after = overrides.fail_after or FAIL_AFTER
    hung = None
    kill_at = None
    started: int | None = _delay(startup)
    if startup and overrides.fail == "StartupProbe":
        started, kill_at, hung = None, _killed(startup, first=_delay(startup), grace=grace), "startup"
    ready = unready = None
    if started is not None:
        first = max(started, _delay(readiness))
        ready = first + (_times(readiness, "success_threshold", 1) - 1) * _period(readiness)
        if readiness and overrides.fail == "ReadinessProbe":
            failed = _tick(readiness, first=first, after=fails_after)
            unready = failed + (_times(readiness, "failure_threshold", 3) - 1) * _period(readiness)
            ready = ready if ready < failed else None
        if liveness and overrides.fail == "LivenessProbe":
            tick = _tick(liveness, first=max(started, _delay(liveness)), after=fails_after)
            kill_at, hung = _killed(liveness, first=tick, grace=grace), "liveness"
    if kill_at is not None and (ends is None or kill_at < ends):
        ends, code, reason = max(kill_at, 1), KILLED, "Error"
    else:
        hung = None
    return RunPlan(
        started=_bounded(started),
        ready=_bounded(ready),
        unready=_bounded(unready),
        ends=_bounded(ends),
        exit_code=code,
        reason=reason,
        hung=hung,
    )


def _ending(overrides: ContainerOverrides, lasts: int | None) -> tuple[int | None, int, str]:
    """Say when a container ends whose probes succeed, with which code and what a kubelet calls it."""
    code = overrides.exit_code or 0
    if overrides.fail == "OOMKilled":
        return overrides.fail_after or FAIL_AFTER, KILLED, "OOMKilled"
    if overrides.fail == "CrashLoopBackOff":
        lasts = overrides.fail_after or overrides.run_for or FAIL_AFTER
        code = 1 if overrides.exit_code is None else overrides.exit_code
    if lasts == 0 and code:
        lasts = 1  # what is tried again and again takes some time
    return lasts, code, "Error" if code else "Completed"


def _tick(probe: Probe, *, first: int, after: int) -> int:
    """Find the first probe that is made at or after a time."""
    return first + max(0, -(-(after - first) // _period(probe))) * _period(probe)


def _killed(probe: Probe, *, first: int, grace: int) -> int:
    """Say when a container is dead whose probe failed first at a time: it hangs, so it takes all of its grace."""
    own = probe.termination_grace_period_seconds
    return first + (_times(probe, "failure_threshold", 3) - 1) * _period(probe) + (grace if own is None else own)


def _delay(probe: Probe | None) -> int:
    return probe.initial_delay_seconds or 0 if probe else 0


def _period(probe: Probe | None) -> int:
    return max(1, probe.period_seconds or 10) if probe else 1


def _times(probe: Probe | None, field: str, default: int) -> int:
    return max(1, getattr(probe, field) or default) if probe else 1


def _bounded(seconds: int | None) -> int | None:
    return None if seconds is None or seconds > _NEVER_AFTER else seconds
