"""The hash chain: it detects changes that bypass the triggers."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import insert, select, text, update

from app.audit.hash_chain import FIRST, Verification
from app.db.engine import Database
from app.db.fleets import lock_fleet
from app.db.models import AuditEvent, Fleet
from tests.app.audit.recorded import RUNTIME, at, record_history
from tests.app.web.conftest import put_on, rows
from tests.conftest import Clock, MakeApp, services_of
from tests.pods import a_pod
from tests.waiting import together

Tamper = Callable[..., None]


@pytest.fixture
def tamper(database: Database) -> Tamper:
    """Execute statements with the triggers dropped."""

    def execute(*statements: Any) -> None:
        with database.write() as connection:
            if connection.dialect.name == "sqlite":
                for operation in ("update", "delete", "replace"):
                    connection.execute(text(f"DROP TRIGGER audit_events_no_{operation}"))
            else:
                connection.execute(text("ALTER TABLE audit_events DISABLE TRIGGER ALL"))
            for statement in statements:
                connection.execute(text(statement) if isinstance(statement, str) else statement)

    return execute


def verify(app: Flask, **more: Any) -> Verification:
    return services_of(app).audit.verify(**more)


def test_an_unmodified_chain_holds_with_its_refusals(recorded: Flask, database: Database) -> None:
    events = rows(database, AuditEvent)
    assert len(events) == 10
    assert events[0]["previous_hash"] == FIRST
    assert [event["previous_hash"] for event in events[1:]] == [event["hash"] for event in events[:-1]]
    assert verify(recorded) == Verification(events=10, before=0, last_hash=events[-1]["hash"], broken=None)
    assert [node["audit_hash"] for node in rows(database, Fleet)] == [events[-1]["hash"]]


TAMPERED = {
    "a_node": ("UPDATE audit_events SET node_name = 'spot-0' WHERE id = 5", 5, "was changed"),
    "a_value": ("UPDATE audit_events SET user_agent = 'somebody' WHERE id = 5", 5, "was changed"),
    "a_null": ("UPDATE audit_events SET revision = NULL WHERE id = 5", 5, "was changed"),
    "a_time": ("UPDATE audit_events SET at = '2020-01-01 00:00:00.000000+00' WHERE id = 5", 5, "was changed"),
    "a_hash": (f"UPDATE audit_events SET hash = '{'0' * 64}' WHERE id = 5", 5, "was changed"),
    "no_hash": ("UPDATE audit_events SET hash = NULL, previous_hash = NULL WHERE id = 5", 5, "has no hash"),
    "a_row_in_between": ("DELETE FROM audit_events WHERE id = 5", 6, "does not follow"),
    "the_beginning": ("DELETE FROM audit_events WHERE id < 5", 5, "does not follow"),
    "the_end": ("DELETE FROM audit_events WHERE id > 5", None, "the end of the chain is missing"),
    "everything": ("DELETE FROM audit_events", None, "the end of the chain is missing"),
    "an_order": ("UPDATE audit_events SET id = 1000 WHERE id = 5", 6, "does not follow"),
}


@pytest.mark.parametrize(("statement", "id_", "why"), TAMPERED.values(), ids=TAMPERED)
def test_the_first_broken_event_is_named(
    recorded: Flask, tamper: Tamper, database_kind: str, statement: str, id_: int | None, why: str
) -> None:
    if database_kind == "sqlite":
        statement = statement.replace("+00", "")
    tamper(statement)

    broken = verify(recorded).broken

    assert broken
    assert broken.id == id_
    assert why in broken.why


def test_a_forged_event_without_a_hash_is_named(recorded: Flask, database: Database) -> None:
    event = {
        **rows(database, AuditEvent)[-1],
        "id": 11,
        "user_agent": "forged",
        "hash": None,
        "previous_hash": None,
    }
    with database.write() as connection:
        connection.execute(insert(AuditEvent), event)

    broken = verify(recorded).broken

    assert broken
    assert broken.id == 11


def test_a_noted_hash_reveals_a_recomputed_chain(
    recorded: Flask, make_app: MakeApp, clock: Clock, database: Database, tamper: Tamper
) -> None:
    noted = verify(recorded).last_hash
    assert verify(recorded, noted=noted).broken is None
    tamper("DELETE FROM audit_events", update(Fleet).values(audit_hash=None))
    put_on(make_app(audit_hash_chain=True).test_client(), a_pod())

    assert verify(recorded).broken is None
    found = verify(recorded, noted=noted).broken

    assert found
    assert (found.id, found.why) == (None, "the noted hash is not in the chain")


def test_the_chain_begins_after_events_without_hashes(make_app: MakeApp, clock: Clock) -> None:
    record_history(make_app(runtime=RUNTIME), clock)
    chained = make_app(audit_hash_chain=True)
    put_on(chained.test_client(), a_pod())

    found = verify(chained)

    assert (found.events, found.before, found.broken) == (1, 10, None)


def test_a_refusal_can_be_the_first_event(make_app: MakeApp, database: Database) -> None:
    app = make_app(audit_hash_chain=True)

    assert app.test_client().delete("/deletePod", json=a_pod()).status_code == 404

    assert (verify(app).events, verify(app).broken) == (1, None)
    assert [node["revision"] for node in rows(database, Fleet)] == [0]


def test_each_node_has_a_chain_of_its_own(make_app: MakeApp) -> None:
    apps = [make_app(audit_hash_chain=True, node_name=name) for name in ("node-a", "node-b")]
    for number in range(3):
        for app in apps:
            put_on(app.test_client(), a_pod(f"web-{number}"))

    assert [(verify(app).events, verify(app).broken) for app in apps] == [(3, None), (3, None)]


def test_concurrent_writes_and_refusals_form_one_chain(make_app: MakeApp) -> None:
    app = make_app(audit_hash_chain=True)

    def write(number: int) -> None:
        client = app.test_client()
        for round_ in range(5):
            pod = a_pod(f"web-{number}-{round_}")
            client.put("/updatePod", json=pod)
            put_on(client, pod)

    together(4, write)

    assert (verify(app).events, verify(app).broken) == (40, None)


def test_a_refusal_waits_for_a_locked_node(recorded: Flask, database: Database) -> None:
    with database.write() as connection:
        lock_fleet(connection, "virtual-kubelet-web")
        assert connection.scalar(select(Fleet.audit_hash)) == verify(recorded).last_hash


def test_the_hash_is_as_documented(recorded: Flask, database: Database) -> None:
    event = rows(database, AuditEvent)[0]
    columns = "fleet revision request_id address user_agent verb namespace name uid code change pruned_through"
    values = [event["previous_hash"], f"{at(0):%Y-%m-%dT%H:%M:%S.%fZ}", *(event[name] for name in columns.split())]
    content = json.dumps(values, separators=(",", ":"), ensure_ascii=False)
    assert event["hash"] == hashlib.sha256(content.encode()).hexdigest()
