"""Wrong clocks: a clock that is set back, and a clock ahead of another."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.core.timestamps import rfc3339
from app.db.engine import Database
from tests.app.db.consistency import assert_nothing_is_half_written
from tests.conftest import Clock, MakeApp, services_of
from tests.pods import a_container, a_pod


@pytest.mark.parametrize(
    ("jump", "start_delay"),
    [
        pytest.param(-0.000001, "0s", id="by_the_least"),
        pytest.param(-3600, "0s", id="by_an_hour"),
        pytest.param(-3600, "30s", id="by_an_hour_to_before_the_start"),
        pytest.param(-10 * 365 * 86400, "30s", id="by_ten_years"),
    ],
)
def test_a_clock_that_is_set_back_breaks_nothing(
    make_app: MakeApp, clock: Clock, *, jump: float, start_delay: str
) -> None:
    client = make_app(start_delay=start_delay).test_client()
    for name in ("stays", "changes", "goes", "is-replaced", "comes-back"):
        assert client.post("/createPod", json=a_pod(name, uid=name)).status_code == 200
    assert client.delete("/deletePod", json=a_pod("comes-back", uid="comes-back")).status_code == 200
    clock.advance(60)
    for name in ("changes", "goes"):
        assert client.put("/updatePod", json=changed(name, "nginx:1.28")).status_code == 200

    clock.advance(jump)

    for name in ("stays", "changes", "goes", "is-replaced"):
        assert status(client, name)["containerStatuses"][0]["name"] == "web"
    for image in ("nginx:1.29", "nginx:1.30"):
        assert client.put("/updatePod", json=changed("changes", image)).status_code == 200
        assert status(client, "changes")["containerStatuses"][0]["image"].endswith(image)
    assert client.delete("/deletePod", json=a_pod("goes", uid="goes")).status_code == 200
    assert client.post("/createPod", json=a_pod("is-replaced", uid="replaces")).status_code == 200
    assert client.post("/createPod", json=a_pod("comes-back", uid="comes-back")).status_code == 200
    assert client.post("/createPod", json=a_pod("is-new")).status_code == 200
    names = {pod["metadata"]["name"]: pod["status"]["phase"] for pod in client.get("/getPods").get_json()}
    assert names.keys() == {"stays", "changes", "is-replaced", "comes-back", "is-new"}
    database = services_of(client.application).database
    assert_nothing_is_half_written(database)

    clock.advance(60 - jump)
    assert {pod["status"]["phase"] for pod in client.get("/getPods").get_json()} == {"Running"}


def changed(name: str, image: str) -> dict[str, Any]:
    return a_pod(name, uid=name, containers=[a_container(image=image)])


def status(client: FlaskClient, name: str) -> dict[str, Any]:
    answer = client.get("/getPodStatus", query_string={"namespace": "default", "name": name})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.get_json()
    return found


def test_a_fast_writer_clock_hides_no_pods(client: FlaskClient, make_app: MakeApp, clock: Clock) -> None:
    def ahead() -> datetime:
        return clock() + timedelta(minutes=5)

    writer = make_app(clock=ahead).test_client()
    assert writer.post("/createPod", json=a_pod(uid="first")).status_code == 200
    assert status(client, "web-0")["phase"] == "Running"
    assert client.get("/getPod?namespace=default&name=web-0").get_json()["status"]["phase"] == "Running"
    assert len(client.get("/getPods").get_json()) == 1
    changes = a_pod(uid="first", containers=[a_container(image="nginx:1.28")])
    assert client.put("/updatePod", json=changes).status_code == 200
    assert status(client, "web-0") == status(writer, "web-0")
    assert writer.delete("/deletePod", json=a_pod(uid="first")).status_code == 200
    assert client.post("/createPod", json=a_pod(uid="first")).status_code == 200
    assert status(client, "web-0") == status(writer, "web-0")


HOURS = pytest.mark.parametrize("hours", [2, -2], ids=["two_hours_ahead", "two_hours_behind"])
WRITES = {
    "create": ("POST", "/createPod", a_pod("wrong", uid="wrong")),
    "update": ("PUT", "/updatePod", a_pod("changes", uid="changes", containers=[a_container(image="nginx:1.28")])),
    "delete": ("DELETE", "/deletePod", a_pod("goes", uid="goes")),
    "advance": ("GET", "/podStatuses?since=1", None),
}
CRASHES = {
    f"synthetic.virtual-kubelet.io/{name}": value for name, value in {"run-for": "1s", "exit-code": "1"}.items()
}


@HOURS
@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("restarted", [False, True], ids=["same_process", "restarted"])
def test_timelines_continue_after_a_wrong_clock(
    make_app: MakeApp, clock: Clock, *, hours: int, write: str, restarted: bool
) -> None:
    app = make_app(start_delay="2s", audit_hash_chain=True)
    client = app.test_client()
    for name in ("stays", "changes", "goes"):
        assert client.post("/createPod", json=a_pod(name, uid=name)).status_code == 200
    crashes = a_pod("crashes", uid="crashes", metadata={"annotations": CRASHES})
    assert client.post("/createPod", json=crashes).status_code == 200
    clock.advance(10)
    before = {pod["metadata"]["name"]: pod["status"] for pod in client.get("/getPods").get_json()}
    revision = client.get("/podStatuses?since=0").get_json()["revision"]

    clock.advance(hours * 3600)
    method, path, pod = WRITES[write]
    assert client.open(path, method=method, json=pod, buffered=True).status_code == 200
    clock.advance(-hours * 3600)

    if restarted:
        client = make_app(start_delay="2s", audit_hash_chain=True).test_client()
    assert client.post("/createPod", json=a_pod("after", uid="after")).status_code == 200
    for _ in range(10):
        clock.advance(2)
        found = {pod["metadata"]["name"]: pod["status"] for pod in client.get("/getPods").get_json()}
        changed_pods = client.get(f"/podStatuses?since={revision}").get_json()
        assert changed_pods["revision"] >= revision
        revision = changed_pods["revision"]
        for name in before.keys() & found.keys():
            assert_times_do_not_decrease(before[name], found[name])
        before = found
    assert found["after"]["phase"] == "Running"
    assert found.get("wrong", found["after"])["phase"] == "Running"
    assert client.delete("/deletePod", json=a_pod("after", uid="after")).status_code == 200
    verification = services_of(client.application).audit.verify()
    assert (verification.broken, verification.events) == (None, 6 if write == "advance" else 7)
    restarts = found["crashes"]["containerStatuses"][0]["restartCount"]
    clock.advance(1300)
    assert status(client, "crashes")["containerStatuses"][0]["restartCount"] > restarts


def assert_times_do_not_decrease(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert after["startTime"] == before["startTime"]
    since = {condition["type"]: condition["lastTransitionTime"] for condition in before["conditions"]}
    for condition in after["conditions"]:
        assert condition["lastTransitionTime"] >= since.get(condition["type"], "")
    assert max(_times(after)) >= max(_times(before))


def _times(value: object) -> Iterator[str]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        if key in ("startTime", "startedAt", "finishedAt", "lastTransitionTime"):
            yield str(item)
        yield from _times(item)


def test_the_nodes_time_meets_the_clock_again(make_app: MakeApp, clock: Clock) -> None:
    client = make_app().test_client()
    right = clock()
    clock.advance(7200)
    client.post("/createPod", json=a_pod("wrong"))
    clock.now = right
    fleet_clock = services_of(client.application).clock

    assert fleet_clock() == right + timedelta(hours=2)
    clock.advance(3600)
    assert fleet_clock() == right + timedelta(hours=2.5)
    clock.advance(3 * 3600)
    assert fleet_clock() == right + timedelta(hours=4)
    client.post("/createPod", json=a_pod("after"))
    assert status(client, "after")["startTime"] == rfc3339(clock())


def test_a_restart_keeps_what_was_shown(make_app: MakeApp, clock: Clock) -> None:
    client = make_app(start_delay="2s").test_client()
    clock.advance(7200)
    client.post("/createPod", json=a_pod("wrong"))
    clock.advance(-7200)
    assert status(client, "wrong")["phase"] == "Pending"
    clock.advance(4)
    assert status(client, "wrong")["phase"] == "Running"

    restarted = make_app(start_delay="2s").test_client()
    assert status(restarted, "wrong")["phase"] == "Running"


def test_reports_contain_pods_after_a_wrong_clock(make_app: MakeApp, clock: Clock, database: Database) -> None:
    client = make_app().test_client()
    clock.advance(7200)
    client.post("/createPod", json=a_pod("wrong"))
    clock.advance(-7200)
    client.post("/createPod", json=a_pod("after"))
    clock.advance(60)

    runner = client.application.test_cli_runner()
    for arguments in (("query", "ran"), ("query", "node"), ("tail",)):
        output = runner.invoke(args=["audit", *arguments, "--json"]).stdout
        assert {name for name in ("wrong", "after") if f'"name":"{name}"' in output} == {"wrong", "after"}
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM current_pods").scalar() == 2
