"""Plan a run of a container: the results of its probes and its end, in seconds since its start.

A status has times in whole seconds, and so has a plan. The state of a run therefore follows from `startedAt` and
the current time alone, in any process.

Source of the probes' timing: "Configure Probes" in the Kubernetes documentation and `worker.doProbe` of the
kubelet. A probe is made `initialDelaySeconds` after the start and every `periodSeconds` from then on; the others
wait for the startup probe to succeed. The kubelet's ticks drift against the start of the container; these do not.
"""

import msgspec

from app.kubernetes.container_status import KILLED
from app.kubernetes.pod import Container, Probe
from app.runtimes.synthetic.annotations import NO_OVERRIDES, ContainerOverrides

FAIL_AFTER = 5
_MAX_SECONDS = 100 * 365 * 86_400  # a century: no datetime overflows


class RunPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The plan of a run. Times are in seconds since the start; None means never.

    Attributes:
        started: the time at which its startup probe has succeeded.
        ready: the time at which it becomes ready.
        unready: the time at which its readiness probe has failed.
        ends: the time at which it ends by itself, or is killed because a probe fails.
        exit_code: its exit code.
        reason: the reason of its termination.
        hook_ends: the time at which its postStart hook ends; until then it is reported as waiting.
        failed_hook: whether the hook fails, because of which it is killed.
        failed_probe: the probe because of which it is killed: `startup` or `liveness`; None if it ends by itself.
    """

    started: int | None = 0
    ready: int | None = 0
    unready: int | None = None
    ends: int | None = None
    exit_code: int = 0
    reason: str = "Completed"
    failed_probe: str | None = None
    hook_ends: int = 0
    failed_hook: bool = False

    def is_started(self, elapsed: int) -> bool:
        """Return whether its startup probe has succeeded `elapsed` seconds after its start."""
        return self.started is not None and elapsed >= self.started

    def is_ready(self, elapsed: int) -> bool:
        """Return whether its readiness probe succeeds `elapsed` seconds after its start."""
        return (
            self.ready is not None and elapsed >= self.ready and (self.unready is None or elapsed < self.unready)
        )

    def next_change(self, elapsed: int) -> int | None:
        """Return the time of the first change after `elapsed` seconds; None if there is none."""
        times = (self.started, self.ready, self.unready, self.ends)
        return min((time for time in times if time is not None and time > elapsed), default=None)


ENDLESS = RunPlan()


def plan_run(
    container: Container,
    overrides: ContainerOverrides = NO_OVERRIDES,
    *,
    duration: int | None,
    extra: int = 0,
    grace: int,
    killed_at: int | None = None,
) -> RunPlan:
    """Return the plan of a container's runs.

    Args:
        container: the container, of any kind.
        overrides: the overrides from its pod's annotations.
        duration: the run time without overrides, in seconds; None for no end.
        extra: the jitter, in seconds, that is added to a run time.
        grace: the grace period of the pod, in seconds; a probe's own has precedence.
        killed_at: the time at which its memory is above its limit; None for never.
    """
    if overrides.run_for is not None:
        duration = overrides.run_for
    hook = container.lifecycle.post_start if container.lifecycle else None
    if hook and (overrides.fail == "PostStartHook" or not hook.can_succeed):
        return _failing_hook(hook.seconds, overrides, grace=grace)
    hook_ends = hook.seconds if hook else 0
    ends, code, reason = _planned_end(overrides, None if duration is None else duration + extra)
    if killed_at is not None and (ends is None or killed_at < ends):
        ends, code, reason = killed_at, KILLED, "OOMKilled"
    startup, readiness, liveness = container.startup_probe, container.readiness_probe, container.liveness_probe
    if startup is None and readiness is None and liveness is None:
        if ends is None and not hook_ends:
            return ENDLESS
        return RunPlan(
            started=hook_ends, ready=hook_ends, ends=ends, exit_code=code, reason=reason, hook_ends=hook_ends
        )
    fails_after = FAIL_AFTER if overrides.fail_after is None else overrides.fail_after
    failed_probe = None
    kill_at = None
    started: int | None = max(hook_ends, _delay(startup))
    if startup and overrides.fail == "StartupProbe":
        started, kill_at = None, _killed_at(startup, first_failure=_delay(startup), grace=grace)
        failed_probe = "startup"
    ready = unready = None
    if started is not None:
        first = max(started, _delay(readiness))
        ready = first + (_times(readiness, "success_threshold", 1) - 1) * _period(readiness)
        if readiness and overrides.fail == "ReadinessProbe":
            failed = _next_probe(readiness, first=first, after=fails_after)
            unready = failed + (_times(readiness, "failure_threshold", 3) - 1) * _period(readiness)
            ready = ready if ready < failed else None
        if liveness and overrides.fail == "LivenessProbe":
            failed = _next_probe(liveness, first=max(started, _delay(liveness)), after=fails_after)
            kill_at, failed_probe = _killed_at(liveness, first_failure=failed, grace=grace), "liveness"
    if kill_at is not None and (ends is None or kill_at < ends):
        ends, code, reason = max(kill_at, 1), KILLED, "Error"
    else:
        failed_probe = None
    return RunPlan(
        started=_bounded(started),
        ready=_bounded(ready),
        unready=_bounded(unready),
        ends=_bounded(ends),
        exit_code=code,
        reason=reason,
        failed_probe=failed_probe,
        hook_ends=hook_ends,
    )


def _failing_hook(hook_ends: int, overrides: ContainerOverrides, *, grace: int) -> RunPlan:
    """Return the plan of a container that is stopped because its postStart hook fails after so many seconds."""
    in_time = overrides.stop_after <= max(grace, 2)
    return RunPlan(
        started=None,
        ready=None,
        ends=hook_ends + min(overrides.stop_after, max(grace, 2)),
        exit_code=143 if in_time else KILLED,
        reason="Error",
        hook_ends=hook_ends,
        failed_hook=True,
    )


def _planned_end(overrides: ContainerOverrides, duration: int | None) -> tuple[int | None, int, str]:
    """Return when a container ends whose probes succeed (None for never), its exit code and its reason."""
    code = overrides.exit_code or 0
    if overrides.fail == "OOMKilled":
        return run_time(overrides.fail_after), KILLED, "OOMKilled"
    if overrides.fail == "CrashLoopBackOff":
        duration = run_time(overrides.run_for if overrides.fail_after is None else overrides.fail_after)
        code = 1 if overrides.exit_code is None else overrides.exit_code
    if duration == 0 and code:
        duration = 1  # a failing container is restarted; without a duration the restarts would never end
    return duration, code, "Error" if code else "Completed"


def run_time(fail_after: int | None) -> int:
    """Return the seconds after which a run or a pod ends that is to fail after so many; None: the default."""
    return FAIL_AFTER if fail_after is None else max(1, fail_after)


def _next_probe(probe: Probe, *, first: int, after: int) -> int:
    """Return the time of the first probe at or after a time."""
    return first + max(0, -(-(after - first) // _period(probe))) * _period(probe)


def _killed_at(probe: Probe, *, first_failure: int, grace: int) -> int:
    """Return when a container is killed whose probe fails: after the threshold and the whole grace period."""
    own = probe.grace
    reached = first_failure + (_times(probe, "failure_threshold", 3) - 1) * _period(probe)
    return reached + (grace if own is None else own)


def _delay(probe: Probe | None) -> int:
    return probe.initial_delay_seconds or 0 if probe else 0


def _period(probe: Probe | None) -> int:
    return max(1, probe.period_seconds or 10) if probe else 1


def _times(probe: Probe | None, field: str, default: int) -> int:
    return max(1, getattr(probe, field) or default) if probe else 1


def _bounded(seconds: int | None) -> int | None:
    return None if seconds is None or seconds > _MAX_SECONDS else seconds
