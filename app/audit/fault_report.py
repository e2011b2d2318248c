"""The report on a scenario: which pods its faults affected, evicted and had replaced, from the record alone.

A pod is affected by a fault if it was on a node of the fault and had not ended when the fault began. It was
evicted if its deletion was requested or it failed after that, until a minute after the node recovered: during a
partition, the deletion arrives with the recovery. It counts for one fault, the last that began before. The time to
Ready again is from the begin of the fault to the first Ready of the replacement, so it includes the time that the
cluster takes to notice the fault.

The replacement of a pod is the next pod of its controller that was created after the pod had left and replaces no
other one. Pods that leave for other reasons are replaced too: those of a Job that complete, those of another
fault. So all are matched in the order in which they left, and a new pod is not counted for a fault that had
nothing to do with it. When a pod left during a partition is not recorded: such pods get what is left over.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from app.core.quantity import percentile

_AFTER_RECOVERY = timedelta(minutes=1)
_LAG = timedelta(seconds=5)
"""The longest time between the deletion of a pod and the creation of its replacement on record, either way, where
a node is free: the two requests are sent at the same time."""
_OF_NEW_PODS = frozenset({"slow", "fail"})
"""Faults that change the pods that are created while they last."""


class ScenarioEvent(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An entry of a scenario that was played: `change` of its event.

    Attributes:
        scenario: name of the scenario.
        seed: its seed.
        step: number of the step in the file, from 1; 0 for the recovery at the end.
        action: the action, such as `partition`.
        nodes: names of the nodes.
        groups: groups of faults that `recover` ends.
        skipped: node → reason, for the nodes that the step names and that were not chosen.
        missing: number of nodes that the step wants and that were not found.
        errors: node → error, for the nodes that could not be changed.
        details: results of the action, such as the number of evicted pods.
    """

    scenario: str
    seed: int
    step: int
    action: str
    nodes: list[str]
    groups: list[str] = []
    skipped: dict[str, str] = {}
    missing: int = 0
    errors: dict[str, str] = {}
    details: dict[str, Any] = {}


class PlayedEvent(msgspec.Struct, frozen=True):
    """An event of a scenario and its time."""

    at: datetime
    entry: ScenarioEvent


class PodTimes(msgspec.Struct, frozen=True, kw_only=True):
    """The times of a pod. None: not yet, or not recorded."""

    node_name: str
    controller_uid: str | None
    created_at: datetime
    deletion_requested_at: datetime | None = None
    failed_at: datetime | None = None
    ended_at: datetime | None = None
    ready_at: datetime | None = None


class FaultReport(msgspec.Struct, frozen=True, kw_only=True):
    """The pods of a fault.

    Attributes:
        at: begin of the fault.
        pods: number of the pods that were affected: those on the nodes; for `slow` and `fail`, those that were
            created on the nodes while it lasted.
        evicted: number of them that were deleted or failed.
        rescheduled: number of the evicted pods with a replacement.
        ready: number of replacements that became ready; for `slow` and `fail`, of the affected pods.
        p50: median in seconds of the time to Ready again; None without any.
        p99: 99th percentile of it.
    """

    at: datetime
    step: int
    action: str
    nodes: int
    pods: int
    evicted: int
    rescheduled: int
    ready: int
    p50: float | None
    p99: float | None


def report_faults(played: Sequence[PlayedEvent], pods: Sequence[PodTimes], *, now: datetime) -> list[FaultReport]:
    """Return a report for each fault among the events of a scenario.

    Args:
        played: the events in the order of their times.
        pods: the pods in the order of their creation.
        now: end of faults that last.
    """
    on_node: dict[str, list[PodTimes]] = defaultdict(list)
    of_controller: dict[str, list[PodTimes]] = defaultdict(list)
    for pod in pods:
        on_node[pod.node_name].append(pod)
        if pod.controller_uid:
            of_controller[pod.controller_uid].append(pod)
    found = [
        (event, *_affected(event, _ends(event, played[index + 1 :], now=now), on_node))
        for index, event in enumerate(played)
        if event.entry.action in _FAULTS and event.entry.nodes
    ]
    # The last fault before a pod left is the cause; one of the whole node before one of a part of it.
    by_weight = sorted(found, key=lambda fault: _FAULTS[fault[0].entry.action] == "node")
    causes = {id(pod): event for event, _, evicted in by_weight for pod in evicted}
    replacements = _replacements(of_controller.values(), causes)
    reports = []
    for event, affected, evicted in found:
        caused = [pod for pod in evicted if causes[id(pod)] is event]
        new = [replacements[id(pod)] for pod in caused if id(pod) in replacements]
        if event.entry.action in _OF_NEW_PODS:
            ready = [_seconds(pod.created_at, pod.ready_at) for pod in affected if pod.ready_at]
        else:
            ready = [_seconds(event.at, pod.ready_at) for pod in new if pod.ready_at]
        reports.append(
            FaultReport(
                at=event.at,
                step=event.entry.step,
                action=event.entry.action,
                nodes=len(event.entry.nodes) - len(event.entry.errors),
                pods=len(affected),
                evicted=len(caused),
                rescheduled=len(new),
                ready=len(ready),
                p50=percentile(ready, 0.5),
                p99=percentile(ready, 0.99),
            )
        )
    return reports


_FAULTS: dict[str, str] = {
    **dict.fromkeys(("notReady", "partition", "vanish", "reclaim", "drain"), "node"),
    "pressure": "pressure",
    "slow": "slow",
    "fail": "fail",
}
"""The group of each action that is a fault: `recover` ends the faults of its groups."""


def _ends(fault: PlayedEvent, later: Iterable[PlayedEvent], *, now: datetime) -> dict[str, datetime]:
    """Return when each node of a fault recovered; `now` where it has not."""
    ends = {node: now for node in fault.entry.nodes if node not in fault.entry.errors}
    recovered: set[str] = set()
    for event in later:
        if event.entry.action == "recover" and _FAULTS[fault.entry.action] in event.entry.groups:
            for node in set(event.entry.nodes) & ends.keys() - recovered:
                ends[node] = event.at
                recovered.add(node)
    return ends


def _affected(
    fault: PlayedEvent, ends: Mapping[str, datetime], on_node: Mapping[str, Sequence[PodTimes]]
) -> tuple[list[PodTimes], list[PodTimes]]:
    """Return the pods that a fault affected, and those of them that left while it lasted."""
    action, at = fault.entry.action, fault.at
    pods = [(pod, end) for node, end in ends.items() for pod in on_node.get(node, ())]
    if action in _OF_NEW_PODS:
        return [pod for pod, end in pods if at <= pod.created_at < end], []
    there = [(pod, end + _AFTER_RECOVERY) for pod, end in pods if _exists(pod, at)]
    evicted = [pod for pod, until in there if _left(pod, at, until, is_cut_off=action == "partition")]
    return [pod for pod, _ in there], evicted


def _exists(pod: PodTimes, at: datetime) -> bool:
    """Return whether a pod existed at a time, had not ended, and was not to be deleted."""
    gone = (pod.deletion_requested_at, pod.ended_at)
    return pod.created_at <= at and all(time is None or time > at for time in gone)


def _left(pod: PodTimes, since: datetime, until: datetime, *, is_cut_off: bool) -> bool:
    """Return whether a pod was deleted, or failed, in a period.

    A pod that had succeeded before it was deleted did not have to go, unless the cluster could not know that.
    """
    deleted, ended = pod.deletion_requested_at, pod.ended_at
    if deleted and ended and ended < deleted and not is_cut_off:
        deleted = None
    return any(time and since < time <= until for time in (deleted, pod.failed_at))


class _NewPods:
    """The pods of a controller, each of which replaces one at most.

    Args:
        pods: the pods in the order of their creation.
    """

    def __init__(self, pods: Sequence[PodTimes]) -> None:
        self._pods = pods
        self._created = [pod.created_at for pod in pods]
        self._taken: set[int] = set()

    def take(self, pod: PodTimes, *, since: datetime, until: datetime | None) -> PodTimes | None:
        """Return the first pod that was created in a period, after a pod, and replaces no other; None without."""
        for index in range(bisect_right(self._created, max(since, pod.created_at)), len(self._pods)):
            if until and self._created[index] > until:
                return None
            if index not in self._taken:
                self._taken.add(index)
                return self._pods[index]
        return None


def _replacements(
    controllers: Iterable[Sequence[PodTimes]], causes: Mapping[int, PlayedEvent]
) -> dict[int, PodTimes]:
    """Return the replacement of each pod that has one, by the `id` of the pod that left.

    Args:
        controllers: the pods of each controller, in the order of their creation.
        causes: `id` of an evicted pod → the fault that evicted it.
    """
    found: dict[int, PodTimes | None] = {}
    for pods in controllers:
        new = _NewPods(pods)
        late = []
        for left, pod in sorted(_departures(pods), key=lambda departure: departure[0]):
            cause = causes.get(id(pod))
            if cause is None:
                found[id(pod)] = new.take(pod, since=left - _LAG, until=left + _LAG)
            elif cause.entry.action == "partition":
                late.append((pod, cause.at, (pod.deletion_requested_at or left) + _LAG))
            else:  # the pod that replaces it may wait for a node, and is recorded when it is bound
                found[id(pod)] = new.take(pod, since=max(left - _LAG, cause.at), until=None)
        for pod, since, until in late:
            found[id(pod)] = new.take(pod, since=since, until=until)
    return {left: pod for left, pod in found.items() if pod}


def _departures(pods: Iterable[PodTimes]) -> Iterator[tuple[datetime, PodTimes]]:
    """Yield the pods that have left, each with the time."""
    for pod in pods:
        if times := [time for time in (pod.deletion_requested_at, pod.ended_at, pod.failed_at) if time]:
            yield min(times), pod


def _seconds(since: datetime, until: datetime) -> float:
    return round((until - since).total_seconds(), 3)
