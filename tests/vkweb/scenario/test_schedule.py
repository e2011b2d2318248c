"""The schedule of a scenario: times, counts and shares, and the same entries for the same seed."""

from collections import Counter
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vkweb.scenario.file import Scenario
from vkweb.scenario.schedule import Entry, KnownNode, Schedule, dry_run, natural

FAULTS = ["notReady", "partition", "vanish", "reclaim", "drain", "pressure", "slow", "fail"]


def pool(name: str, count: int) -> dict[str, KnownNode]:
    return {f"{name}-{index}": KnownNode(name) for index in range(count)}


NODES = {**pool("spot", 20), **pool("base", 5)}


def scenario(*steps: dict[str, Any], **fields: Any) -> Scenario:
    return Scenario.model_validate({"steps": list(steps), **fields})


def entries(*steps: dict[str, Any], nodes: dict[str, KnownNode] = NODES, **fields: Any) -> list[Entry]:
    return list(dry_run(scenario(*steps, **fields), nodes))


def seconds(*found: Entry) -> list[float]:
    return [entry.at.total_seconds() for entry in found]


@st.composite
def steps(draw: st.DrawFn) -> dict[str, Any]:
    times = draw(st.sampled_from([{"at": "5s"}, {"at": "1m"}, {"rate": "4/m"}, {"rate": "1/30s", "from": "20s"}]))
    nodes = draw(
        st.one_of(
            st.builds(lambda n: {"count": n}, st.integers(1, 30)),
            st.builds(lambda n: {"share": f"{n}%"}, st.integers(1, 100)),
        )
    )
    step = {"action": draw(st.sampled_from([*FAULTS, "recover"])), **times, **nodes}
    if draw(st.booleans()):
        step["pool"] = draw(st.sampled_from(["spot", "base", "none"]))
    if step["action"] != "recover" and draw(st.booleans()):
        step["for"] = draw(st.sampled_from(["10s", "3m"]))
    return step


@settings(max_examples=25)
@given(st.lists(steps(), min_size=1, max_size=5), st.integers(0, 5), st.randoms(use_true_random=False))
def test_the_same_seed_gives_the_same_entries(given_: list[dict[str, Any]], seed: int, random: Any) -> None:
    shuffled = list(NODES.items())
    random.shuffle(shuffled)
    found = entries(*given_, seed=seed, duration="5m")
    assert found == entries(*given_, seed=seed, duration="5m", nodes=dict(shuffled))
    assert seconds(*found) == sorted(seconds(*found))
    assert all(entry.at <= timedelta(minutes=5) for entry in found)


@settings(max_examples=25)
@given(st.lists(steps(), min_size=1, max_size=5), st.integers(0, 5))
def test_no_node_has_a_fault_twice(given_: list[dict[str, Any]], seed: int) -> None:
    down: set[str] = set()
    for entry in entries(*given_, seed=seed, duration="5m"):
        if entry.action == "recover" and "node" in entry.groups:
            down -= set(entry.nodes)
        elif entry.action in FAULTS[:5]:
            assert not down & set(entry.nodes)
            down |= set(entry.nodes)
    assert not down  # all recover at the end


@settings(max_examples=40)
@given(st.integers(1, 60), st.integers(1, 40), st.integers(1, 100))
def test_counts_and_shares_are_those_of_the_pool(size: int, count: int, percent: int) -> None:
    nodes = {**pool("spot", size), **pool("base", 3)}
    step = {"at": "0s", "action": "partition", "pool": "spot"}
    by_count, _ = entries({**step, "count": count}, nodes=nodes)
    assert len(by_count.nodes) == min(count, size)
    by_share, _ = entries({**step, "share": f"{percent}%"}, nodes=nodes)
    assert len(by_share.nodes) == max(1, int(size * (percent / 100) + 0.5))
    assert all(name.startswith("spot-") for name in (*by_count.nodes, *by_share.nodes))


def test_another_seed_chooses_other_nodes() -> None:
    step = {"at": "0s", "action": "partition", "count": 5}
    chosen = {entries(step, seed=seed)[0].nodes for seed in range(20)}
    assert len(chosen) > 15
    assert len(Counter(name for nodes in chosen for name in nodes)) > 20


def test_a_rate_has_its_mean_and_no_pattern() -> None:
    found = entries({"rate": "2/m", "action": "slow", "count": 1, "for": "1s"}, duration="500m", seed=3)
    times = seconds(*(entry for entry in found if entry.action == "slow"))
    assert 900 < len(times) < 1100
    gaps = [after - before for before, after in pairwise(times)]
    assert min(gaps) < 2
    assert max(gaps) > 120


def test_a_rate_stays_between_from_and_until() -> None:
    found = entries({"rate": "6/m", "from": "1m", "until": "3m", "action": "slow", "count": 1, "for": "1s"})
    times = seconds(*(entry for entry in found if entry.action == "slow"))
    assert 60 < times[0] <= times[-1] < 180


def test_nodes_recover_after_the_time_of_a_step() -> None:
    fault, recovery, end = entries({"at": "10s", "action": "partition", "count": 2, "for": "1m"})
    assert (recovery.action, recovery.nodes, set(recovery.groups)) == ("recover", fault.nodes, {"node"})
    assert (seconds(fault, recovery, end), end.nodes) == ([10, 70, 70], ())


def test_a_reclaimed_node_ends_after_its_notice() -> None:
    notice, over, end = entries({"at": "10s", "action": "reclaim", "count": 2})
    assert (over.action, over.nodes, seconds(over)) == ("reclaimed", notice.nodes, [130])
    assert (end.step, end.nodes) == (0, notice.nodes)


def test_a_recovered_node_is_not_ended_by_an_old_notice() -> None:
    found = entries(
        {"at": "0s", "action": "reclaim", "nodes": ["spot-1"]},
        {"at": "1m", "action": "recover"},
        {"at": "90s", "action": "partition", "nodes": ["spot-1"]},
    )
    assert [(entry.action, entry.nodes) for entry in found] == [
        ("reclaim", ("spot-1",)),
        ("recover", ("spot-1",)),
        ("partition", ("spot-1",)),
        ("reclaimed", ()),
        ("recover", ("spot-1",)),
    ]


def test_faults_of_other_groups_add_up() -> None:
    found = entries(
        {"at": "0s", "action": "slow", "share": "100%"},
        {"at": "1s", "action": "drain", "count": 3},
        {"at": "2s", "action": "recover", "faults": ["slow"]},
    )
    assert [len(entry.nodes) for entry in found] == [25, 3, 25, 3]


def test_the_end_cuts_off_later_entries() -> None:
    found = entries({"at": "10s", "action": "partition", "count": 1, "for": "1m"}, duration="30s")
    assert [(entry.action, entry.step) for entry in found] == [("partition", 1), ("recover", 0)]
    assert seconds(found[-1]) == [30]


@pytest.mark.parametrize("fault", [{"action": "vanish"}, {"action": "reclaim", "notice": "1s", "then": "vanish"}])
@pytest.mark.parametrize("nodes", [{"share": "100%"}, {"nodes": ["spot-0", "spot-1"]}])
def test_a_vanished_node_has_no_other_fault(fault: dict[str, Any], nodes: dict[str, Any]) -> None:
    found = entries(
        {"at": "0s", **fault, "nodes": ["spot-0"], "for": "1m"},
        *({"at": at, "action": "slow", **nodes, "for": "1s"} for at in ("10s", "2m")),
        nodes=pool("spot", 2),
    )
    assert [entry.nodes for entry in found if entry.action == "slow"] == [("spot-1",), ("spot-0", "spot-1")]


def test_a_node_that_vanished_counts_in_its_pool() -> None:
    schedule = Schedule(
        scenario(
            {"at": "0s", "action": "vanish", "pool": "spot", "share": "50%"},
            {"at": "1s", "action": "drain", "pool": "spot", "share": "50%"},
        )
    )
    gone = set(schedule.take(NODES).nodes)
    drained = schedule.take({name: node for name, node in NODES.items() if name not in gone})
    assert (len(gone), len(drained.nodes)) == (10, 10)
    assert not gone & set(drained.nodes)


def test_a_fault_set_by_hand_is_respected() -> None:
    nodes = {"a": KnownNode(groups=frozenset({"node"})), "b": KnownNode()}
    fault, recovery, _ = entries(
        {"at": "0s", "action": "notReady", "count": 2}, {"at": "1s", "action": "recover"}, nodes=nodes
    )
    assert (fault.nodes, recovery.nodes) == (("b",), ("a", "b"))


def test_a_new_node_changes_the_choice_only_by_itself() -> None:
    step = {"at": "0s", "action": "partition", "count": 5}
    before = set(entries(step)[0].nodes)
    after = set(entries(step, nodes={**NODES, "spot-99": KnownNode("spot")})[0].nodes)
    assert len(before - after) <= 1
    assert after - before <= {"spot-99"}


@pytest.mark.parametrize(("first", "second"), [("spot-2", "spot-10"), ("a", "b"), ("a-1", "a-1-0")])
def test_numbers_in_names_are_sorted_by_value(first: str, second: str) -> None:
    assert sorted([second, first], key=natural) == [first, second]


def test_named_nodes_that_are_skipped_have_reasons() -> None:
    nodes = {"a": KnownNode(groups=frozenset({"node"})), "b": KnownNode(), "c": KnownNode(has_vanished=True)}
    named = {"nodes": ["a", "b", "c", "d"]}
    down, slow, recovery, _ = entries(
        {"at": "0s", "action": "drain", **named},
        {"at": "1s", "action": "slow", **named},
        {"at": "2s", "action": "recover", "faults": ["slow"], **named},
        nodes=nodes,
    )
    assert (down.nodes, down.skipped) == (
        ("b",), {"a": "it is down", "c": "it has vanished", "d": "there is no such node"},
    )  # fmt: skip
    assert (slow.nodes, set(slow.skipped)) == (("a", "b"), {"c", "d"})
    assert (recovery.nodes, set(recovery.skipped)) == (("a", "b"), {"c", "d"})


def test_too_few_nodes_are_missing() -> None:
    by_count, by_share, recovery, _ = entries(
        {"at": "0s", "action": "drain", "count": 18, "pool": "spot"},
        {"at": "1s", "action": "drain", "share": "20%", "pool": "spot"},
        {"at": "2s", "action": "recover"},
    )
    assert [entry.missing for entry in (by_count, by_share, recovery)] == [0, 2, 0]
    assert len(by_share.nodes) == 2
