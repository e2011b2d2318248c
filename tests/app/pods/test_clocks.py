"""Wrong clocks: a clock that is set back, and a clock ahead of another."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.app.db.test_durability import assert_nothing_is_half_written
from tests.app.db.test_faults import application
from tests.conftest import Clock, MakeApp
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
    database = client.application.extensions["services"].database
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


def test_a_fast_writer_clock_hides_no_pods(client: FlaskClient, database_url: str, clock: Clock) -> None:
    def ahead() -> datetime:
        return clock() + timedelta(minutes=5)

    with application(database_url, ahead) as other:
        writer = other.test_client()
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
