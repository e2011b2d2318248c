"""A deletion begins with the request and ends with the pod's last container; until then the pod is reported."""

import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app import create_app
from app.core.settings import Settings
from app.core.timestamps import rfc3339
from app.db.engine import Database
from app.db.models import AuditEvent, Pod
from app.runtimes.base import Timeline
from tests.app.pods.deletions import (
    STOP_AFTER,
    by_name,
    changes,
    create,
    delete,
    listed,
    slow_pod,
    terminated,
)
from tests.app.runtimes.scripted import ScriptedRuntime
from tests.app.web.conftest import rows
from tests.conftest import Clock, MakeApp, services_of
from tests.pods import a_pod


def test_a_pod_stays_until_its_container_ends(client: FlaskClient, clock: Clock) -> None:
    pod = create(client, slow_pod())
    uid = pod["metadata"]["uid"]
    revision = changes(client, 0)["revision"]
    assert delete(client, pod) == 200

    clock.advance(9)
    assert by_name(client)["status"]["phase"] == listed(client)[uid]["phase"] == "Running"
    assert changes(client, revision)["deleted"] == []

    clock.advance(1)
    assert by_name(client) is None
    assert client.get("/getPods").get_json() == []
    (gone,) = changes(client, revision)["deleted"]
    assert gone["uid"] == uid
    assert terminated(gone["status"]) == ("Succeeded", 0, "2026-11-22T08:46:48Z")
    assert delete(client, pod) == 404


def test_what_ends_at_once_is_gone_at_once(client: FlaskClient, database: Database) -> None:
    pod = create(client, a_pod())
    assert delete(client, pod) == 200

    (stored,) = rows(database, Pod)
    assert stored["deleted_at"] == stored["deletion_requested_at"] is not None
    assert by_name(client) is None


def test_a_completed_pod_is_gone_at_once(client: FlaskClient, clock: Clock) -> None:
    annotations = {"synthetic.virtual-kubelet.io/run-for": "5s", STOP_AFTER: "20s"}
    pod = create(client, a_pod(metadata={"annotations": annotations}, restartPolicy="Never"))
    clock.advance(5)
    assert by_name(client)["status"]["phase"] == "Succeeded"

    assert delete(client, pod) == 200
    assert by_name(client) is None


def test_the_grace_period_ends_with_sigkill(client: FlaskClient, clock: Clock) -> None:
    pod = create(client, slow_pod(stop_after="1h", terminationGracePeriodSeconds=20))
    revision = changes(client, 0)["revision"]
    delete(client, pod)

    clock.advance(19)
    assert by_name(client)["status"]["phase"] == "Running"
    clock.advance(1)
    (gone,) = changes(client, revision)["deleted"]
    assert terminated(gone["status"]) == ("Failed", 137, "2026-11-22T08:46:58Z")


def test_the_answer_has_the_deletion_timestamp(client: FlaskClient, clock: Clock) -> None:
    pod = create(client, slow_pod())
    assert "deletionTimestamp" not in by_name(client)["metadata"]
    delete(client, pod, grace=20)

    for metadata in (by_name(client)["metadata"], client.get("/getPods").get_json()[0]["metadata"]):
        assert metadata["deletionTimestamp"] == rfc3339(clock.now + timedelta(seconds=20))
        assert metadata["deletionGracePeriodSeconds"] == 20


def test_a_repeated_delete_changes_nothing(client: FlaskClient, clock: Clock, database: Database) -> None:
    pod = create(client, slow_pod())
    delete(client, pod, grace=20)
    before = rows(database, Pod), rows(database, AuditEvent)

    clock.advance(3)
    assert delete(client, pod, grace=20) == delete(client, pod, grace=60) == delete(client, pod) == 200
    assert (rows(database, Pod), rows(database, AuditEvent)) == before


@pytest.mark.parametrize(
    ("grace", "ends_after", "exit_code"),
    [(0, 4, 137), (3, 7, 137), (8, 10, 0)],
    ids=["forced", "shorter", "enough"],
)
def test_a_later_delete_shortens_the_grace_period(
    client: FlaskClient, clock: Clock, grace: int, ends_after: int, exit_code: int
) -> None:
    pod = create(client, slow_pod())
    revision = changes(client, 0)["revision"]
    delete(client, pod, grace=30)
    clock.advance(4)
    assert delete(client, pod, grace=grace) == 200

    clock.advance(ends_after - 4)
    (gone,) = changes(client, revision)["deleted"]
    ended_at = rfc3339(datetime.fromisoformat("2026-11-22T08:46:38Z") + timedelta(seconds=ends_after))
    assert terminated(gone["status"])[1:] == (exit_code, ended_at)


def test_every_request_has_one_audit_event(client: FlaskClient, clock: Clock, database: Database) -> None:
    pod = create(client, slow_pod())
    delete(client, pod, grace=30)
    delete(client, pod, grace=5)
    clock.advance(5)
    assert by_name(client) is None

    events = [(event["verb"], orjson.loads(event["change"] or "{}")) for event in rows(database, AuditEvent)]
    assert events == [("create", {}), ("delete", {}), ("delete", {"gracePeriodSeconds": 5})]


def test_no_create_cancels_a_deletion(client: FlaskClient, clock: Clock) -> None:
    pod = create(client, slow_pod())
    delete(client, pod)
    create(client, {**pod, "metadata": {**pod["metadata"], "labels": {"app": "other"}}})
    assert by_name(client)["metadata"]["labels"] == {"app": "web"}

    clock.advance(10)
    assert by_name(client) is None
    create(client, pod)
    assert by_name(client)["status"]["phase"] == "Running"


def test_an_update_does_not_cancel_a_deletion(client: FlaskClient, clock: Clock) -> None:
    pod = create(client, slow_pod())
    delete(client, pod)
    pod["metadata"] |= {"labels": {"app": "other"}, "annotations": {STOP_AFTER: "1h"}}
    assert client.put("/updatePod", json=pod).status_code == 200
    metadata = by_name(client)["metadata"]
    assert metadata["labels"] == {"app": "other"}
    assert metadata["deletionTimestamp"]

    clock.advance(10)
    assert by_name(client) is None


@pytest.mark.parametrize("write", ["create", "delete"])
def test_a_write_notices_an_end_first(client: FlaskClient, clock: Clock, write: str) -> None:
    pod = create(client, slow_pod())
    delete(client, pod)
    clock.advance(10)

    if write == "delete":
        assert delete(client, pod) == 404
    else:
        create(client, pod)
        assert by_name(client)["status"]["phase"] == "Running"


def test_another_worker_continues_a_deletion(make_app: MakeApp, clock: Clock) -> None:
    one, other = (make_app().test_client() for _ in range(2))
    old, new = slow_pod(), a_pod()
    create(one, old)
    delete(one, old)
    create(other, new)

    clock.advance(10)
    assert [by_name(client)["status"]["phase"] for client in (other, one)] == ["Running", "Running"]
    assert listed(one) == listed(other)


def test_an_advance_by_two_workers_is_stored_once(make_app: MakeApp, clock: Clock, database: Database) -> None:
    one, other = (services_of(make_app()) for _ in range(2))
    client = make_app().test_client()
    create(client, old := slow_pod())
    create(client, a_pod())
    clock.advance(10)
    (overdue, *_) = one.pods._fleet.timelines._overdue(clock.now, after=0), None
    other.pods._fleet.timelines.advance_all()
    before = rows(database, Pod)

    one.pods._fleet.timelines._advance(overdue, clock.now)
    kept = [{**row, "revision": 0} for row in rows(database, Pod)]
    assert kept == [{**row, "revision": 0} for row in before]
    assert old["metadata"]["uid"] not in listed(client)


def test_a_wait_ends_when_a_pod_is_gone(client: FlaskClient, app: Flask, clock: Clock) -> None:
    pod = create(client, slow_pod())
    delete(client, pod)
    revision = changes(client, 0)["revision"]

    def pause(seconds: float, _: int | None = None) -> bool:
        clock.advance(seconds)
        return True

    found = orjson.loads("".join(services_of(app).watch.since(revision, wait=60, pause=pause)))
    assert [entry["uid"] for entry in found["deleted"]] == [pod["metadata"]["uid"]]


def test_a_deadline_can_pass_before_the_start(client: FlaskClient, clock: Clock) -> None:
    old = create(client, slow_pod())
    delete(client, old)
    new = create(client, a_pod(activeDeadlineSeconds=4))
    other = create(client, a_pod("other"))
    clock.advance(10)

    found = listed(client)
    assert found.keys() == {new["metadata"]["uid"], other["metadata"]["uid"]}
    status = found[new["metadata"]["uid"]]
    assert (status["phase"], status["reason"]) == ("Failed", "DeadlineExceeded")
    assert (
        "waiting" in status["containerStatuses"][0]["state"]
        or "terminated" in status["containerStatuses"][0]["state"]
    )


def test_history_has_the_pod_until_its_end(client: FlaskClient, app: Flask, clock: Clock) -> None:
    pod = create(client, slow_pod())
    clock.advance(5)
    requested_at = clock.now
    delete(client, pod)
    clock.advance(30)

    history = services_of(app).history

    def phases_after(seconds: int) -> list[str]:
        return [found.phase for found in history.pods(at=requested_at + timedelta(seconds=seconds))]

    assert [phases_after(seconds) for seconds in (0, 9, 10)] == [["Running"], ["Running"], []]
    record = history.pod(uid=pod["metadata"]["uid"])
    sentences = history.explain(record, at=requested_at + timedelta(seconds=9))
    assert (
        "It is being deleted since 2026-11-22T08:46:43Z; its grace period ends at 2026-11-22T08:47:13Z."
        in sentences
    )


def test_resources_are_promised_until_the_end(client: FlaskClient, app: Flask, clock: Clock) -> None:
    pod = create(client, slow_pod())
    delete(client, pod)
    [pods] = services_of(app).queries.nodes().values()
    assert pods.active == 1
    assert 'provider_pods{phase="Running"} 1.0' in client.get("/metrics").get_data(as_text=True)

    clock.advance(10)
    assert services_of(app).queries.nodes() == {}
    assert 'provider_pods{phase="Running"} 0.0' in client.get("/metrics").get_data(as_text=True)


class EndlessRuntime(ScriptedRuntime):
    """A runtime that returns an incomplete timeline for a deletion, then a terminal status."""

    def delete(self, pod: Any, *, current: Any, grace: timedelta, now: datetime) -> Timeline:
        return Timeline([], continues_at=now)


def test_an_observed_end_removes_the_pod(make_app: MakeApp, clock: Clock) -> None:
    EndlessRuntime.play("Running", "Running", "Failed")
    client = make_app(runtime=f"{__name__}:EndlessRuntime").test_client()
    pod = create(client, a_pod())
    clock.advance(1)
    assert delete(client, pod) == 200
    assert by_name(client)["metadata"]["deletionTimestamp"]

    for _ in range(3):
        clock.advance(1)
        client.get("/getPods")
    assert by_name(client) is None


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("create"), st.sampled_from(["a", "b"]), st.sampled_from([0, 4])),
        st.tuples(st.just("delete"), st.sampled_from(["a", "b"]), st.sampled_from([0, 2, 30])),
        st.tuples(st.just("advance"), st.just(""), st.sampled_from([1, 3])),
    ),
    max_size=14,
)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
def test_a_pod_is_listed_or_gone(
    steps: list[tuple[str, str, int]], sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """At any time at most one pod of a name has running containers, and no pod that is ending has ended."""
    path = shutil.copy(sqlite_template, tmp_path_factory.mktemp("any"))
    clock = Clock()
    app = create_app(Settings.model_validate({"database_url": f"sqlite:///{path}"}), clock=clock)
    client = app.test_client()
    for verb, uid, number in steps:
        pod = slow_pod(uid=uid, stop_after=f"{number}s")
        if verb == "create":
            create(client, pod)
        elif verb == "delete":
            assert delete(client, pod, grace=number) in (200, 404)
        else:
            clock.advance(number)
        found = client.get("/getPods").get_json()
        running = [entry for entry in found if entry["status"]["phase"] == "Running"]
        assert len(running) <= 1
        ending = [entry for entry in found if "deletionTimestamp" in entry["metadata"]]
        assert all(entry["status"]["phase"] not in ("Succeeded", "Failed") for entry in ending)
        assert len({entry["metadata"]["uid"] for entry in found}) == len(found)
    services_of(app).database.dispose()
