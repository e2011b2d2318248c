"""Batches: each item has the outcome of the single request, and all are one transaction."""

from typing import Any, Literal

import pytest
from flask.testing import FlaskClient

from app.audit.hash_chain import verify
from app.db.engine import Database
from app.db.models import AuditEvent, Fleet, Pod
from app.pods.disk_reserve import DiskReserve
from app.pods.writer import PodWriter
from app.web.body import LARGEST_BATCH
from tests.app.web.conftest import named, on_sqlite_alone, put_on, rows
from tests.conftest import Clock, MakeApp, services_of
from tests.pods import a_container, a_pod

Outcomes = list[tuple[int, str]]
DONE = (200, "")
UNKNOWN = (404, 'pod "web-0" is not in namespace "default"')
UNTIL_KILLED = {"annotations": {"synthetic.virtual-kubelet.io/stop-after": "600s"}}


def send(client: FlaskClient, verb: Literal["create", "delete"], items: list[Any]) -> Outcomes:
    """Send a batch; the response must be 200."""
    method = "POST" if verb == "create" else "DELETE"
    answer = client.open(f"/{verb}Pods", method=method, json=items, headers={"X-Request-ID": "req-1"})
    assert answer.status_code == 200, answer.text
    return [(outcome["code"], outcome["message"]) for outcome in answer.get_json()]


def uids(client: FlaskClient) -> list[str]:
    return [pod["metadata"]["uid"] for pod in client.get("/getPods").get_json()]


def audited(database: Database) -> list[tuple[str, str | None, int, int | None]]:
    return [(row["verb"], row["uid"], row["code"], row["revision"]) for row in rows(database, AuditEvent)]


def test_a_refused_item_holds_up_no_other(client: FlaskClient, database: Database) -> None:
    no_containers = a_pod("web-1", uid="uid-1")
    no_containers["spec"]["containers"] = []
    items = [
        a_pod(uid="uid-0"),
        no_containers,
        "not a pod",
        a_pod("web-2", uid="uid-0"),
        {"metadata": {"namespace": "default"}},
        a_pod("web-3", uid="uid-3"),
    ]

    assert send(client, "create", items) == [
        DONE,
        (400, "spec.containers: at least one is required"),
        (400, "the body must be a Pod, a JSON object"),
        (400, "metadata.uid: belongs to default/web-0"),
        (400, "metadata.name: required"),
        DONE,
    ]
    assert uids(client) == ["uid-0", "uid-3"]
    assert audited(database) == [
        ("create", "uid-0", 200, 1),
        ("create", "uid-3", 200, 2),
        ("create", "uid-1", 400, None),
        ("create", None, 400, None),
        ("create", "uid-0", 400, None),
        ("create", None, 400, None),
    ]
    assert {row["request_id"] for row in rows(database, AuditEvent)} == {"req-1"}


def test_items_take_effect_in_their_order(client: FlaskClient, database: Database) -> None:
    changed = a_pod(uid="uid-0", containers=[a_container(image="nginx:1.28")])
    items = [a_pod(uid="uid-0"), a_pod(uid="uid-0"), changed, a_pod(uid="uid-1")]

    assert send(client, "create", items) == [DONE] * 4
    assert uids(client) == ["uid-1"]
    gone = rows(database, Pod)[0]
    assert gone["deleted_at"] > gone["created_at"]
    assert '"nginx:1.28"' in gone["pod"]
    assert audited(database) == [
        ("create", "uid-0", 200, 1),
        ("create", "uid-0", 200, 2),
        ("create", "uid-1", 200, 3),
    ]
    assert send(client, "delete", [a_pod(uid="uid-1"), a_pod(uid="uid-1"), a_pod(uid="uid-0")]) == [
        DONE,
        UNKNOWN,
        UNKNOWN,
    ]
    assert uids(client) == []


def test_a_replaced_pod_waits_within_a_batch(client: FlaskClient, clock: Clock) -> None:
    old = a_pod(uid="uid-0", metadata=UNTIL_KILLED, terminationGracePeriodSeconds=600)
    put_on(client, old)

    assert send(client, "create", [a_pod(uid="uid-1"), a_pod("web-1", uid="uid-2"), old]) == [DONE] * 3
    phases = {pod["metadata"]["uid"]: pod["status"]["phase"] for pod in client.get("/getPods").get_json()}
    assert phases == {"uid-0": "Running", "uid-1": "Pending", "uid-2": "Running"}

    old["metadata"]["deletionGracePeriodSeconds"] = 0
    assert send(client, "delete", [old]) == [DONE]
    clock.advance(5)
    assert client.get("/getPodStatus", query_string=named(old)).get_json()["phase"] == "Running"


def test_a_repeated_batch_changes_nothing(client: FlaskClient, database: Database) -> None:
    pods = [a_pod(f"web-{number}", uid=f"uid-{number}") for number in range(3)]
    send(client, "create", pods)
    before = rows(database, Fleet), rows(database, Pod), rows(database, AuditEvent)

    assert send(client, "create", pods) == [DONE] * 3
    assert send(client, "create", []) == []
    assert (rows(database, Fleet), rows(database, Pod), rows(database, AuditEvent)) == before


def test_every_pod_of_a_batch_has_its_address(make_app: MakeApp) -> None:
    client = make_app(pod_cidr="10.1.0.0/29").test_client()
    pods = [a_pod(f"web-{number}", uid=f"uid-{number}") for number in range(8)]

    outcomes = send(client, "create", pods)

    assert [code for code, _ in outcomes] == [200] * 6 + [503] * 2
    assert outcomes[-1][1].startswith("no address is free in 10.1.0.0/29")
    taken = {pod["status"]["podIP"] for pod in client.get("/getPods").get_json()}
    assert taken == {f"10.1.0.{number}" for number in range(1, 7)}
    assert send(client, "delete", pods[:2]) == [DONE] * 2
    assert send(client, "create", pods[6:]) == [DONE] * 2


@on_sqlite_alone
def test_the_disk_must_hold_the_batch(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[int] = []
    monkeypatch.setattr(DiskReserve, "check", lambda _, size: checked.append(size))

    send(client, "create", [a_pod("web-0"), a_pod("web-1")])

    assert checked[1] == 2 * checked[0]


def test_a_batch_extends_the_hash_chain(make_app: MakeApp, database: Database) -> None:
    app = make_app(audit_hash_chain=True)
    client = app.test_client()
    pods = [
        a_pod("web-0", uid="uid-0"),
        {"metadata": {}},
        a_pod("web-1", uid="uid-0"),
        a_pod("web-2", uid="uid-2"),
    ]

    send(client, "create", pods)
    send(client, "delete", pods)

    with database.read(streaming=True) as connection:
        found = verify(connection, services_of(app).settings.node_name)
    assert (found.broken, found.events) == (None, 8)


def test_a_fault_of_one_item_is_its_own(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    put_on(client, a_pod(uid="uid-0"))
    create = PodWriter.create

    def fail(writer: PodWriter, *args: Any, **options: Any) -> None:
        create(writer, *args, **options)
        if options["replaced"]:
            raise RuntimeError

    monkeypatch.setattr(PodWriter, "create", fail)

    outcomes = send(
        client, "create", [a_pod("web-1", uid="uid-1"), a_pod(uid="uid-2"), a_pod("web-3", uid="uid-3")]
    )

    assert outcomes == [DONE, (500, "internal error; see request req-1 in the provider's log"), DONE]
    assert uids(client) == ["uid-0", "uid-1", "uid-3"]


@on_sqlite_alone
def test_an_invalid_batch_does_nothing(client: FlaskClient, database: Database) -> None:
    too_many = b"[" + b"{}," * LARGEST_BATCH + b"{}]"
    for body, message in (
        (b'{"metadata": {}}', "the body must be an array of Pods"),
        (b"[{}", "the body is not JSON: unexpected end of data at line 1"),
        (b"[{},]", "the body is not JSON: "),
        (b"[" + b"[" * 5000, "the body is not JSON: "),
        (too_many, f"the array has {LARGEST_BATCH + 1} items, more than {LARGEST_BATCH}"),
    ):
        answer = client.post("/createPods", data=body)
        assert answer.status == "400 Bad Request"
        assert answer.get_json()["error"]["message"].startswith(message)
    assert client.get("/createPods").status_code == 405
    assert {row["code"] for row in rows(database, AuditEvent)} == {400}
    assert rows(database, Pod) == []


@on_sqlite_alone
def test_a_batch_without_database_is_refused_whole(client: FlaskClient, database: Database) -> None:
    put_on(client, a_pod("web-0"))
    database.path.chmod(0o400)
    database.path.rename(database.path.with_suffix(".away"))

    answer = client.post("/createPods", json=[a_pod("web-1")])

    assert answer.status_code == 503
    assert "error" in answer.get_json()


@on_sqlite_alone
def test_an_older_pod_does_not_return_for_an_address(make_app: MakeApp, clock: Clock) -> None:
    client = make_app(pod_cidr="10.5.0.0/29").test_client()
    stops = {"annotations": {"synthetic.virtual-kubelet.io/stop-after": "1s"}}
    full = [a_pod(f"full-{n}", uid=f"full-{n}", metadata=stops if n == 0 else None) for n in range(8)]
    accepted = [outcome[0] for outcome in send(client, "create", full)].count(200)
    send(client, "delete", [full[0]])
    clock.advance(2)
    newer = a_pod("web-0", uid="newer")
    newer["spec"]["hostNetwork"] = True
    outcomes = send(client, "create", [a_pod("web-0", uid="older"), newer])
    assert [code for code, _ in outcomes] == [503, 200]
    assert uids(client) == [*(f"full-{n}" for n in range(1, accepted)), "newer"]
    assert send(client, "create", [a_pod("web-1", uid="last")]) == [DONE]  # the address is free by now
