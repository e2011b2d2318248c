"""Usage that depends on other pods, and on what a pod was before."""

from datetime import timedelta
from math import ceil
from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Connection, func, insert, select

from app.db.engine import Database
from app.db.models import Pod, PodStatus
from app.pods import usage
from app.pods.readiness import read_histories
from app.runtimes import AcceptedPod
from app.runtimes.synthetic.runtime import SyntheticRuntime
from app.runtimes.synthetic.usage.measure import SyntheticUsage
from tests.app.web.conftest import change, on_sqlite_alone, put_on
from tests.conftest import Clock, MakeApp, services_of
from tests.pods import a_container, a_pod

USAGE_CPU = "synthetic.virtual-kubelet.io/usage-cpu"
CONTROLLER = "11111111-2222-3333-4444-555555555555"
SECOND = 10**9


def totals(client: FlaskClient) -> dict[str, int]:
    """Return the CPU time of each pod, in core-nanoseconds."""
    answer = client.get("/podStats")
    assert answer.status_code == 200, answer.text
    return {entry["podRef"]["name"]: entry["cpu"]["usageCoreNanoSeconds"] for entry in answer.get_json()}


def cores(client: FlaskClient) -> dict[str, float]:
    """Return the current CPU usage of each pod, in cores."""
    entries = client.get("/podStats").get_json()
    return {entry["podRef"]["name"]: entry["cpu"]["usageNanoCores"] / 10**9 for entry in entries}


def a_replica(
    name: str, load: str = "share(2000m)", *, owner: str | None = CONTROLLER, **spec: Any
) -> dict[str, Any]:
    """Return a pod that gets a part of a load."""
    owners = [{"kind": "ReplicaSet", "uid": owner, "controller": True}] if owner else []
    metadata = {"annotations": {USAGE_CPU: load}, "ownerReferences": owners}
    return a_pod(name, metadata=metadata, **spec)


def at_a_second(clock: Clock) -> None:
    clock.now = clock.now.replace(microsecond=0)


def test_a_load_is_divided_among_the_ready_pods(client: FlaskClient, clock: Clock) -> None:
    at_a_second(clock)
    put_on(client, a_replica("one"))
    put_on(client, a_replica("other", "share(1)", owner=str(uuid4())))
    clock.advance(60)
    assert cores(client) == {"one": 2, "other": 1}
    put_on(client, a_replica("two"))
    clock.advance(60)
    assert cores(client) == {"one": 1, "other": 1, "two": 1}
    assert totals(client) == {"one": 180 * SECOND, "other": 120 * SECOND, "two": 60 * SECOND}


def test_a_part_follows_from_the_statuses_of_deleted_pods(client: FlaskClient, clock: Clock) -> None:
    at_a_second(clock)
    put_on(client, a_replica("one"))
    gone = put_on(client, a_replica("gone"))
    clock.advance(60)
    client.delete("/deletePod", json=gone)
    clock.advance(60)
    assert totals(client)["one"] == (60 + 120) * SECOND


def test_a_pod_that_is_not_ready_gets_no_part(client: FlaskClient, clock: Clock) -> None:
    at_a_second(clock)
    probe = {"initialDelaySeconds": 30, "httpGet": {"port": 80}}
    put_on(client, a_replica("one"))
    put_on(client, a_replica("late", "10m + share(2000m)", containers=[a_container(readinessProbe=probe)]))
    clock.advance(30)
    assert totals(client) == {"one": 60 * SECOND, "late": 0.3 * SECOND}
    clock.advance(30)
    assert totals(client) == {"one": 90 * SECOND, "late": 30.6 * SECOND}


def test_a_limit_caps_a_part_of_a_load(client: FlaskClient, clock: Clock) -> None:
    at_a_second(clock)
    limited = [a_container(resources={"limits": {"cpu": "1500m"}})]
    put_on(client, a_replica("one", containers=limited))
    put_on(client, a_replica("wave", "sine(0,0,1m) + share(2000m)", owner=None, containers=limited))
    clock.advance(60)
    put_on(client, a_replica("two"))
    clock.advance(60)
    assert totals(client) == {"one": 150 * SECOND, "two": 60 * SECOND, "wave": 180 * SECOND}


@pytest.mark.parametrize(
    "pod",
    [
        a_pod(containers=[a_container(resources={"requests": {"cpu": "1E", "memory": "1E"}})]),
        a_replica("load", "share(500Ki) + 500Ki"),
        a_pod(containers=[a_container(name, resources={"requests": {"cpu": "1E"}}) for name in "ab"]),
    ],
    ids=["requests", "annotation", "sum"],
)
def test_usage_is_an_integer_of_64_bits(client: FlaskClient, clock: Clock, pod: dict[str, Any]) -> None:
    put_on(client, pod)
    clock.advance(365 * 24 * 3600)
    (found,) = client.get("/podStats").get_json()
    assert 10**14 < found["cpu"]["usageNanoCores"] < 2**63
    assert found["cpu"]["usageCoreNanoSeconds"] < 2**63
    assert found["memory"]["workingSetBytes"] <= 2**50


def test_a_pod_without_a_controller_has_the_whole_load(client: FlaskClient, clock: Clock) -> None:
    put_on(client, a_replica("one", owner=None))
    put_on(client, a_replica("two", owner=None))
    clock.advance(10)
    assert cores(client) == {"one": 2, "two": 2}


def test_an_update_keeps_what_was_used_before(client: FlaskClient, clock: Clock, make_app: MakeApp) -> None:
    at_a_second(clock)
    pod = put_on(client, a_replica("one", "1"))
    clock.advance(100)
    for load in ("100m", "share(500m)"):
        pod["metadata"]["annotations"][USAGE_CPU] = load
        change(client, pod)
        clock.advance(100)
    assert totals(client) == {"one": (100 + 10 + 50) * SECOND}
    assert totals(make_app().test_client()) == totals(client), "also in another process"


def test_an_update_of_something_else_keeps_no_usage(client: FlaskClient, clock: Clock, database: Database) -> None:
    pod = put_on(client, a_replica("one"))
    pod["metadata"]["labels"] = {"app": "other"}
    clock.advance(1)
    change(client, pod)
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM usage_changes").scalar() == 0


def test_no_pod_is_missing_among_too_many(
    client: FlaskClient, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than a process keeps."""
    monkeypatch.setattr(usage, "_MAX_KEPT", 1)
    pods = [put_on(client, a_replica(name)) for name in ("one", "two", "three")]
    services = services_of(client.application)
    for pod in pods:
        clock.advance(10)
        pod["metadata"]["annotations"][USAGE_CPU] = "1"
        change(client, pod)
        assert totals(client).keys() == {"one", "two", "three"}
        assert services.usage.levels([clock.now.replace(microsecond=0)]) != [None]


@on_sqlite_alone
def test_deleted_pods_of_a_controller_cost_little(client: FlaskClient, clock: Clock, database: Database) -> None:
    """Their number times as much, and not its square; the oldest pod that is here is newer than they."""
    gone = put_on(client, a_replica("gone"))
    clock.advance(60)
    client.delete("/deletePod", json=gone)
    clock.advance(60)
    totals(client)
    put_on(client, a_replica("here"))
    few = steps_of_a_history(database, clock)
    with database.write() as connection:
        copy_pods(connection, "gone", count=100)
    more = steps_of_a_history(database, clock)
    with database.write() as connection:
        copy_pods(connection, "gone", count=300)
    assert steps_of_a_history(database, clock) - more < 2 * 3 * (more - few)


def copy_pods(connection: Connection, name: str, *, count: int) -> None:
    """Insert copies of a pod and of its statuses."""
    pod = connection.execute(select(Pod.__table__).where(Pod.name == name)).mappings().one()
    rows = connection.execute(select(PodStatus.__table__).where(PodStatus.pod_id == pod["id"])).mappings().all()
    start = connection.scalar(select(func.max(Pod.id))) or 0
    ids = range(start + 1, start + 1 + count)
    connection.execute(insert(Pod), [{**pod, "id": id_, "uid": str(id_), "name": str(id_)} for id_ in ids])
    connection.execute(insert(PodStatus), [{**row, "pod_id": id_} for row in rows for id_ in ids])


def steps_of_a_history(database: Database, clock: Clock) -> int:
    """Return about how many instructions SQLite executes to read the history of the controller."""
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    with database.read() as connection:
        driver: Any = connection.connection.driver_connection
        driver.set_progress_handler(count, 10)
        fleet = connection.scalars(select(Pod.fleet)).first() or ""
        assert CONTROLLER in read_histories(connection, [CONTROLLER], fleet=fleet, at=clock.now)
        driver.set_progress_handler(None, 0)
    return steps


def test_usage_of_the_past_is_what_it_was(client: FlaskClient, clock: Clock) -> None:
    services = services_of(client.application)
    at_a_second(clock)
    pod = put_on(client, a_replica("one"))
    put_on(client, a_replica("two"))
    clock.advance(60)
    then, expected = clock.now, totals(client)
    clock.advance(60)
    client.delete("/deletePod", json=pod)
    clock.advance(60)
    found = services.usage.pods(then)
    assert {stats.pod_ref.name: stats.cpu.usage_core_nano_seconds for stats in found} == expected


def test_kills_because_of_memory_are_on_record(client: FlaskClient, clock: Clock) -> None:
    services = services_of(client.application)
    at_a_second(clock)
    started = clock.now
    metadata = {"annotations": {"synthetic.virtual-kubelet.io/usage-memory": "ramp(0,100Mi,100s)"}}
    containers = [a_container(resources={"limits": {"memory": "50Mi"}}), a_container("other")]
    pod = put_on(client, a_pod("web", metadata=metadata, containers=containers))
    clock.advance(120)
    found = services.audit.run_report("oom-kills", since=started, until=clock.now)
    times = [started + timedelta(seconds=seconds) for seconds in (51, 103)]
    of_pod = ("default", "web", pod["metadata"]["uid"], "web", "nginx:1.27", "virtual-kubelet-web")
    assert found.rows == [(time, *of_pod) for time in times]


@on_sqlite_alone
def test_an_autoscaler_converges_and_stays(client: FlaskClient, clock: Clock) -> None:
    """The rule of kube-controller-manager: ceil(current * usage / target), with a tolerance of 0.1."""
    requests = [a_container(resources={"requests": {"cpu": "200m"}})]
    pods: list[dict[str, Any]] = []
    wanted, seen = 1, []
    for _ in range(8):
        while len(pods) < wanted:
            pods.append(put_on(client, a_replica(f"web-{len(pods)}", containers=requests)))
        while len(pods) > wanted:
            client.delete("/deletePod", json=pods.pop())
        clock.advance(15)
        before = totals(client)
        clock.advance(15)
        after = totals(client)
        rates = [(after[name] - before[name]) / 15 / SECOND for name in after.keys() & before.keys()]
        utilization = sum(rates) / (len(rates) * 0.2)
        ratio = utilization / 0.5
        if abs(ratio - 1) > 0.1:
            wanted = ceil(len(pods) * ratio)
        seen.append(wanted)
    assert seen == [20] * 8


@pytest.mark.parametrize("reads", ["usage", "containers"])
def test_a_failure_for_one_pod_leaves_the_usage_of_others(
    client: FlaskClient, clock: Clock, monkeypatch: pytest.MonkeyPatch, reads: str
) -> None:
    read, containers = SyntheticRuntime.usage, SyntheticUsage.containers
    broken: list[SyntheticUsage] = []

    def fail_for_bad(self: SyntheticRuntime, pod: AcceptedPod, **more: Any) -> SyntheticUsage:
        found = read(self, pod, **more)
        if pod.manifest.pod.metadata.name == "bad":
            broken.append(found)
            if reads == "usage":
                raise OSError("no such file")
        return found

    def fail_for_broken(self: SyntheticUsage, *running: Any, **more: Any) -> Any:
        if any(self is one for one in broken):
            raise OSError("no such file")
        return containers(self, *running, **more)

    monkeypatch.setattr(SyntheticRuntime, "usage", fail_for_bad)
    monkeypatch.setattr(SyntheticUsage, "containers", fail_for_broken)
    put_on(client, bad := a_pod("bad"))
    put_on(client, a_pod("good"))
    clock.advance(2)
    assert [stats["podRef"]["name"] for stats in client.get("/podStats").get_json()] == ["good"]
    bad["metadata"]["labels"] = {"app": "other"}
    assert client.put("/updatePod", json=bad).status_code == 200
