"""A runtime whose statuses and logs are set by a test, and which counts the calls."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import ClassVar, Literal

import msgspec

from app.core.settings import Settings
from app.kubernetes.manifest import Manifest
from app.kubernetes.status import Phase, PodStatus, Transition
from app.runtimes import AcceptedPod, LogLine, Runtime
from app.runtimes.base import Timeline
from app.runtimes.synthetic.runtime import SyntheticRuntime


class ScriptedRuntime(Runtime):
    """Every pod is Pending, then in the phases of the script, one per second.

    The script is in class attributes, because the application creates its runtime itself.
    """

    steps: ClassVar[list[Phase]] = []
    problems: ClassVar[tuple[str, ...]] = ()
    lines: ClassVar[list[LogLine | Callable[[], object] | Literal["status"] | None]] = []
    """The lines of a log; a function is called when it is reached, and `"status"` reads the status."""
    synced: ClassVar[list[AcceptedPod]] = []
    sync_error: ClassVar[Exception | None] = None
    advanced: ClassVar[int] = 0

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._synthetic = SyntheticRuntime(settings)

    @classmethod
    def play(cls, *steps: Phase, problems: tuple[str, ...] = ()) -> None:
        """Set the script and reset everything else."""
        cls.steps, cls.problems = list(steps), problems
        cls.lines, cls.synced, cls.sync_error, cls.advanced = [], [], None, 0

    def create(self, pod: AcceptedPod, *, now: datetime) -> Timeline:
        status = self._synthetic.create(pod, now=now).transitions[-1].status
        pending = Transition(now, msgspec.structs.replace(status, phase="Pending"))
        return Timeline([pending], self._next(now, 0), self.problems)

    def update(self, pod: AcceptedPod, *, before: Manifest, current: Transition, now: datetime) -> Timeline:
        return Timeline([current._replace(effective_at=now)], self._next(now, self._step(current)))

    def delete(self, pod: AcceptedPod, *, current: Transition, grace: timedelta, now: datetime) -> Timeline:
        status = msgspec.structs.replace(current.status, phase="Failed", message=f"{grace.total_seconds():g} s")
        return Timeline([Transition(now, status)])

    def advance(self, pod: AcceptedPod, *, current: Transition, now: datetime) -> Timeline | None:
        ScriptedRuntime.advanced += 1
        step = self._step(current)
        if step >= len(self.steps):
            return None
        at = current.effective_at + timedelta(seconds=1)
        status = msgspec.structs.replace(current.status, phase=self.steps[step], message=str(step + 1))
        return Timeline([Transition(at, status)], self._next(at, step + 1))

    def sync(self, pod: AcceptedPod) -> None:
        self.synced.append(pod)
        if self.sync_error:
            raise self.sync_error

    def logs(
        self, pod: AcceptedPod, container: str, *, previous: bool, status: Callable[[], PodStatus]
    ) -> Iterator[LogLine | None]:
        for line in self.lines:
            if line == "status":
                status()
            elif callable(line):
                line()
            else:
                yield line

    def _next(self, at: datetime, step: int) -> datetime | None:
        return at + timedelta(seconds=1) if step < len(self.steps) else None

    def _step(self, current: Transition) -> int:
        return int(current.status.message or 0)
