"""The invariants hold for generated pods that are updated, read late and deleted."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.kubernetes.status import Transition
from app.runtimes.base import Timeline
from app.runtimes.synthetic.timeline import MAX_MISSED, MAX_UPCOMING, advance, create, delete, update
from tests.app.runtimes.synthetic.generated import changes, pods
from tests.app.runtimes.synthetic.invariants import Entry, check, check_history
from tests.app.simulation import NOW, bounded, parse_pod, simulated_pod, status_at

pauses = st.sampled_from([0.3, 1, 2.5, 7, 45, 400, 5000, 10**6]).map(lambda seconds: timedelta(seconds=seconds))
delays = st.sampled_from([0, 0.4, 5])
CAPACITY = {"cpu": "100"}
FOREVER = datetime.max.replace(tzinfo=UTC)


class Record:
    """The transitions of one pod, stored as by the service."""

    def __init__(self, pod: dict[str, Any], start_delay: float) -> None:
        self.pod = pod
        self.start_delay = start_delay
        self.now = NOW
        self.history: list[Entry] = []
        self.leaps: set[datetime] = set()
        self.continues_at: datetime | None = None
        self._append(create(self.simulated, now=NOW))

    @property
    def simulated(self) -> Any:
        return simulated_pod(self.pod, start_delay=self.start_delay, capacity=CAPACITY)

    def read(self) -> None:
        """Advance the timeline where it is overdue, as a reader does."""
        if self.continues_at and self.continues_at <= self.now:
            timeline = advance(self.simulated, current=self.history[-1][1], now=self.now)
            assert timeline is not None
            assert len(timeline.transitions) <= MAX_UPCOMING + MAX_MISSED
            assert timeline.continues_at is None or timeline.continues_at > self.now
            self._append(timeline)

    def update(self, pod: dict[str, Any]) -> None:
        before, self.pod = self.simulated, pod
        self._delete_from_now()
        self._append(update(self.simulated, before=before, current=self.history[-1][1], now=self.now))

    def delete(self, grace: int) -> None:
        self._delete_from_now()
        timeline = delete(
            self.simulated, current=self.history[-1][1], grace=timedelta(seconds=grace), now=self.now
        )
        assert timeline.continues_at is None
        self._append(timeline)

    def _delete_from_now(self) -> None:
        self.history = [
            (pod, transition) for pod, transition in self.history if transition.effective_at < self.now
        ]

    def _append(self, timeline: Timeline) -> None:
        transitions = timeline.transitions
        if transitions and self.continues_at and self.continues_at <= self.now:
            self.leaps.add(transitions[0].effective_at)
        if self.history and transitions and transitions[0].status == self.history[-1][1].status:
            transitions = transitions[1:]
        self.history += [(parse_pod(self.pod), transition) for transition in transitions]
        self.continues_at = timeline.continues_at


@bounded
@given(pods(), delays)
def test_every_timeline_is_valid_for_a_kubelet(pod: dict[str, Any], delay: float) -> None:
    timeline = create(simulated_pod(pod, start_delay=delay), now=NOW)
    assert 1 <= len(timeline.transitions) <= MAX_UPCOMING
    assert timeline.transitions[0].effective_at == NOW
    if timeline.continues_at:
        assert timeline.continues_at > timeline.transitions[-1].effective_at
    check(parse_pod(pod), timeline.transitions)


@bounded
@given(pods(), delays, pauses)
def test_every_timeline_after_a_wait_is_valid(pod: dict[str, Any], delay: float, wait: timedelta) -> None:
    starts_from = NOW + wait
    timeline = create(simulated_pod(pod, start_delay=delay, starts_from=starts_from), now=starts_from)
    assert timeline.transitions[0].effective_at == starts_from
    check(parse_pod(pod), timeline.transitions)


@bounded
@given(pods(), delays, st.lists(pauses, max_size=4), st.data())
def test_every_updated_timeline_is_valid_for_a_kubelet(
    pod: dict[str, Any], delay: float, waits: list[timedelta], data: st.DataObject
) -> None:
    record = Record(pod, delay)
    for pause in waits:
        record.now += pause
        if data.draw(st.booleans()):
            record.read()
        if data.draw(st.booleans()):
            record.update(data.draw(changes(record.pod)))
    record.read()
    check_history(record.history, leaps=record.leaps)
    if data.draw(st.booleans()):
        record.now += timedelta(seconds=1)
        record.delete(data.draw(st.sampled_from([0, 1, 30])))
        check_history(record.history, leaps=record.leaps)
        assert record.history[-1][1].status.is_terminal


@bounded
@given(pods(), delays, st.lists(st.floats(0.000001, 2000).map(lambda s: timedelta(seconds=s)), max_size=3))
def test_a_label_update_changes_no_status(pod: dict[str, Any], delay: float, waits: list[timedelta]) -> None:
    undisturbed, disturbed = Record(pod, delay), Record(pod, delay)
    for pause in waits:
        undisturbed.now = disturbed.now = disturbed.now + pause
        undisturbed.read()
        disturbed.read()
        metadata = {**disturbed.pod["metadata"], "labels": {"changed": str(pause)}}
        disturbed.update({**disturbed.pod, "metadata": metadata})
    for record in (undisturbed, disturbed):
        record.read()
    known_until = min(record.continues_at or FOREVER for record in (undisturbed, disturbed))
    times = [time for record in (undisturbed, disturbed) for time in _times(record) if time < known_until]
    for time in [*times, *(time - timedelta(microseconds=1) for time in times if time > NOW)]:
        assert status_at(_transitions(disturbed), time) == status_at(_transitions(undisturbed), time)


def _transitions(record: Record) -> list[Transition]:
    return [transition for _, transition in record.history]


def _times(record: Record) -> list[datetime]:
    return [transition.effective_at for transition in _transitions(record)]
