"""A name belongs to one pod at a time: a pod waits until the other one of its name has ended."""

from flask.testing import FlaskClient

from tests.app.pods.deletions import by_name, create, delete, listed, phases, slow_pod
from tests.conftest import Clock, MakeApp
from tests.pods import a_pod


def test_another_uid_starts_after_the_end(client: FlaskClient, clock: Clock) -> None:
    old, new = slow_pod(), a_pod()
    create(client, old)
    delete(client, old)
    clock.advance(1)
    create(client, new)
    assert by_name(client)["metadata"]["uid"] == new["metadata"]["uid"]

    clock.advance(8)
    assert by_name(client)["status"]["phase"] == "Pending"
    assert phases(client) == {old["metadata"]["uid"]: "Running", new["metadata"]["uid"]: "Pending"}

    clock.advance(1)
    status = by_name(client)["status"]
    assert (status["phase"], status["startTime"]) == ("Running", "2026-11-22T08:46:39Z")
    assert status["containerStatuses"][0]["state"]["running"]["startedAt"] == "2026-11-22T08:46:48Z"
    assert list(listed(client)) == [new["metadata"]["uid"]]


def test_a_replaced_pod_ends_before_its_successor_starts(client: FlaskClient, clock: Clock) -> None:
    old, new = slow_pod(), a_pod()
    create(client, old)
    create(client, new)
    assert set(phases(client).values()) == {"Running", "Pending"}

    clock.advance(10)
    assert phases(client) == {new["metadata"]["uid"]: "Running"}


def test_the_address_is_free_after_the_end(make_app: MakeApp, clock: Clock) -> None:
    client = make_app(pod_cidr="198.18.0.0/30").test_client()  # two addresses
    old = create(client, slow_pod())
    create(client, a_pod("other"))
    delete(client, old)
    assert client.post("/createPod", json=a_pod("third")).status_code == 503

    clock.advance(10)
    create(client, a_pod("third"))


def test_a_waiting_pod_can_be_updated_and_deleted(client: FlaskClient, clock: Clock) -> None:
    old, new = slow_pod(), a_pod()
    create(client, old)
    create(client, new)
    new["metadata"]["generation"] = 2
    assert client.put("/updatePod", json=new).status_code == 200
    assert by_name(client)["status"]["observedGeneration"] == 2
    assert by_name(client)["status"]["phase"] == "Pending"

    assert delete(client, new) == 200
    assert by_name(client)["metadata"]["uid"] == old["metadata"]["uid"]
    (gone,) = client.get("/podStatuses?since=1").get_json()["deleted"]
    assert gone["status"]["phase"] == "Failed"
    terminated = gone["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (terminated["exitCode"], terminated["reason"]) == (137, "ContainerStatusUnknown")
    third = create(client, a_pod())
    clock.advance(10)
    assert phases(client) == {third["metadata"]["uid"]: "Running"}


def test_a_delete_by_uid_finds_the_ending_pod(client: FlaskClient, clock: Clock) -> None:
    old, new = slow_pod(), a_pod()
    create(client, old)
    create(client, new)
    assert delete(client, old, grace=0) == 200

    clock.advance(2)  # between SIGTERM and SIGKILL
    assert by_name(client)["status"]["phase"] == "Running"
    assert delete(client, old) == 404


def test_a_late_create_of_the_ending_pod_is_ignored(client: FlaskClient, clock: Clock) -> None:
    old, new = slow_pod(), a_pod()
    create(client, old)
    create(client, new)
    create(client, old)

    clock.advance(10)
    assert list(listed(client)) == [new["metadata"]["uid"]]
