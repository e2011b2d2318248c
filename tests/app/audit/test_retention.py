"""Pruning: old rows are exported and deleted, and the pruning is recorded as an event."""

import os
import re
import stat
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import delete, inspect, text
from sqlalchemy.exc import DBAPIError

from app.audit import Caller, Event, insert_events
from app.audit.retention import Pruned
from app.core.errors import DatabaseFault, InvalidRequest
from app.db.engine import Database
from app.db.models import AuditEvent, Fleet, Pod, PodStatus, UsageChange
from tests.app.audit.recorded import RUNTIME, SECRET, at, record_history
from tests.app.web.conftest import change, put_on, rows, tables
from tests.conftest import Clock, MakeApp, services_of
from tests.pods import a_pod
from tests.server import ROOT

BY_HAND = Caller(request_id="prune-1", address="localhost", user_agent="flask audit prune")


def prune(app: Flask, before: datetime, path: Path) -> Pruned:
    services = services_of(app)
    retention = services.audit.retention(before)
    return retention.carry_out(
        path, now=services.clock(), caller=BY_HAND, chained=services.settings.audit_hash_chain
    )


def lines(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def test_what_is_older_goes_and_the_rest_stays(recorded: Flask, database: Database, tmp_path: Path) -> None:
    before = tables(database)

    pruned = prune(recorded, at(100), tmp_path / "pruned.jsonl")

    after = tables(database)
    [pruning] = [event for event in after["audit_events"] if event["verb"] == "prune"]
    assert [e for e in before["audit_events"] if e["at"] >= at(100)] == after["audit_events"][:-1]
    assert pruning == after["audit_events"][-1]
    assert after["pods"] == before["pods"], "none had ended by then"
    gone = [row for row in before["pod_statuses"] if row not in after["pod_statuses"]]
    assert pruned == Pruned(events=7, pods=0, statuses=9)
    assert len(gone) == 9
    assert all(row["effective_at"] < at(100) for row in gone)


def test_an_ended_pod_is_pruned_with_its_statuses(recorded: Flask, database: Database, tmp_path: Path) -> None:
    prune(recorded, at(181), tmp_path / "pruned.jsonl")

    assert sorted(pod["uid"] for pod in rows(database, Pod)) == ["slow-0", "tool-0", "web-0-b", "worker-0"]
    ids = {pod["id"] for pod in rows(database, Pod)}
    assert {status["pod_id"] for status in rows(database, PodStatus)} == ids


def test_what_holds_is_told_as_before(recorded: Flask, tmp_path: Path) -> None:
    client = recorded.test_client()
    pods = client.get("/getPods").get_json()
    answers = services_of(recorded).audit.run_report("node", at=at(150)).rows

    prune(recorded, at(150), tmp_path / "pruned.jsonl")

    assert client.get("/getPods").get_json() == pods
    assert services_of(recorded).audit.run_report("node", at=at(150)).rows == answers
    assert client.put("/updatePod", json=a_pod("slow-0", namespace="shop", uid="slow-0")).status_code == 200


def test_a_partly_pruned_pod_has_no_startup_time(recorded: Flask, tmp_path: Path) -> None:
    prune(recorded, at(150), tmp_path / "pruned.jsonl")

    audit_log = services_of(recorded).audit
    assert audit_log.run_report("time-to-ready", since=at(0), until=at(201)).rows == []
    assert [row[1] for row in audit_log.run_report("never-ready", at=at(201)).rows] == ["tool-0"]


def test_the_export_has_pruned_rows_without_environment_values(
    recorded: Flask, database: Database, tmp_path: Path
) -> None:
    before, path = tables(database), tmp_path / "pruned.jsonl"

    pruned = prune(recorded, at(181), path)

    after, found = tables(database), lines(path)
    counts = Counter(row["table"] for row in found)
    assert (counts["audit_events"], counts["pods"], counts["usage_changes"]) == (pruned.events, pruned.pods, 1)
    for table, key in (("audit_events", "id"), ("pods", "id")):
        kept = {row[key] for row in after[table]}
        gone = [row[key] for row in before[table] if row[key] not in kept]
        assert [row[key] for row in found if row["table"] == table] == gone
    kept_statuses = [(row["pod_id"], row["effective_at"]) for row in after["pod_statuses"]]
    gone_statuses = [
        (row["pod_id"], f"{row['effective_at']:%Y-%m-%dT%H:%M:%S.%fZ}")
        for row in before["pod_statuses"]
        if (row["pod_id"], row["effective_at"]) not in kept_statuses
    ]
    exported = [(row["pod_id"], row["effective_at"]) for row in found if row["table"] == "pod_statuses"]
    assert sorted(exported) == sorted(gone_statuses)
    assert SECRET not in path.read_text()
    assert "PASSWORD" in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_row_says_what_was_pruned_by_whom(recorded: Flask, database: Database, tmp_path: Path) -> None:
    last_to_go = [event for event in rows(database, AuditEvent) if event["at"] < at(181)][-1]

    prune(recorded, at(181), tmp_path / "pruned.jsonl")

    event = rows(database, AuditEvent)[-1]
    assert (event["verb"], event["user_agent"], event["at"]) == ("prune", "flask audit prune", at(201))
    assert event["pruned_through"] == last_to_go["id"]
    assert orjson.loads(event["change"]) == {
        "before": "2026-11-22T08:49:39.123456Z",
        "events": 9,
        "pods": 2,
        "statuses": 7,
        "file": "pruned.jsonl",
        "last_hash": last_to_go["hash"],
    }


def test_the_chain_holds_after_repeated_pruning(recorded: Flask, clock: Clock, tmp_path: Path) -> None:
    audit_log = services_of(recorded).audit
    for number, seconds in enumerate((50, 201)):
        prune(recorded, at(seconds), tmp_path / f"{number}.jsonl")
        assert audit_log.verify().broken is None
        clock.advance(10)
    assert audit_log.verify().events == 2


def test_the_database_keeps_rows_that_no_pruning_names(
    recorded: Flask, database: Database, tmp_path: Path
) -> None:
    prune(recorded, at(50), tmp_path / "pruned.jsonl")
    left = rows(database, AuditEvent)

    for event in left:
        with pytest.raises(DatabaseFault, match="append-only"), database.write() as connection:
            connection.execute(delete(AuditEvent).where(AuditEvent.id == event["id"]))

    assert rows(database, AuditEvent) == left


def test_a_pruning_names_only_older_events(recorded: Flask, database: Database) -> None:
    event = Event(
        at=at(201),
        fleet="virtual-kubelet-web",
        caller=BY_HAND,
        verb="prune",
        pod=None,
        code=200,
        pruned_through=99,
    )
    with pytest.raises(DatabaseFault), database.write() as connection:
        insert_events(connection, [event], after=None)


def test_pruning_one_node_keeps_the_others(
    recorded: Flask, make_app: MakeApp, database: Database, tmp_path: Path
) -> None:
    other = make_app(node_name="other").test_client()
    other.post("/createPod", json=a_pod())
    event = rows(database, AuditEvent)[-1]

    prune(recorded, at(201), tmp_path / "pruned.jsonl")

    assert event in rows(database, AuditEvent)
    assert [pod["uid"] for pod in rows(database, Pod) if pod["fleet"] == "other"] == [event["uid"]]
    with pytest.raises(DatabaseFault, match="append-only"), database.write() as connection:
        connection.execute(delete(AuditEvent).where(AuditEvent.fleet == "other"))


def test_an_existing_export_file_prevents_pruning(recorded: Flask, database: Database, tmp_path: Path) -> None:
    before, path = tables(database), tmp_path / "pruned.jsonl"
    path.write_text("older\n")

    with pytest.raises(InvalidRequest, match="File exists"):
        prune(recorded, at(181), path)

    assert tables(database) == before
    assert path.read_text() == "older\n"


def test_a_failed_fsync_deletes_nothing(
    recorded: Flask, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, fsync = tables(database), os.fsync

    def fail(descriptor: int) -> None:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return fsync(descriptor)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(InvalidRequest, match="No space left"):
        prune(recorded, at(181), tmp_path / "pruned.jsonl")

    after = tables(database)
    assert [event for event in after["audit_events"] if event["verb"] != "prune"] == before["audit_events"]
    assert (after["pods"], after["pod_statuses"]) == (before["pods"], before["pod_statuses"])
    assert services_of(recorded).audit.verify().broken is None


def test_the_next_pruning_finishes_an_interrupted_one(
    recorded: Flask, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.audit.retention._ROWS_AT_ONCE", 2)
    audit_log = services_of(recorded).audit

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        audit_log.retention(at(181)).carry_out(
            tmp_path / "1.jsonl", now=at(201), caller=BY_HAND, chained=True, progress=stop
        )
    assert audit_log.verify().broken is None
    assert len(lines(tmp_path / "1.jsonl")) == 2

    assert prune(recorded, at(181), tmp_path / "2.jsonl").events == 7
    assert audit_log.verify().broken is None
    assert [event["verb"] for event in rows(database, AuditEvent)] == ["create", "prune", "prune"]


def test_more_rows_than_go_at_once_all_go(
    recorded: Flask, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.audit.retention._ROWS_AT_ONCE", 2)

    due = services_of(recorded).audit.retention(at(201)).due

    assert prune(recorded, at(201), tmp_path / "pruned.jsonl") == due
    assert services_of(recorded).audit.retention(at(201)).due == Pruned(0, 0, 0)


def test_changes_of_usage_are_exported(
    client: FlaskClient, clock: Clock, database: Database, tmp_path: Path
) -> None:
    pod = put_on(client, a_pod())
    pod["metadata"]["annotations"] = {"synthetic.virtual-kubelet.io/usage-cpu": "2"}
    clock.advance(60)
    change(client, pod)
    [stored] = rows(database, UsageChange)
    client.delete("/deletePod", json=pod)
    clock.advance(86400)
    client.get("/getPods")
    assert prune(client.application, clock.now, tmp_path / "pruned.jsonl").pods == 1
    assert rows(database, UsageChange) == []
    [exported] = [line for line in lines(tmp_path / "pruned.jsonl") if line["table"] == "usage_changes"]
    assert exported["pod_id"] == stored["pod_id"]
    assert exported["usage"] == orjson.loads(stored["usage"])


def test_a_time_to_come_is_refused(recorded: Flask) -> None:
    with pytest.raises(InvalidRequest, match="before: must not be in the future"):
        services_of(recorded).audit.retention(at(202))


def test_without_a_chain_it_goes_as_well(
    make_app: MakeApp, clock: Clock, database: Database, tmp_path: Path
) -> None:
    app = make_app(runtime=RUNTIME)
    record_history(app, clock)

    assert prune(app, at(201), tmp_path / "pruned.jsonl").events == 10

    assert [event["hash"] for event in rows(database, AuditEvent)] == [None]


ATTACKS = [
    "UPDATE audit_events SET user_agent = 'forged'",
    "DELETE FROM audit_events",
    "TRUNCATE audit_events",
    "ALTER TABLE audit_events DISABLE TRIGGER ALL",
    "DROP TRIGGER audit_events_append_only ON audit_events",
    "DROP TABLE audit_events CASCADE",
    "CREATE OR REPLACE FUNCTION audit_events_refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'",
    "SET session_replication_role = replica",
    "ALTER TABLE audit_events OWNER TO CURRENT_USER",
]


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_a_limited_role_serves_without_changing_the_audit(
    make_app: MakeApp, database: Database, database_url: str
) -> None:
    [grants] = re.findall(
        r"<!-- grants -->\n```sql\n(.*?)```", (ROOT / "docs" / "audit.md").read_text(), re.DOTALL
    )
    role = f"provider_{database_url.rpartition('_')[2]}"  # roles are shared by all databases of a server
    with database.write() as connection:
        for statement in re.sub(r"\bprovider\b", role, grants).strip().split(";\n"):
            connection.execute(text(statement.rstrip(";")))
    try:
        app = make_app(database_url=database_url.replace("postgres@", f"{role}@"), audit_hash_chain=True)
        client = app.test_client()
        pod = a_pod()
        client.post("/createPod", json=pod)
        volume = {"name": "v", "sources": [], "files": [{"path": "a", "mode": 0o600, "data": ""}]}
        mount = {
            "metadata": {key: pod["metadata"][key] for key in ("namespace", "name", "uid")},
            "volumes": [volume],
        }
        assert client.put("/podVolumes", json=mount).status_code == 200
        pod["metadata"]["annotations"] = {"synthetic.virtual-kubelet.io/usage-cpu": "2"}
        client.put("/updatePod", json=pod)
        assert client.get("/podStats").status_code == 200
        for _ in range(2):
            client.delete("/deletePod", json=pod)
        assert [event["code"] for event in rows(database, AuditEvent)] == [200, 200, 200, 200, 404]
        engine = services_of(app).database.engine
        for view in inspect(engine).get_view_names():
            with engine.connect() as connection:
                connection.execute(text(f"SELECT * FROM {view}"))
        for attack in ATTACKS:
            with pytest.raises(DBAPIError, match=r"denied|must be owner"), engine.begin() as connection:
                connection.execute(text(attack))
        assert services_of(app).audit.verify().events == 5
        engine.dispose()
    finally:
        with database.write() as connection:
            connection.execute(text(f"DROP OWNED BY {role}"))
            connection.execute(text(f"DROP ROLE {role}"))


def test_the_node_keeps_its_last_hash(recorded: Flask, database: Database, tmp_path: Path) -> None:
    prune(recorded, at(201), tmp_path / "pruned.jsonl")

    assert [node["audit_hash"] for node in rows(database, Fleet)] == [rows(database, AuditEvent)[-1]["hash"]]
