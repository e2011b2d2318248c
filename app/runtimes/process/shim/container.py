"""A container: its successive runs, its log and its restarts."""

import contextlib
import os
import selectors
import signal
import time
from typing import Any

from . import message
from .hook import start_hook
from .log import Log
from .output import Output
from .processes import in_session, kill_all, marked, start
from .record import rfc3339_micro
from .streams import STDERR, STDIN, STDOUT, TERMINAL, Streams, open_streams
from .volumes import Prepared, Waiting

LOST = {
    "code": 137,
    "reason": "ContainerStatusUnknown",
    "message": "the shim that ran this container is gone, and how the container ended with it",
}
"""The end of a run whose exit was not observed."""

RESET = {
    "code": 137,
    "reason": "RestartingAllContainers",
    "message": "The container is removed because RestartAllContainers in place",
}
"""The end of a run in the status of a container that is restarted because of another one, as in a kubelet."""

_LEAST_GRACE_SECONDS = 2.0
"""The least time from SIGTERM to SIGKILL, as in a kubelet."""


class BackOff:
    """The delay before a container restarts.

    The first restart has no delay, then the delays double. A run of twice the longest delay resets them.
    Source: `client-go/util/flowcontrol/backoff.go` as a kubelet's `doBackOff` uses it.

    Args:
        initial: the first delay, in seconds.
        longest: the longest delay, in seconds.
    """

    def __init__(self, initial: float, longest: float) -> None:
        self._initial = initial
        self._longest = longest
        self._next = 0.0
        self._restarted = float("-inf")

    def pause(self, ended: float) -> float:
        """Return the delay in seconds after a run that ended at a monotonic time."""
        return 0.0 if ended - self._restarted > 2 * self._longest else self._next

    def restart(self, ended: float, now: float) -> None:
        """Record a restart."""
        self._next = min(2 * self.pause(ended), self._longest) or self._initial
        self._restarted = now


class Container:
    """A container of a shim. It has at most one run at a time.

    Args:
        spec: from the plan: `name`, `kind` (init, sidecar, main or ephemeral), `policy`, `argv`, `env`, `cwd`;
            `stdin`, `stdin_once` and `tty` as in a Container; `missing` is the message of a container that waits
            for an object to which its environment refers; `post_start` and `pre_stop` are its hooks, None without
            one; `message_from_log` and `message_limit` as in :func:`.message.take`.
        directory: the directory of the pod instance.
        mark: the mark of its processes.
        back_off: the delay before its restarts.
        selector: the selector that waits for its pipes.
        before: the state that an earlier shim saved.
    """

    def __init__(
        self,
        spec: dict[str, Any],
        *,
        directory: str,
        mark: str,
        back_off: BackOff,
        selector: selectors.BaseSelector,
        before: dict[str, Any] | None = None,
    ) -> None:
        self.name: str = spec["name"]
        self.kind: str = spec["kind"]
        self.pid: int | None = None
        self.has_started = False
        self.spec = spec
        self.running = spec
        """The `spec` with which the current run was started."""
        self.prepared = Prepared()
        """The namespace and the variables of the current run."""
        self._held: Waiting | None = None
        self._held_until = float("-inf")
        self.outputs: list[Output] = []
        self.stdin: int | None = None
        """The descriptor that writes its standard input, or the master of its terminal; None without one."""
        self.mark = mark
        self._directory = os.path.join(directory, self.name)
        self._back_off = back_off
        self._selector = selector
        self._runs: int = before["runs"] if before else 0
        self._run: dict[str, Any] | None = before["run"] if before else None
        self._previous: dict[str, Any] | None = before["previous"] if before else None
        self._ended = float("-inf")
        self.terminated_at: float | None = None
        """The monotonic time of SIGTERM."""
        self._log: Log | None = None
        self.hook_pid: int | None = None
        self._hook: str | None = None
        """The hook that runs, or has run last in this run: `post_start` or `pre_stop`."""
        self.stop_by: float | None = None
        """The monotonic end of the grace period of a container whose postStart hook failed."""
        self._hook_failed = False
        if self._run and self._run["finished"] is None:
            self._run = {**self._run, "finished": _wall(), **LOST}

    @property
    def started(self) -> str:
        """The time at which its last run started; empty before the first."""
        return self._run["started"] if self._run else ""

    @property
    def succeeded(self) -> bool:
        """Whether its last run exited with 0."""
        return self._run is not None and self._run["finished"] is not None and self._run["code"] == 0

    @property
    def _action(self) -> str | None:
        """The action of the first restart rule that matches its exit code; None while that is not known."""
        if self._run is None or self._run["reason"] not in ("Completed", "Error", "StartError"):
            return None
        for action, operator, codes in self.spec["rules"]:
            if (operator == "In") == (self._run["code"] in codes):
                return str(action)
        return None

    @property
    def restarts_all(self) -> bool:
        """Whether its end restarts all containers of the pod."""
        return self.pid is None and self._action == "RestartAllContainers"

    @property
    def _is_reset(self) -> bool:
        return self._run is not None and self._run["reason"] == RESET["reason"]

    def reset(self) -> None:
        """Make it run as if for the first time, because all containers of the pod are restarted."""
        if self._run:
            self._run = {**self._run, **RESET}
            self._ended = float("-inf")
            self.has_started = False

    @property
    def restarts(self) -> bool:
        """Whether it restarts after its last run."""
        if self._is_reset or self._action in ("Restart", "RestartAllContainers"):
            return True
        policy = self.spec["policy"]
        if self.kind == "init" and policy == "Always":
            policy = "OnFailure"  # an init container runs until it succeeds
        return policy == "Always" or (policy == "OnFailure" and not self.succeeded)

    @property
    def is_starting(self) -> bool:
        """Whether it runs and its postStart hook has not succeeded: the hook runs, or the container is stopped."""
        return self.pid is not None and not self.has_started

    @property
    def done(self) -> bool:
        """Whether it has ended and does not restart."""
        return self._run is not None and self.pid is None and not self.restarts

    def due(self) -> float | None:
        """Return the monotonic time of its next run; None if it runs, is done or waits for its environment."""
        if self.pid is not None or self.done or self.spec["missing"]:
            return None
        due = self._ended + self._back_off.pause(self._ended) if self._run else float("-inf")
        return max(due, self._held_until)

    def hold(self, waiting: Waiting, *, until: float) -> None:
        """Delay its next run to a monotonic time, because its volumes are not ready."""
        self._held, self._held_until = waiting, until

    def describe(self, *, resting: bool) -> dict[str, Any]:
        """Return its state for `state.json`.

        Args:
            resting: include the delay before its restart.
        """
        has_ended = self._run is not None and self._run["finished"] is not None
        pause = self._back_off.pause(self._ended) if resting and has_ended and self.restarts else 0.0
        waiting = None
        if self._run and not has_ended and self.spec["post_start"] and not self.has_started:
            waiting = {"reason": self.spec["waiting_reason"], "message": None}
        elif resting and self._is_reset:
            waiting = {"reason": RESET["reason"], "message": RESET["message"]}
        elif resting and has_ended and self._hook_failed and self.restarts:
            waiting = {
                "reason": "PostStartHookError",
                "message": f"postStart hook of container {self.name} failed",
            }
        elif resting and self.spec["missing"] and self.pid is None and not self.done:
            waiting = {"reason": "CreateContainerConfigError", "message": self.spec["missing"]}
        elif resting and self._held and self.pid is None and not self.done:
            waiting = {"reason": self._held.reason or self.spec["waiting_reason"], "message": self._held.message}
        return {
            "runs": self._runs,
            "run": self._run,
            "previous": self._previous,
            "pause": pause or None,
            "waiting": waiting,
        }

    def begin(self, prepared: Prepared) -> None:
        """Record a new run. The caller saves the state before :meth:`execute`."""
        self._release()
        self.prepared, self._held = prepared, None
        self._before = self._runs, self._run, self._previous
        self.has_started = self.has_started and self.spec["post_start"] is None
        run = {"started": _wall(), "finished": None, "code": None, "reason": None, "message": None}
        self._runs, self._run, self._previous = self._runs + 1, run, self._run

    def withdraw(self) -> None:
        """Undo :meth:`begin`."""
        self._release()
        self._runs, self._run, self._previous = self._before

    def execute(self, now: float) -> None:
        """Start the process. A command that cannot be started is a failed run with exit code 128."""
        if self._runs > 1:
            self._back_off.restart(self._ended, now)
        self.terminated_at = self.stop_by = self._hook = None
        self._hook_failed = False
        self._log = Log(self._directory, self._runs - 1)
        spec = self.prepared.spec or self.spec
        self.running = {**spec, "env": {**spec["env"], **self.prepared.env}}
        names = [STDIN, STDOUT, STDERR] if self.spec.get(STDIN) else [STDOUT, STDERR]
        try:
            with open_streams(names, tty=self.spec.get("tty", False)) as streams:
                self.pid = start(
                    self.running["argv"],
                    env=self.running["env"],
                    cwd=self.running["cwd"],
                    mark=self.mark,
                    streams=streams,
                    namespace=self.prepared.namespace,
                )
        except (OSError, ValueError) as exc:
            # Name the field and the error only: the command may contain a secret.
            field = "workingDir" if getattr(exc, "filename", None) == self.spec["cwd"] else "command"
            problem = getattr(exc, "strerror", None) or "not a valid argument of a process"
            self._finish(128, now, reason="StartError", message=f"{field}: {problem}")
        else:
            self._copy_output(streams, self._log)
            self.has_started = self.spec["post_start"] is None
            if not self.has_started:
                self._start_hook("post_start", now)

    def _copy_output(self, streams: Streams, log: Log) -> None:
        if streams.tty:
            # Its output can end before the container does, and input and window size are set to the end.
            self.stdin = streams.others[TERMINAL]
            self.outputs = [Output(os.dup(self.stdin), STDOUT, log, self._selector)]
        else:
            self.stdin = streams.others.get(STDIN)
            self.outputs = [
                Output(streams.others[stream], stream, log, self._selector) for stream in (STDOUT, STDERR)
            ]

    @property
    def has_terminal(self) -> bool:
        """Whether its streams are a terminal."""
        return bool(self.running.get("tty"))

    def close_stdin(self) -> None:
        """Close its standard input: its process reads the end once no client has it open either."""
        if self.stdin is not None:
            os.close(self.stdin)
            self.stdin = None

    def _start_hook(self, name: str, now: float) -> None:
        self._hook = name
        self.hook_pid = start_hook(
            self.spec[name], self.running, mark=self.mark, namespace=self.prepared.namespace
        )
        if self.hook_pid is None:
            self.end_hook(now, succeeded=False)

    def end_hook(self, now: float, *, succeeded: bool) -> None:
        """Record the end of a hook. A postStart hook that fails stops the container."""
        self.hook_pid = None
        if self._hook != "post_start":
            return
        if succeeded:
            self.has_started = True
        else:
            self._hook_failed = True
            self.stop_by = now + self.spec["grace"]

    def stop(self, now: float, deadline: float, *, is_turn: bool) -> float:
        """Run its preStop hook, then send SIGTERM, then SIGKILL, each when it is due.

        Args:
            now: the current time, monotonic.
            deadline: the end of the grace period, monotonic.
            is_turn: whether it need not wait for other containers.

        Returns:
            The time of the next action.
        """
        if self._hook != "pre_stop" and self.spec["pre_stop"] and now < deadline:
            if self.hook_pid is not None:
                kill_all(in_session(self.hook_pid))
            self._start_hook("pre_stop", now)
        is_hooking = self._hook == "pre_stop" and self.hook_pid is not None
        if now < deadline and (is_hooking or not is_turn):
            return deadline
        self.terminate(now)
        kill_at = max(deadline, (self.terminated_at or now) + _LEAST_GRACE_SECONDS)
        if kill_at > now:
            return kill_at
        self.kill()
        return now + 1.0

    def terminate(self, now: float) -> None:
        """Send SIGTERM to its process group, once."""
        if self.pid is not None and self.terminated_at is None:
            self.terminated_at = now
            with contextlib.suppress(PermissionError):  # the process has changed its user
                os.killpg(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Kill all of its processes."""
        if self.pid is not None:
            kill_all(in_session(self.pid), marked(f"{self.mark}\0"))

    def end(self, code: int, now: float) -> None:
        """Record the exit of its process, which is still a zombie, so that its process ID is not reused yet."""
        self.kill()
        self.pid = self.hook_pid = self.stop_by = None
        for output in self.outputs:
            output.release()
        self.outputs = []
        self.close_stdin()
        text = message.take(self._directory, self.running, run=self._runs - 1, code=code)
        self._finish(code, now, reason="Error" if code else "Completed", message=text)

    def _release(self) -> None:
        if self.prepared.namespace:
            self.prepared.namespace.close()
        self.prepared = Prepared()

    def _finish(self, code: int, now: float, *, reason: str, message: str | None = None) -> None:
        self._run = {**(self._run or {}), "finished": _wall(), "code": code, "reason": reason, "message": message}
        self._ended = now
        self._release()
        if self._log:
            self._log.close()


def _wall() -> str:
    return rfc3339_micro(time.time_ns() // 1000)
