"""Scenarios in the audit log, and the report on the pods of their nodes."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.audit import Caller
from app.audit.fault_report import FaultReport, PlayedEvent, PodTimes, ScenarioEvent, report_faults
from app.audit.scenarios import ScenarioLog
from app.core.errors import NotFound
from tests.app.audit.recorded import START, at
from tests.conftest import Clock, MakeApp, services_of
from tests.pods import a_pod

CALLER = Caller(request_id="play-1", address="localhost", user_agent="vkweb scenario play")


def an_entry(action: str, *nodes: str, **fields: Any) -> ScenarioEvent:
    return ScenarioEvent(scenario="spot-day", seed=7, step=1, action=action, nodes=list(nodes), **fields)


def played(seconds: float, action: str, *nodes: str, **fields: Any) -> PlayedEvent:
    return PlayedEvent(at(seconds), an_entry(action, *nodes, **fields))


def a_history(node: str, created: float, *, owner: str | None = "web", **seconds: float) -> PodTimes:
    times: dict[str, datetime] = {f"{name}_at": at(value) for name, value in seconds.items()}
    return PodTimes(node_name=node, controller_uid=owner, created_at=at(created), **times)


def reported(*events: PlayedEvent, pods: list[PodTimes]) -> list[tuple[Any, ...]]:
    """Report faults; return the numbers of each."""
    found = report_faults(events, pods, now=at(1000))
    return [(f.action, f.pods, f.evicted, f.rescheduled, f.ready, f.p50, f.p99) for f in found]


def test_replacements_of_evicted_pods_are_timed() -> None:
    pods = [
        a_history("spot-0", 0, ready=1, deletion_requested=160),
        a_history("spot-0", 0, ready=1, deletion_requested=160),
        a_history("spot-0", 0, ready=1),
        a_history("spot-1", 0, ready=1),
        a_history("spot-1", 150, ready=152),
        a_history("spot-1", 151, ready=170),
        a_history("spot-1", 900, ready=901),
    ]
    found = reported(
        played(100, "partition", "spot-0"), played(220, "recover", "spot-0", groups=["node"]), pods=pods
    )
    assert found == [("partition", 3, 2, 2, 2, 52.0, 70.0)]


def test_a_deletion_is_known_after_a_partition() -> None:
    pods = [a_history("spot-0", 0, deletion_requested=221), a_history("spot-0", 0, deletion_requested=500)]
    events = [played(100, "partition", "spot-0"), played(220, "recover", "spot-0", groups=["node"])]
    assert reported(*events, pods=pods) == [("partition", 2, 1, 0, 0, None, None)]


def test_ended_and_later_pods_are_not_affected() -> None:
    pods = [
        a_history("spot-0", 0, ended=50),
        a_history("spot-0", 0, deletion_requested=50),
        a_history("spot-0", 120, deletion_requested=130),
        a_history("spot-0", 0, failed=110, ended=110, owner=None),
    ]
    assert reported(played(100, "reclaim", "spot-0"), pods=pods) == [("reclaim", 1, 1, 0, 0, None, None)]


def test_a_pod_replaces_one_pod_only() -> None:
    pods = [
        a_history("spot-0", 0, deletion_requested=101),
        a_history("spot-1", 0, deletion_requested=111),
        a_history("spot-2", 105, ready=107),
    ]
    found = reported(played(100, "drain", "spot-0"), played(110, "drain", "spot-1"), pods=pods)
    assert [row[3] for row in found] == [1, 0]


def test_replacements_are_those_of_the_fault() -> None:
    pods = [
        a_history("spot-0", 0, deletion_requested=230),  # deleted at 160, which the provider hears at the recovery
        a_history("spot-1", 0, deletion_requested=120),
        a_history("base-0", 120, ready=122),  # by the drain
        a_history("base-0", 160, ready=165),  # by the partition
    ]
    events = [
        played(100, "partition", "spot-0"),
        played(119, "drain", "spot-1"),
        played(230, "recover", "spot-0", "spot-1", groups=["node"]),
    ]
    assert reported(*events, pods=pods) == [
        ("partition", 1, 1, 1, 1, 65.0, 65.0),
        ("drain", 1, 1, 1, 1, 3.0, 3.0),
    ]


def test_a_pod_was_evicted_by_the_last_fault_before_it_left() -> None:
    pods = [
        a_history("spot-0", 0, deletion_requested=201),
        a_history("base-0", 150, ready=152),  # of more replicas
        a_history("base-0", 202, ready=205),
    ]
    events = [
        played(100, "partition", "spot-0"),
        played(180, "recover", "spot-0", groups=["node"]),
        played(200, "drain", "spot-0"),
    ]
    assert reported(*events, pods=pods) == [
        ("partition", 1, 0, 0, 0, None, None),
        ("drain", 1, 1, 1, 1, 5.0, 5.0),
    ]


def test_a_pod_of_a_partitioned_node_was_not_evicted_by_pressure() -> None:
    pods = [a_history("spot-0", 0, deletion_requested=231), a_history("base-0", 160, ready=165)]
    events = [
        played(100, "partition", "spot-0"),
        played(170, "pressure", "spot-0"),
        played(230, "recover", "spot-0", groups=["node"]),
    ]
    assert reported(*events, pods=pods) == [
        ("partition", 1, 1, 1, 1, 65.0, 65.0),
        ("pressure", 1, 0, 0, 0, None, None),
    ]


def test_the_next_pod_of_a_job_is_no_replacement() -> None:
    pods = [
        a_history("spot-0", 0, deletion_requested=230),
        a_history("base-0", 0, ended=120),
        a_history("base-0", 120, ready=121, ended=240),
        a_history("base-0", 160, ready=162, ended=280),
    ]
    events = [played(100, "partition", "spot-0"), played(229, "recover", "spot-0", groups=["node"])]
    assert reported(*events, pods=pods) == [("partition", 1, 1, 1, 1, 62.0, 62.0)]


def test_a_pod_that_succeeded_was_not_evicted() -> None:
    pods = [
        a_history("spot-0", 0, ended=120, deletion_requested=230),
        a_history("base-0", 160, ready=162),
    ]
    for action, evicted in (("vanish", 0), ("partition", 1)):  # the cluster hears nothing during a partition
        events = [played(100, action, "spot-0"), played(229, "recover", "spot-0", groups=["node"])]
        ((_, _, left, replaced, *_),) = reported(*events, pods=pods)
        assert (left, replaced) == (evicted, evicted), action


def test_a_replacement_may_wait_for_a_node() -> None:
    pods = [a_history("spot-0", 0, deletion_requested=110), a_history("new-0", 400, ready=402)]
    assert reported(played(100, "reclaim", "spot-0"), pods=pods) == [("reclaim", 1, 1, 1, 1, 302.0, 302.0)]


def test_a_node_that_could_not_be_changed_is_left_out() -> None:
    pods = [a_history("spot-0", 0), a_history("spot-1", 0)]
    (found,) = report_faults([played(5, "drain", "spot-0", "spot-1", errors={"spot-1": "no"})], pods, now=at(9))
    assert (found.nodes, found.pods) == (1, 1)


def test_slow_and_failing_pods_are_new_ones() -> None:
    pods = [
        a_history("spot-0", 0, ready=2),
        a_history("spot-0", 100, ready=120),
        a_history("spot-0", 150),
        a_history("spot-0", 200, ready=201),
    ]
    events = [
        played(100, "slow", "spot-0"),
        played(110, "recover", "spot-0", groups=["node", "fail"]),
        played(180, "recover", "spot-0", groups=["slow"]),
    ]
    assert reported(*events, pods=pods) == [("slow", 2, 0, 0, 1, 20.0, 20.0)]


@pytest.fixture
def log(make_app: MakeApp) -> ScenarioLog:
    """The scenarios in the audit log of a fleet with a hash chain."""
    return log_of(make_app(audit_hash_chain=True))


def log_of(app: Flask) -> ScenarioLog:
    services = services_of(app)
    return ScenarioLog(services.database, services.settings, clock=services.clock)


def test_each_entry_is_an_event_of_the_hash_chain(make_app: MakeApp) -> None:
    app = make_app(audit_hash_chain=True)
    log, services = log_of(app), services_of(app)
    with pytest.raises(NotFound):
        log.find_play()
    log.record(CALLER, an_entry("partition", "spot-0"), code=200)
    log.record(CALLER, an_entry("recover", "spot-0", groups=["node"]), code=503)
    found = services.audit.verify()
    assert (found.events, found.broken, log.find_play()) == (2, None, "play-1")


def test_the_report_reads_the_record(make_app: MakeApp, clock: Clock) -> None:
    app = make_app(start_delay="2s")
    client, log = app.test_client(), log_of(app)
    create(client, "web-0", node="spot-0")
    create(client, "web-1", node="spot-1")
    clock.now = at(10)
    log.record(CALLER, an_entry("drain", "spot-0"), code=200)
    clock.now = at(11)
    client.delete("/deletePod", json=a_pod("web-0", uid="web-0"))
    create(client, "web-2", node="spot-1")
    clock.now = at(60)
    assert client.get("/getPods").data  # advances the timelines
    log.record(CALLER, an_entry("recover", "spot-0", groups=["node"]), code=200)
    expected = FaultReport(
        at=at(10),
        step=1,
        action="drain",
        nodes=1,
        pods=1,
        evicted=1,
        rescheduled=1,
        ready=1,
        p50=3.0,
        p99=3.0,
    )
    assert log.report("play-1") == [expected]
    assert log.report("another") == []
    assert clock.now - START == timedelta(seconds=60)


def create(client: FlaskClient, name: str, *, node: str) -> None:
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "web", "controller": True}
    pod = a_pod(name, uid=name, metadata={"ownerReferences": [owner]}, nodeName=node)
    assert client.post("/createPod", json=pod).status_code == 200
