"""The constraints and triggers of the schema, and the views for SQL users."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, insert, make_url, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.pool import NullPool

from app.db.engine import Database
from app.db.models import Base, Fleet, Pod, UtcDateTime
from app.db.revision import head
from tests.conftest import Clock, MakeApp, MakeDatabaseUrl
from tests.pods import a_container, a_pod

NOW = datetime.now(UTC).replace(microsecond=0)
HOUR = timedelta(hours=1)

NODE = {"name": "node-a", "revision": 1, "settled_at": NOW}
POD = {
    "id": 1,
    "fleet": "node-a",
    "namespace": "default",
    "name": "web-0",
    "uid": "uid-1",
    "pod": "{}",
    "digest": "0" * 64,
    "pod_ip": "198.18.0.1",
    "created_at": NOW,
    "updated_at": NOW,
    "deleted_at": None,
    "revision": 1,
}
STATUS = {"pod_id": 1, "effective_at": NOW, "phase": "Pending", "reason": "ContainerCreating", "status": "{}"}
EVENT = {
    "at": NOW,
    "fleet": "node-a",
    "revision": 1,
    "request_id": "request-1",
    "address": "127.0.0.1",
    "user_agent": "curl",
    "verb": "create",
    "namespace": "default",
    "name": "web-0",
    "uid": "uid-1",
    "code": 200,
    "change": None,
}
ANOTHER_POD = {**POD, "id": 2, "name": "web-1", "uid": "uid-2", "pod_ip": "198.18.0.2"}


def add(database: Database, table: str, row: dict[str, Any]) -> None:
    with database.engine.begin() as connection:
        connection.execute(insert(Base.metadata.tables[table]), row)


def query(database: Database, statement: str) -> list[Any]:
    times = {name: UtcDateTime() for name in ("at", "since", "until", "pod_created_at", "pod_deleted_at")}
    wanted = {name: type_ for name, type_ in times.items() if name in statement}
    with database.engine.connect() as connection:
        return list(connection.execute(text(statement).columns(**wanted)))


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def filled_database(request: pytest.FixtureRequest, make_database_url: MakeDatabaseUrl) -> Iterator[Database]:
    """Return a database with a row in every table, for tests that do not change it."""
    database = Database(make_url(make_database_url(request.param)), head=head())
    for table, row in (("fleets", NODE), ("pods", POD), ("pod_statuses", STATUS), ("audit_events", EVENT)):
        add(database, table, row)
    yield database
    database.dispose()


@pytest.fixture
def filled(filled_database: Database) -> Iterator[Connection]:
    """Yield a connection to the filled database; its changes are rolled back."""
    with filled_database.engine.connect() as connection:
        yield connection


@pytest.mark.parametrize(
    ("table", "row", "rule"),
    [
        pytest.param(
            "pods",
            {**ANOTHER_POD, "name": "web-0"},
            r"uq_pods_live_name|pods\.fleet, pods\.namespace, pods\.name",
            id="two_live_pods_of_a_name",
        ),
        pytest.param(
            "pods",
            {**ANOTHER_POD, "pod_ip": "198.18.0.1"},
            r"uq_pods_live_pod_ip|pods\.fleet, pods\.pod_ip",
            id="two_live_pods_with_an_address",
        ),
        pytest.param(
            "pods",
            {**ANOTHER_POD, "uid": "uid-1"},
            r"uq_pods_uid|pods\.fleet, pods\.uid",
            id="two_pods_with_a_uid",
        ),
        pytest.param(
            "pods",
            {**ANOTHER_POD, "fleet": "node-b"},
            "fk_pods_node_name_nodes|FOREIGN KEY",
            id="a_pod_without_its_node",
        ),
        pytest.param("pods", {**ANOTHER_POD, "digest": "0" * 63}, "ck_pods_digest", id="a_digest_cut_short"),
        pytest.param(
            "pods",
            {**ANOTHER_POD, "updated_at": NOW - HOUR},
            "ck_pods_updated_at",
            id="a_pod_updated_before_it_was_created",
        ),
        pytest.param(
            "pods",
            {**ANOTHER_POD, "deleted_at": NOW - HOUR},
            "ck_pods_deleted_at",
            id="a_pod_deleted_before_it_was_created",
        ),
        pytest.param(
            "pods",
            {**ANOTHER_POD, "uid": None},
            r"pods\.uid|\"uid\" of relation \"pods\"",
            id="a_pod_without_a_uid",
        ),
        pytest.param(
            "pod_statuses",
            {**STATUS, "effective_at": NOW + HOUR, "phase": "Completed"},
            "ck_pod_statuses_phase",
            id="a_phase_that_kubernetes_does_not_know",
        ),
        pytest.param(
            "pod_statuses",
            {**STATUS, "pod_id": 7},
            "fk_pod_statuses_pod_id_pods|FOREIGN KEY",
            id="a_status_without_its_pod",
        ),
        pytest.param(
            "pod_statuses",
            STATUS,
            r"pk_pod_statuses|pod_statuses\.pod_id, pod_statuses\.effective_at",
            id="two_statuses_of_a_pod_from_the_same_moment",
        ),
        pytest.param("audit_events", {**EVENT, "verb": "get"}, "ck_audit_events_verb", id="an_event_of_a_read"),
        pytest.param(
            "audit_events", {**EVENT, "code": 99}, "ck_audit_events_code", id="an_event_with_a_code_too_low"
        ),
        pytest.param(
            "audit_events", {**EVENT, "code": 600}, "ck_audit_events_code", id="an_event_with_a_code_too_high"
        ),
    ],
)
def test_the_database_itself_refuses(filled: Connection, table: str, row: dict[str, Any], rule: str) -> None:
    with pytest.raises(IntegrityError, match=rule):
        filled.execute(insert(Base.metadata.tables[table]), row)


GONE = {"deletion_requested_at": NOW, "deleted_at": NOW}


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(ANOTHER_POD, id="another_pod"),
        pytest.param({**ANOTHER_POD, "namespace": "other", "name": "web-0"}, id="a_name_in_another_namespace"),
        pytest.param(
            {**ANOTHER_POD, "name": "web-0", "pod_ip": "198.18.0.1", **GONE},
            id="a_name_and_an_address_of_a_pod_that_is_gone",
        ),
    ],
)
def test_the_database_takes(filled: Connection, row: dict[str, Any]) -> None:
    filled.execute(insert(Pod), row)


def test_fleets_may_share_uid_name_and_address(filled: Connection) -> None:
    filled.execute(insert(Fleet), {**NODE, "name": "node-b"})
    filled.execute(insert(Pod), {**POD, "id": 2, "fleet": "node-b"})


def test_pods_without_own_address_do_not_collide(filled: Connection) -> None:
    for number in (2, 3):
        pod = {"id": number, "uid": f"uid-{number}", "name": f"web-{number}", "pod_ip": None}
        filled.execute(insert(Pod), {**POD, **pod})


@pytest.fixture
def prompt(filled_database: Database) -> Iterator[Engine]:
    """Yield the connection of a SQL user, without the settings of the application."""
    engine = create_engine(filled_database.engine.url, poolclass=NullPool)
    yield engine
    engine.dispose()


COLUMNS = "id, at, fleet, request_id, address, user_agent, verb, code"
COPY = f"""INSERT INTO audit_events ({COLUMNS})
          SELECT {COLUMNS.replace("user_agent", "'forged'")} FROM audit_events WHERE true"""
FORGERIES = {
    "update": "UPDATE audit_events SET user_agent = 'forged'",
    "update_of_one": "UPDATE audit_events SET user_agent = 'forged' WHERE request_id = 'request-1'",
    "update_by_upsert": f"{COPY} ON CONFLICT (id) DO UPDATE SET user_agent = 'forged'",
    "delete": "DELETE FROM audit_events",
    "delete_of_one": "DELETE FROM audit_events WHERE request_id = 'request-1'",
}
SQLITE_FORGERIES = {
    "replace": COPY.replace("INSERT", "INSERT OR REPLACE", 1),
    "update_or_replace": "UPDATE OR REPLACE audit_events SET user_agent = 'forged'",
}
POSTGRESQL_FORGERIES = {"truncate": "TRUNCATE audit_events", "truncate_cascade": "TRUNCATE audit_events CASCADE"}


@pytest.mark.parametrize(
    ("filled_database", "forgery"),
    [
        *(
            pytest.param(kind, forgery, id=f"{kind}-{name}")
            for kind in ("sqlite", "postgresql")
            for name, forgery in FORGERIES.items()
        ),
        *(pytest.param("sqlite", forgery, id=f"sqlite-{name}") for name, forgery in SQLITE_FORGERIES.items()),
        *(
            pytest.param("postgresql", forgery, id=f"postgresql-{name}")
            for name, forgery in POSTGRESQL_FORGERIES.items()
        ),
    ],
    indirect=["filled_database"],
)
def test_the_audit_is_append_only_for_sql_users(prompt: Engine, forgery: str) -> None:
    with pytest.raises(DBAPIError, match="append-only"), prompt.begin() as connection:
        connection.execute(text(forgery))
    with prompt.connect() as connection:
        assert connection.execute(text("SELECT request_id, user_agent FROM audit_events")).all() == [
            ("request-1", "curl")
        ]


def test_the_timeline_has_each_status_with_its_times(make_app: MakeApp, database: Database, clock: Clock) -> None:
    client = make_app(start_delay="1s").test_client()
    start = clock()
    client.post("/createPod", json=a_pod(uid="first"))
    clock.advance(10)
    client.put("/updatePod", json=a_pod(uid="first", containers=[a_container(image="nginx:1.28")]))
    clock.advance(10)
    client.post("/createPod", json=a_pod(uid="second"))
    clock.advance(10)
    client.delete("/deletePod", json=a_pod(uid="second"))
    clock.advance(1)
    client.post("/createPod", json=a_pod(uid="third"))

    rows = query(database, "SELECT uid, phase, reason, since, until FROM pod_timeline ORDER BY uid, since")

    def seconds(time: datetime | None) -> float | None:
        return None if time is None else (time - start).total_seconds()

    assert [(uid, phase, reason, seconds(since), seconds(until)) for uid, phase, reason, since, until in rows] == [
        ("first", "Pending", "ContainerCreating", 0, 1),
        ("first", "Running", None, 1, 10),
        ("first", "Running", None, 10, 20),
        ("first", "Succeeded", "Completed", 20, None),
        ("second", "Pending", "ContainerCreating", 20, 21),
        ("second", "Running", None, 21, 30),
        ("second", "Succeeded", "Completed", 30, None),
        ("third", "Pending", "ContainerCreating", 31, 32),
        ("third", "Running", None, 32, None),
    ]


def test_current_pods_use_the_clock_of_the_database(database: Database) -> None:
    add(database, "fleets", NODE)
    timelines = {
        "has-started": [("Pending", -3 * HOUR), ("Running", -2 * HOUR), ("Succeeded", HOUR)],
        "will-start": [("Pending", -HOUR), ("Running", HOUR)],
        "gone": [("Pending", -3 * HOUR), ("Running", -2 * HOUR)],
        "written-by-a-clock-ahead": [("Pending", 2 * HOUR), ("Running", 3 * HOUR)],
    }
    for number, (name, timeline) in enumerate(timelines.items(), start=1):
        created = NOW + timeline[0][1]
        pod = {"id": number, "name": name, "uid": name, "pod_ip": f"198.18.0.{number}"}
        times = {
            "created_at": created,
            "updated_at": created,
            "deleted_at": NOW - HOUR if name == "gone" else None,
        }
        add(database, "pods", {**POD, **pod, **times})
        for phase, offset in timeline:
            status = {"pod_id": number, "effective_at": NOW + offset, "phase": phase, "reason": None}
            add(database, "pod_statuses", {**STATUS, **status})

    rows = query(database, "SELECT name, phase, pod_ip, since FROM current_pods ORDER BY name")

    assert rows == [
        ("has-started", "Running", "198.18.0.1", NOW - 2 * HOUR),
        ("will-start", "Pending", "198.18.0.2", NOW - HOUR),
        ("written-by-a-clock-ahead", "Pending", "198.18.0.4", NOW + 2 * HOUR),
    ]


def test_a_replacement_is_the_current_pod(make_app: MakeApp, database: Database) -> None:
    client = make_app().test_client()
    for uid in ("first", "second"):
        client.post("/createPod", json=a_pod(uid=uid))
    assert query(database, "SELECT namespace, name, uid, revision FROM current_pods") == [
        ("default", "web-0", "second", 2)
    ]


def test_the_audit_log_joins_requests_with_pods(make_app: MakeApp, database: Database, clock: Clock) -> None:
    client = make_app().test_client()
    created = clock()
    client.post("/createPod", json=a_pod(uid="first"), headers={"X-Request-ID": "a", "User-Agent": "broker"})
    clock.advance(10)
    client.delete("/deletePod", json=a_pod(uid="first"), headers={"X-Request-ID": "b", "User-Agent": "broker"})
    deleted = clock()
    clock.advance(10)
    client.delete("/deletePod", json=a_pod(uid="other"), headers={"X-Request-ID": "c", "User-Agent": "curl"})

    rows = query(
        database,
        "SELECT request_id, at, verb, name, uid, code, outcome, revision, user_agent, address, pod_created_at, "
        "pod_deleted_at FROM audit_log ORDER BY at",
    )

    assert rows == [
        ("a", created, "create", "web-0", "first", 200, "done", 1, "broker", "127.0.0.1", created, deleted),
        ("b", deleted, "delete", "web-0", "first", 200, "done", 2, "broker", "127.0.0.1", created, deleted),
        ("c", clock(), "delete", "web-0", "other", 404, "refused", None, "curl", "127.0.0.1", None, None),
    ]
