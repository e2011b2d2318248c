"""The usage of the node and of pods, as `/stats/summary` reports it."""

import asyncio
import json
import sys
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import ProviderUnavailable
from broker.kubelet.stats.source import ProviderUsage, Usage, UsageSource
from broker.pods.pressure import DISK, MEMORY, PIDS
from tests.broker.kubelet.stats.conftest import NOW, RUN_START, RUNNING, UsageNode, pod, usage

WAITING = {"waiting": {"reason": "ContainerCreating"}}
ENDED = {"terminated": {"exitCode": 0, "finishedAt": "2026-11-22T08:50:00Z"}}


async def summary(node: UsageNode) -> Any:
    """Return the summary, as it is read from the wire."""
    return json.loads(msgspec.json.encode(await node.source.summary()))


async def test_usage_is_that_of_the_provider(node: UsageNode) -> None:
    node.put("web", {"nginx": 50.0, "proxy": 0.5})
    (entry,) = (await summary(node))["pods"]
    assert node.provider.reported is not None
    assert entry == node.provider.reported[0]


async def test_a_pod_is_the_sum_of_its_containers(node: UsageNode) -> None:
    """Whatever the provider reports as its sum."""
    node.put("web", {"nginx": 50.0, "proxy": 0.5})
    assert node.provider.reported is not None
    node.provider.reported[0] |= {"cpu": None, "memory": None}
    (entry,) = (await summary(node))["pods"]
    assert (entry["cpu"], entry["memory"]) == (
        {"time": "2026-11-22T09:00:00Z", "usageCoreNanoSeconds": 50_500_000_000, "usageNanoCores": 500_000_000},
        {"time": "2026-11-22T09:00:00Z", "workingSetBytes": 2000, "rssBytes": 1998, "usageBytes": 2002},
    )


async def test_pods_of_other_nodes_are_left_out(node: UsageNode) -> None:
    node.put("web", {"nginx": 1})
    node.report("stranger", {"c": 1})
    assert [entry["podRef"]["name"] for entry in (await summary(node))["pods"]] == ["web"]


async def test_a_node_does_not_keep_the_pods_of_others(node: UsageNode) -> None:
    node.put("web", {"app": 1.0})
    provider = ProviderUsage(node.provider, clock=lambda: node.now)
    source = UsageSource(provider, node, node_name="node-1", clock=lambda: node.now)
    reading = await provider.read()
    references = sys.getrefcount(reading)
    assert len((await source.read()).pods) == 1
    assert sys.getrefcount(reading) == references


async def test_the_provider_is_asked_once_a_second(node: UsageNode) -> None:
    node.put("web", {"nginx": 1})
    await asyncio.gather(*(node.source.summary() for _ in range(20)))
    assert node.provider.requests == 1
    node.now += timedelta(milliseconds=999)
    await node.source.summary()
    assert node.provider.requests == 1
    node.now += timedelta(milliseconds=1)
    await node.source.summary()
    assert node.provider.requests == 2


async def test_a_clock_set_back_asks_again(node: UsageNode) -> None:
    await node.source.summary()
    node.now -= timedelta(hours=1)
    await node.source.summary()
    assert node.provider.requests == 2


async def test_the_node_uses_what_pods_and_broker_use(node: UsageNode) -> None:
    node.put("web", {"nginx": 100})
    before = (await summary(node))["node"]
    node.report("web", {"nginx": 107})
    node.pods["db"] = pod("db", statuses={"pg": RUNNING})
    node.report("db", {"pg": 5}, started="2026-11-22T09:00:59Z")
    after = (await summary(node))["node"]
    (broker,) = after["systemContainers"]
    assert broker["name"] == "kubelet"
    used = after["cpu"]["usageCoreNanoSeconds"] - before["cpu"]["usageCoreNanoSeconds"]
    own = broker["cpu"]["usageCoreNanoSeconds"] - before["systemContainers"][0]["cpu"]["usageCoreNanoSeconds"]
    assert used == own + 12 * 10**9
    assert after["memory"]["workingSetBytes"] == broker["memory"]["workingSetBytes"] + 2000
    assert after["cpu"]["usageNanoCores"] == 500_000_000


MACHINE = {
    "nodeName": "its-name-at-the-provider",
    "startTime": "2026-11-20T00:00:00Z",
    "cpu": {"time": "2026-11-22T09:00:00.5Z", "usageNanoCores": 3, "usageCoreNanoSeconds": 10**15},
    "memory": {"time": "2026-11-22T09:00:00.5Z", "workingSetBytes": 700, "availableBytes": 300},
    "fs": {"time": "2026-11-22T09:00:00.5Z", "availableBytes": 20, "capacityBytes": 100},
    "rlimit": {"time": "2026-11-22T09:00:00.5Z", "maxpid": 32768, "curproc": 32700},
}


async def test_the_node_is_the_machine_of_the_provider(node: UsageNode) -> None:
    node.put("web", {"nginx": 100})
    node.provider.machine = MACHINE
    found = (await summary(node))["node"]
    (broker,) = found.pop("systemContainers")
    assert found == MACHINE | {"nodeName": "node-1"}
    assert broker["name"] == "kubelet"
    node.provider.is_down = True
    assert node.source.node_alone().cpu.usage_core_nano_seconds == 10**15  # a counter must not fall


async def test_evictions_follow_the_machine(node: UsageNode) -> None:
    node.provider.machine = MACHINE
    usage = await node.source.for_eviction()
    assert usage.machine == {MEMORY: (300, 1000), DISK: (20, 100), PIDS: (68, 32768)}
    node.provider.machine = {name: MACHINE[name] for name in ("nodeName", "startTime", "cpu", "memory")}
    node.now += timedelta(seconds=1)
    assert (await node.source.for_eviction()).machine.keys() == {MEMORY}


@pytest.mark.parametrize(
    "part", [{"startTime": "yesterday"}, {"fs": {"time": "now"}}, {"rlimit": {"time": "now"}}]
)
async def test_an_invalid_time_of_the_machine_is_an_error(node: UsageNode, part: dict[str, object]) -> None:
    node.provider.machine = MACHINE | part
    with pytest.raises(ProviderUnavailable, match="/nodeStats has an invalid time"):
        await node.source.summary()


async def test_an_old_pod_that_is_new_here_adds_nothing(node: UsageNode) -> None:
    before = (await summary(node))["node"]
    node.put("web", {"nginx": 10_000})
    after = (await summary(node))["node"]
    own = after["systemContainers"][0]["cpu"]["usageCoreNanoSeconds"]
    own -= before["systemContainers"][0]["cpu"]["usageCoreNanoSeconds"]
    assert after["cpu"]["usageCoreNanoSeconds"] - before["cpu"]["usageCoreNanoSeconds"] == own


async def test_a_pod_that_leaves_takes_nothing_away(node: UsageNode) -> None:
    node.put("web", {"nginx": 1})
    await node.source.summary()
    node.report("web", {"nginx": 50})
    before = (await summary(node))["node"]["cpu"]["usageCoreNanoSeconds"]
    node.provider.reported = []
    node.now += timedelta(seconds=1)
    assert (await summary(node))["node"]["cpu"]["usageCoreNanoSeconds"] >= before


async def test_a_restarted_container_begins_at_zero(node: UsageNode) -> None:
    node.put("web", {"nginx": 50})
    await node.source.summary()
    node.report("web", {"nginx": 0.5}, started="2026-11-22T08:59:59Z")
    (entry,) = (await summary(node))["pods"]
    assert entry["containers"][0]["cpu"]["usageCoreNanoSeconds"] == 500_000_000
    assert entry["cpu"]["usageCoreNanoSeconds"] == 50_500_000_000  # a pod keeps what its containers have used


@given(st.lists(st.floats(0, 1e6), min_size=2))
async def test_totals_of_a_running_container_never_fall(reports: list[float]) -> None:
    node = UsageNode()
    node.put("web", {"nginx": 0})
    totals = []
    for seconds in reports:
        node.report("web", {"nginx": seconds})
        whole = await summary(node)
        (entry,) = whole["pods"]
        totals.append(
            [user["cpu"]["usageCoreNanoSeconds"] for user in (entry["containers"][0], entry, whole["node"])]
        )
    for column in zip(*totals, strict=True):
        assert list(column) == sorted(column)


STARTS = ("2026-11-22T08:46:40Z", "2026-11-22T08:59:59Z")


@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.sampled_from(("nginx", "proxy", "log")), st.floats(0, 1e6), max_size=3),
            st.sampled_from(STARTS),
        ),
        min_size=2,
    )
)
async def test_the_total_of_a_pod_never_falls(reports: list[tuple[dict[str, float], str]]) -> None:
    """Whichever of its containers end, start, restart or change places while one of them runs."""
    node = UsageNode()
    node.pods["web"] = pod("web", statuses={"nginx": RUNNING})
    last_of_pod = last_of_node = 0
    for seconds, started in reports:
        node.report("web", seconds, started=started)
        whole = await summary(node)
        assert len(whole["pods"]) == bool(seconds)  # without a container it is not there, and begins again
        of_pod = whole["pods"][0]["cpu"]["usageCoreNanoSeconds"] if seconds else 0
        of_node = whole["node"]["cpu"]["usageCoreNanoSeconds"]
        assert of_pod >= last_of_pod or not seconds
        assert of_node >= last_of_node
        last_of_pod, last_of_node = of_pod, of_node


async def test_a_container_is_found_by_its_name(node: UsageNode) -> None:
    node.put("web", {"nginx": 50, "proxy": 5})
    await node.source.summary()
    node.report("web", {"proxy": 4, "nginx": 60})  # in another order, and one has fallen
    (entry,) = (await summary(node))["pods"]
    totals = {part["name"]: part["cpu"]["usageCoreNanoSeconds"] for part in entry["containers"]}
    assert totals == {"proxy": 5 * 10**9, "nginx": 60 * 10**9}
    assert entry["cpu"]["usageCoreNanoSeconds"] == 65 * 10**9


async def test_a_container_that_was_missing_in_an_answer_continues(node: UsageNode) -> None:
    """With the same start it is the same container: its CPU time is not that of an ended one beside it."""
    totals = []
    for proxy, nginx in enumerate((50.0, None, 49.0, 52.0), 5):
        node.put("web", {"proxy": proxy} if nginx is None else {"nginx": nginx, "proxy": proxy})
        whole = await summary(node)
        own = whole["node"]["systemContainers"][0]["cpu"]["usageCoreNanoSeconds"]
        of_pod, of_node = (user["cpu"]["usageCoreNanoSeconds"] for user in (whole["pods"][0], whole["node"]))
        totals.append((of_pod // 10**9, (of_node - own) // 10**9))
    assert totals == [(55, 0), (56, 1), (57, 2), (60, 5)]


async def test_a_read_for_one_node_counts_for_the_others(node: UsageNode) -> None:
    provider, other = ProviderUsage(node.provider, clock=lambda: node.now), UsageNode()
    first, second = (UsageSource(provider, pods, node_name="n", clock=lambda: node.now) for pods in (node, other))
    node.put("web", {"nginx": 50})
    other.pods["db"] = pod("db", statuses={"pg": RUNNING})
    node.report("db", {"pg": 7})
    used = []
    for seconds in (50, 60, 75):
        node.report("web", {"nginx": seconds})
        await (first if seconds != 60 else second).read()
        used.append(first.node_alone().cpu.usage_core_nano_seconds - Usage.of_this_process().cpu)
    assert round((used[2] - used[0]) / 1e9) == 25
    assert {pod.cpu_total for pod in (await second.read()).pods} == {7 * 10**9}


async def test_nodes_that_join_take_nothing_from_the_others(node: UsageNode) -> None:
    """Each has a part of what the broker uses; a counter that falls is one that has begun again."""
    number = 1
    provider = ProviderUsage(node.provider, clock=lambda: node.now)
    source = UsageSource(provider, node, node_name="node-1", clock=lambda: node.now, nodes=lambda: number)
    before = (await source.read()).node
    number = 50
    after = source.node_alone()
    (old,), (new,) = before.system_containers, after.system_containers
    assert before.cpu.usage_core_nano_seconds <= after.cpu.usage_core_nano_seconds
    assert old.cpu.usage_core_nano_seconds <= new.cpu.usage_core_nano_seconds


async def test_without_usage_each_running_container_has_zero(node: UsageNode) -> None:
    node.provider.reported = None
    node.pods["web"] = pod(
        "web",
        statuses={"nginx": RUNNING, "proxy": RUNNING, "slow": WAITING},
        init={"mesh": RUNNING, "once": ENDED},
    )
    node.pods["done"] = pod("done", statuses={"c": ENDED})
    (entry,) = (await summary(node))["pods"]
    assert entry["podRef"] == {"namespace": "shop", "name": "web", "uid": "uid-of-web"}
    assert entry["startTime"] == "2026-11-22T08:46:38Z"
    assert [container["name"] for container in entry["containers"]] == ["mesh", "nginx", "proxy"]
    for user in (entry, *entry["containers"]):
        assert user["cpu"] == {"time": "2026-11-22T09:00:00.250000Z", "usageCoreNanoSeconds": 0}
        assert user["memory"] == {"time": "2026-11-22T09:00:00.250000Z", "workingSetBytes": 0}


async def test_an_outage_is_an_error_and_passes(node: UsageNode) -> None:
    node.put("web", {"nginx": 1})
    node.provider.is_down = True
    with pytest.raises(ProviderUnavailable):
        await node.source.summary()
    node.provider.is_down = False
    assert len((await summary(node))["pods"]) == 1


async def test_usage_that_is_none_names_the_field(node: UsageNode) -> None:
    node.put("web", {"nginx": 1})
    assert node.provider.reported is not None
    node.provider.reported[0]["containers"][0]["cpu"]["usageCoreNanoSeconds"] = "much"
    with pytest.raises(ProviderUnavailable, match="usageCoreNanoSeconds"):
        await node.source.summary()


INVALID: dict[str, dict[str, object]] = {
    "Invalid isoformat string: 'soon'": {"startTime": "soon"},
    "invalid time": {"containers": usage("web", {"nginx": 1}, started="now")["containers"]},
    "Invalid isoformat string: ''": {"containers": usage("web", {"nginx": 1}, at="")["containers"]},
    "has no time zone": {"network": {"time": "2026-11-22T09:00:00"}},
    "/podStats has an invalid time": {"ephemeral-storage": {"time": "now", "usedBytes": 5}},
    "usedBytes": {"ephemeral-storage": {"usedBytes": "5"}},
    "date value out of range": {"startTime": "0001-01-01T00:00:00+23:59"},
    ">= 0 - at `\\$.containers": {"containers": usage("web", {"nginx": 1}, memory=-5)["containers"]},
    "<= 9223372036854775807": {"containers": usage("web", {"nginx": 1e10})["containers"]},
    "process_count": {"process_stats": {"process_count": -1}},
    "rxBytes": {"network": {"time": RUN_START, "rxBytes": 2**64}},
}
"""Part of the error → what a provider reports of a pod."""


@pytest.mark.parametrize("message", INVALID)
async def test_an_invalid_value_is_an_error(node: UsageNode, message: str) -> None:
    node.put("web", {"nginx": 1})
    assert node.provider.reported is not None
    node.provider.reported[0] |= INVALID[message]
    with pytest.raises(ProviderUnavailable, match=message):
        await node.source.for_eviction()


async def test_those_who_wait_share_one_failure(node: UsageNode) -> None:
    node.provider.is_down = True
    found = await asyncio.gather(*(node.source.summary() for _ in range(20)), return_exceptions=True)
    assert {type(error) for error in found} == {ProviderUnavailable}
    assert node.provider.requests == 1


def test_cpu_usage_of_this_process_never_decreases() -> None:
    first, second = Usage.of_this_process(), Usage.of_this_process()
    assert first.memory > 0
    assert second.cpu >= first.cpu > 0


async def test_the_node_began_with_the_broker(node: UsageNode) -> None:
    found = (await summary(node))["node"]
    assert (found["nodeName"], found["startTime"]) == ("node-1", "2026-11-22T08:00:00Z")
    assert found["cpu"]["time"] == NOW.isoformat().replace("+00:00", "Z")
