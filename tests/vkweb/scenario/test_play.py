"""The player, with simulated time (looptime) and scripted nodes."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from broker.kubernetes.errors import ApiError, Unreachable
from vkweb.scenario.drain import Drained
from vkweb.scenario.file import AnyStep, Drain, Scenario
from vkweb.scenario.play import Outcome, Player
from vkweb.scenario.schedule import Entry, KnownNode, dry_run

pytestmark = pytest.mark.looptime

NODES = {f"spot-{index}": KnownNode("spot") for index in range(10)}


class Cluster:
    """Nodes that record what is done to them, and fail as they are told."""

    def __init__(self) -> None:
        self.applied: list[tuple[float, str, int]] = []
        self.entries: list[Entry] = []
        self.errors: dict[str, ApiError] = {}
        self.unreachable = False
        self.drain_seconds = 60.0

    async def known(self) -> Mapping[str, KnownNode]:
        if self.unreachable:
            raise Unreachable("the API server is unreachable")
        return NODES

    async def apply(self, entry: Entry, step: AnyStep | None) -> Mapping[str, ApiError]:
        assert (step is None) == (entry.step == 0)
        now = asyncio.get_running_loop().time()
        self.applied.append((round(now, 3), entry.action, len(entry.nodes)))
        self.entries.append(entry)
        return {name: error for name, error in self.errors.items() if name in entry.nodes}

    async def drain(self, name: str, step: Drain) -> Drained:
        await asyncio.sleep(self.drain_seconds)
        return Drained(2, {})


def scenario(*steps: dict[str, Any], **fields: Any) -> Scenario:
    return Scenario.model_validate({"steps": list(steps), **fields})


async def played(
    cluster: Cluster, found: Scenario, *, stop_after: float | None = None, recovers: bool = True
) -> list[Outcome]:
    outcomes: list[Outcome] = []
    stop = asyncio.Event()

    async def record(outcome: Outcome) -> None:
        outcomes.append(outcome)

    if stop_after is not None:
        asyncio.get_running_loop().call_later(stop_after, stop.set)
    await Player(found, cluster, record=record, recovers=recovers).run(stop)
    return outcomes


async def test_entries_are_played_at_their_times() -> None:
    cluster = Cluster()
    await played(
        cluster,
        scenario(
            {"at": "30s", "action": "partition", "count": 3, "for": "2m"},
            {"at": "1m", "action": "reclaim", "count": 2},
        ),
    )
    assert cluster.applied == [
        (30, "partition", 3),
        (60, "reclaim", 2),
        (150, "recover", 3),
        (180, "reclaimed", 2),
        (180, "recover", 2),
    ]


async def test_a_play_is_what_the_dry_run_printed() -> None:
    cluster = Cluster()
    found = scenario(
        {"rate": "6/m", "action": "partition", "count": 2, "for": "20s"},
        {"rate": "2/m", "action": "reclaim", "share": "10%", "notice": "5s"},
        duration="5m",
        seed=11,
    )
    await played(cluster, found)
    assert len(cluster.entries) > 30
    assert cluster.entries == [entry for entry in dry_run(found, NODES) if entry.nodes]


async def test_nodes_recover_when_the_play_is_stopped() -> None:
    cluster = Cluster()
    steps = [{"at": "10s", "action": "partition", "count": 3}, {"at": "1h", "action": "slow", "count": 1}]
    await played(cluster, scenario(*steps), stop_after=60)
    assert cluster.applied == [(10, "partition", 3), (60, "recover", 3)]


async def test_faults_are_kept_on_request() -> None:
    cluster = Cluster()
    step = {"at": "10s", "action": "partition", "count": 3}
    await played(cluster, scenario(step), recovers=False)
    await played(cluster, scenario(step), recovers=False, stop_after=15)
    assert [action for _, action, _ in cluster.applied] == ["partition", "partition"]


async def test_nodes_recover_after_a_failure() -> None:
    cluster = Cluster()
    steps = [{"at": "10s", "action": "partition", "count": 3}, {"at": "20s", "action": "slow", "count": 1}]
    asyncio.get_running_loop().call_later(15, lambda: setattr(cluster, "unreachable", True))
    with pytest.raises(Unreachable):
        await played(cluster, scenario(*steps))
    assert cluster.applied == [(10, "partition", 3), (20, "recover", 3)]


async def test_a_drain_does_not_delay_other_steps() -> None:
    cluster = Cluster()
    cluster.errors = {"spot-2": ApiError(403, "Forbidden", "no")}
    outcomes = await played(
        cluster,
        scenario(
            {"at": "0s", "action": "drain", "nodes": ["spot-1", "spot-2"]},
            {"at": "5s", "action": "slow", "count": 1},
            duration="2m",
        ),
    )
    assert [at for at, _, _ in cluster.applied] == [0, 5, 120]
    first, slow, drained, _ = outcomes
    assert (first.errors, slow.entry.action) == (cluster.errors, "slow")
    assert drained.drained == {"spot-1": Drained(2, {})}


async def test_a_step_without_nodes_is_recorded() -> None:
    cluster = Cluster()
    outcomes = await played(cluster, scenario({"at": "0s", "action": "drain", "nodes": ["nobody"]}))
    assert [outcome.entry.skipped for outcome in outcomes] == [{"nobody": "there is no such node"}]


async def test_the_end_waits_for_drains_in_progress() -> None:
    cluster = Cluster()
    outcomes = await played(cluster, scenario({"at": "0s", "action": "drain", "count": 1}))
    assert [outcome.drained is not None for outcome in outcomes] == [False, False, True]
    assert asyncio.get_running_loop().time() == pytest.approx(60)
