"""The six endpoints of pods, and their effect on pods."""

import json
from uuid import uuid4

import pytest
from flask.testing import FlaskClient

from app.db.engine import Database
from app.db.models import Pod, PodStatus
from tests.app.web.conftest import change, named, on_sqlite_alone, put_on, rows
from tests.conftest import Clock, MakeApp
from tests.pods import a_container, a_pod


def test_a_provider_without_pods_lists_an_empty_array(client: FlaskClient) -> None:
    answer = client.get("/getPods")

    assert (answer.status_code, answer.text, answer.mimetype) == (200, "[]", "application/json")


def test_a_pod_is_returned_as_sent(client: FlaskClient) -> None:
    pod = put_on(
        client,
        a_pod(
            metadata={"creationTimestamp": None, "annotations": {"text": 'ü \U0001f40b \\ " / \u2028 \x7f'}},
            containers=[a_container(env=[{"name": "B", "value": "2"}, {"name": "A", "value": ""}])],
            overhead={"cpu": 1.50, "memory": 12345678901234567890},
            aFieldOfTomorrow={"nested": [{"deep": [None, True, 1e-7]}]},
        ),
    )

    read = client.get("/getPod", query_string=named(pod)).get_json()

    assert read.pop("status")["phase"] == "Running"
    del pod["status"]
    assert read == pod


def test_the_list_equals_the_single_reads(client: FlaskClient) -> None:
    pods = [put_on(client, a_pod(f"web-{number}")) for number in range(3)]

    listed = client.get("/getPods").get_json()

    assert listed == [client.get("/getPod", query_string=named(pod)).get_json() for pod in pods]


def test_get_pod_status_equals_the_pods_status(client: FlaskClient) -> None:
    pod = put_on(client, a_pod())

    status = client.get("/getPodStatus", query_string=named(pod)).get_json()

    assert status == client.get("/getPod", query_string=named(pod)).get_json()["status"]


@on_sqlite_alone
def test_managed_fields_are_omitted(client: FlaskClient) -> None:
    managed = [{"manager": "kubectl", "fieldsV1": {"f:spec": {"f:containers": {}}}}]
    pod = put_on(client, a_pod(metadata={"managedFields": managed}))

    assert "managedFields" not in client.get("/getPod", query_string=named(pod)).text
    assert "managedFields" not in client.get("/getPods").text


def test_a_large_list_is_complete(client: FlaskClient) -> None:
    for number in range(260):
        put_on(client, a_pod(f"web-{number}", metadata={"annotations": {"filling": "x" * 4000}}))

    listed = client.get("/getPods")

    assert len(listed.data) > 1_000_000
    assert {pod["metadata"]["name"] for pod in listed.get_json()} == {f"web-{number}" for number in range(260)}


def test_names_are_unique_per_namespace(client: FlaskClient) -> None:
    first, second = (put_on(client, a_pod("web-0", namespace=namespace)) for namespace in ("blue", "green"))

    client.delete("/deletePod", json=first)

    assert client.get("/getPod", query_string=named(first)).status_code == 404
    assert client.get("/getPod", query_string=named(second)).get_json()["metadata"] == second["metadata"]


class TestCreate:
    def test_the_same_pod_twice_is_one_pod(self, client: FlaskClient, database: Database, clock: Clock) -> None:
        pod = put_on(client, a_pod())
        before = client.get("/getPods").data
        clock.advance(300)

        put_on(client, pod)

        assert client.get("/getPods").data == before
        assert len(rows(database, Pod)) == 1

    def test_with_a_change_is_an_update(self, client: FlaskClient, database: Database) -> None:
        pod = put_on(client, a_pod())
        pod["metadata"]["labels"] = {"app": "shop"}

        put_on(client, pod)

        assert client.get("/getPod", query_string=named(pod)).get_json()["metadata"]["labels"] == {"app": "shop"}
        assert len(rows(database, Pod)) == 1

    def test_a_pod_without_uid_gets_one(self, client: FlaskClient) -> None:
        pod = a_pod()
        del pod["metadata"]["uid"]
        put_on(client, pod)
        uid = client.get("/getPod", query_string=named(pod)).get_json()["metadata"]["uid"]

        put_on(client, pod)

        assert uid
        assert client.get("/getPod", query_string=named(pod)).get_json()["metadata"]["uid"] == uid

    def test_a_uid_in_use_is_refused(self, client: FlaskClient) -> None:
        pod = put_on(client, a_pod("web-0"))

        answer = client.post("/createPod", json=a_pod("web-1", uid=pod["metadata"]["uid"]))

        assert answer.status_code == 400
        assert answer.get_json()["error"]["field"] == "metadata.uid"
        assert [pod["metadata"]["name"] for pod in client.get("/getPods").get_json()] == ["web-0"]

    @pytest.mark.parametrize("seconds", [0, 10**14, 2**63 - 1])
    def test_takes_hooks_and_grace_periods_of_any_length(self, client: FlaskClient, seconds: int) -> None:
        hook = {"sleep": {"seconds": seconds}}
        probe = {"exec": {"command": ["true"]}, "terminationGracePeriodSeconds": seconds}
        fails = {"annotations": {"synthetic.virtual-kubelet.io/fail": "LivenessProbe"}}
        for number, hooks in enumerate((["preStop"], ["postStart", "preStop"])):
            web = a_container(lifecycle=dict.fromkeys(hooks, hook), livenessProbe=probe)
            pod = put_on(client, a_pod(f"web-{number}", containers=[web], metadata=fails))

            assert client.get(f"/getPodStatus?namespace=default&name=web-{number}").status_code == 200
            assert client.delete("/deletePod", json=pod).status_code == 200


@pytest.mark.parametrize("write", [("POST", "/createPod"), ("PUT", "/updatePod")], ids=["create", "update"])
def test_another_uid_replaces_the_pod(
    client: FlaskClient, database: Database, clock: Clock, write: tuple[str, str]
) -> None:
    old = put_on(client, a_pod(containers=[a_container(image="nginx:1.26")]))
    old_status = client.get("/getPodStatus", query_string=named(old)).text
    clock.advance(60)
    new = a_pod()

    method, path = write
    assert client.open(path, method=method, json=new).status_code == 200

    [listed] = client.get("/getPods").get_json()
    assert listed["metadata"]["uid"] == new["metadata"]["uid"]
    assert listed["status"]["startTime"] == "2026-11-22T08:47:38Z"
    replaced, live = rows(database, Pod)
    assert (replaced["uid"], replaced["deleted_at"]) == (old["metadata"]["uid"], clock.now)
    assert json.loads(replaced["pod"])["spec"] == old["spec"]
    assert (live["uid"], live["deleted_at"]) == (new["metadata"]["uid"], None)
    assert old_status in [row["status"] for row in rows(database, PodStatus) if row["pod_id"] == replaced["id"]]


class TestUpdate:
    def test_what_was_changed_is_read_back(self, client: FlaskClient) -> None:
        pod = put_on(client, a_pod())
        pod["spec"]["containers"][0]["image"] = "nginx:1.28"
        pod["metadata"]["labels"] = {"app": "web", "tier": "front"}

        change(client, pod)

        read = client.get("/getPod", query_string=named(pod)).get_json()
        assert read["spec"] == pod["spec"]
        assert read["metadata"] == pod["metadata"]
        assert read["status"]["containerStatuses"][0]["image"] == "nginx:1.28"

    def test_of_a_pod_that_was_deleted_is_404(self, client: FlaskClient) -> None:
        pod = put_on(client, a_pod())
        client.delete("/deletePod", json=pod)

        assert client.put("/updatePod", json=pod).status_code == 404
        assert client.get("/getPods").get_json() == []


class TestDelete:
    def test_takes_the_pod_that_get_pod_answered(self, client: FlaskClient) -> None:
        pod = put_on(client, a_pod())
        read = client.get("/getPod", query_string=named(pod)).get_json()

        answer = client.delete("/deletePod", json=read)

        assert (answer.status_code, answer.data) == (200, b"")
        assert client.get("/getPod", query_string=named(pod)).status_code == 404
        assert client.get("/getPodStatus", query_string=named(pod)).status_code == 404
        assert client.get("/getPods").get_json() == []

    def test_leaves_the_pod_and_its_statuses_on_record(
        self, client: FlaskClient, database: Database, clock: Clock
    ) -> None:
        pod = put_on(client, a_pod())
        statuses = rows(database, PodStatus)
        clock.advance(60)

        client.delete("/deletePod", json=pod)

        [row] = rows(database, Pod)
        assert (row["uid"], row["deleted_at"]) == (pod["metadata"]["uid"], clock.now)
        *before, last = rows(database, PodStatus)
        assert before == statuses
        assert (last["phase"], last["effective_at"]) == ("Succeeded", clock.now)

    @pytest.mark.parametrize("times", [0, 1], ids=["never here", "deleted before"])
    def test_of_an_unknown_pod_is_404(self, client: FlaskClient, times: int) -> None:
        pod = a_pod()
        for _ in range(times):
            put_on(client, pod)
            client.delete("/deletePod", json=pod)

        answer = client.delete("/deletePod", json=pod)

        assert answer.status_code == 404
        assert answer.get_json()["error"]["code"] == 404

    def test_of_another_uid_leaves_the_pod_alone(self, client: FlaskClient) -> None:
        pod = put_on(client, a_pod())

        assert client.delete("/deletePod", json=a_pod()).status_code == 404

        assert client.get("/getPod", query_string=named(pod)).status_code == 200

    def test_needs_no_more_than_the_name(self, client: FlaskClient) -> None:
        named = {"namespace": "default", "name": "web-0"}
        for body in (
            {"metadata": named},
            {"metadata": {**named, "uid": ""}, "spec": {}},
            {"metadata": {**named, "uid": None}, "spec": {"containers": None}, "status": {}},
        ):
            put_on(client, a_pod("web-0"))

            assert client.delete("/deletePod", json=body).status_code == 200

            assert client.get("/getPods").get_json() == []

    @pytest.mark.parametrize("grace", [0, -1, 10**14, 2**63 - 1, -(2**63)])
    def test_may_have_a_grace_period_of_any_length(self, client: FlaskClient, grace: int) -> None:
        of_the_pod, of_the_delete = (
            put_on(client, a_pod("web-0", terminationGracePeriodSeconds=grace)),
            put_on(client, a_pod("web-1", metadata={"deletionGracePeriodSeconds": grace})),
        )

        assert client.delete("/deletePod", json=of_the_pod).status_code == 200
        assert client.delete("/deletePod", json=of_the_delete).status_code == 200

        assert client.get("/getPods").get_json() == []

    def test_of_every_pod_leaves_an_empty_list(self, client: FlaskClient) -> None:
        for number in range(3):
            put_on(client, a_pod(f"web-{number}", namespace=f"team-{number}"))

        for pod in client.get("/getPods").get_json():
            assert client.delete("/deletePod", json=pod).status_code == 200

        assert client.get("/getPods").get_json() == []

    def test_allows_the_same_uid_again(self, client: FlaskClient, database: Database, clock: Clock) -> None:
        pod = put_on(client, a_pod())
        client.delete("/deletePod", json=pod)
        clock.advance(60)

        put_on(client, pod)

        status = client.get("/getPodStatus", query_string=named(pod)).get_json()
        assert status["startTime"] == "2026-11-22T08:47:38Z"
        [row] = rows(database, Pod)
        assert (row["uid"], row["deleted_at"]) == (pod["metadata"]["uid"], None)


def test_a_restart_keeps_pods_and_statuses(make_app: MakeApp, clock: Clock) -> None:
    before = make_app().test_client()
    pods = [put_on(before, a_pod(f"web-{number}", uid=str(uuid4()))) for number in range(5)]
    paths: list[tuple[str, dict[str, str]]] = [("/getPods", {})]
    paths += [(path, named(pod)) for pod in pods for path in ("/getPod", "/getPodStatus")]
    answers = [before.get(path, query_string=query).data for path, query in paths]
    clock.advance(86_400)

    after = make_app().test_client()

    assert [after.get(path, query_string=query).data for path, query in paths] == answers
