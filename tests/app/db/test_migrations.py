"""The migrations: they create the schema of the models, and no failure leaves a partial schema."""

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask.testing import FlaskClient
from sqlalchemy import Connection, make_url, text

from app import create_app
from app.core.settings import Settings
from app.db.engine import Database
from app.db.migrate import downgrade, upgrade
from app.db.models import Base, Pod, exists_in
from app.db.revision import MIGRATIONS, head
from tests.app.web.conftest import rows
from tests.conftest import Clock, MakeApp, services_of
from tests.pods import a_pod
from tests.preloaded import run
from tests.server import CLEAN, ROOT
from tests.waiting import together, together_in_processes

REVISIONS = [script.revision for script in reversed(list(ScriptDirectory(str(MIGRATIONS)).walk_revisions()))]
ON_SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)

Catalog = dict[str, object]
"""The catalog queries for the definition of each object, by kind and name."""

POSTGRESQL_CATALOG = {
    "column": """
        SELECT c.relname || '.' || a.attname, concat_ws(' ', format_type(a.atttypid, a.atttypmod),
               CASE WHEN a.attnotnull THEN 'NOT NULL' END, pg_get_expr(d.adbin, d.adrelid))
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
             LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v', 'p', 'm')
              AND a.attnum > 0 AND NOT a.attisdropped""",
    # Without NOT NULL, which columns have: PostgreSQL 18 names these, and keeps the names if columns are renamed.
    "constraint": """
        SELECT conrelid::regclass || '.' || conname, pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 'n'""",
    "index": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "sequence": "SELECT sequencename, data_type::text FROM pg_sequences WHERE schemaname = 'public'",
    "view": "SELECT viewname, pg_get_viewdef(viewname::regclass) FROM pg_views WHERE schemaname = 'public'",
    "trigger": """
        SELECT tgrelid::regclass || '.' || tgname, pg_get_triggerdef(oid)
        FROM pg_trigger WHERE NOT tgisinternal""",
    "function": """
        SELECT proname, pg_get_functiondef(oid)
        FROM pg_proc WHERE pronamespace = 'public'::regnamespace""",
}


def catalog(connection: Connection) -> Catalog:
    """Return the schema without Alembic's table; the order of columns is ignored."""
    if connection.dialect.name == "sqlite":
        found: Catalog = {
            f"{kind} {name}": _parts(sql) if kind == "table" else _words(sql)
            for kind, name, sql in connection.execute(text("SELECT type, name, sql FROM sqlite_master"))
            if name != "sqlite_sequence"
        }
    else:
        found = {
            f"{kind} {name}": _words(definition)
            for kind, query in POSTGRESQL_CATALOG.items()
            for name, definition in connection.execute(text(query))
        }
    return {name: definition for name, definition in found.items() if "alembic_version" not in name}


def _words(sql: str | None) -> str:
    """Normalize white space, and remove the quotes of names that need none."""
    return " ".join((sql or "").replace('"', "").split())


def _parts(create_table: str) -> list[str]:
    """Split columns and constraints at the commas outside of inner parentheses."""
    inside = _words(create_table).partition("(")[2].rpartition(")")[0]
    commas = re.sub(r"\([^()]*(\([^()]*\)[^()]*)*\)", lambda match: match[0].replace(",", "\0"), inside)
    return sorted(part.strip().replace("\0", ",") for part in commas.split(","))


@contextmanager
def rolled_back(database: Database) -> Iterator[Connection]:
    """Yield a connection whose changes are rolled back."""
    with database.write() as connection:
        yield connection
        if transaction := connection.get_transaction():
            transaction.rollback()


@pytest.fixture
def blank(empty_database_url: str) -> Iterator[Database]:
    """Return a database without tables."""
    database = Database(make_url(empty_database_url), head=None, create=True)
    yield database
    database.dispose()


def schema(database: Database) -> Catalog:
    with database.read() as connection:
        return catalog(connection)


def test_the_migrated_schema_equals_the_models(blank: Database) -> None:
    with rolled_back(blank) as connection:
        Base.metadata.create_all(connection)
        modelled = catalog(connection)
    upgrade(blank.engine.url)
    assert schema(blank) == modelled


CHANGES = {
    "sqlite": [
        "ALTER TABLE fleets ADD COLUMN extra BIGINT CHECK (extra > 0)",
        "ALTER TABLE fleets ADD COLUMN extra TEXT",
        "DROP INDEX uq_pods_live_name",
        "DROP INDEX uq_pods_live_name; CREATE UNIQUE INDEX uq_pods_live_name ON pods (fleet, namespace, name)",
        "DROP TRIGGER audit_events_no_delete",
        "DROP VIEW current_pods; CREATE VIEW current_pods AS SELECT * FROM pod_statuses",
    ],
    "postgresql": [
        "ALTER TABLE fleets ADD CHECK (revision > 0)",
        "ALTER TABLE fleets ADD COLUMN extra TEXT",
        "ALTER TABLE fleets ALTER audit_hash TYPE varchar(64)",
        "DROP TRIGGER fleets_notify ON fleets",
        "ALTER TABLE pods ALTER uid DROP NOT NULL",
        "ALTER TABLE pods ALTER uid SET DEFAULT 'none'",
        "ALTER TABLE pod_statuses DROP CONSTRAINT fk_pod_statuses_pod_id_pods",
        "DROP INDEX uq_pods_live_name",
        "DROP INDEX uq_pods_live_name; CREATE UNIQUE INDEX uq_pods_live_name ON pods (fleet, namespace, name)",
        "DROP TRIGGER audit_events_append_only ON audit_events",
        "DROP TRIGGER audit_events_no_delete ON audit_events",
        "CREATE OR REPLACE FUNCTION audit_events_refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'",
        "DROP VIEW current_pods; CREATE VIEW current_pods AS SELECT * FROM pod_statuses",
    ],
}


def test_the_comparison_of_schemas_sees_every_change(database: Database, database_kind: str) -> None:
    migrated = schema(database)
    for change in CHANGES[database_kind]:
        with rolled_back(database) as connection:
            for statement in change.split("; "):
                connection.execute(text(statement))
            assert catalog(connection) != migrated, change
    assert schema(database) == migrated


def test_alembic_finds_nothing_to_generate(database: Database) -> None:
    options: dict[str, Any] = {"compare_type": True, "compare_server_default": True}
    with database.read() as connection:
        options["include_object"] = exists_in(connection.dialect.name)
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []


def test_every_migration_goes_down_and_up_again(blank: Database) -> None:
    url = blank.engine.url
    for revision in REVISIONS:
        before = schema(blank)
        upgrade(url, revision)
        after = schema(blank)
        downgrade(url, "-1")
        assert schema(blank) == before
        upgrade(url, revision)
        assert schema(blank) == after
    assert blank.revision() == head()


def test_migrations_are_reversible_with_pods_stored(
    client: FlaskClient, database: Database, database_url: str
) -> None:
    for name in ("stays", "changes", "goes"):
        assert client.post("/createPod", json=a_pod(name, uid=name)).status_code == 200
    assert client.put("/updatePod", json=a_pod("changes", uid="changes", hostNetwork=True)).status_code == 200
    assert client.delete("/deletePod", json=a_pod("goes", uid="goes")).status_code == 200
    migrated = schema(database)
    database.dispose()

    for _ in REVISIONS:
        downgrade(make_url(database_url), "-1")
    empty = Database(make_url(database_url), head=None)
    assert schema(empty) == {}
    assert empty.revision() is None
    empty.dispose()

    upgrade(make_url(database_url))
    assert schema(database) == migrated
    assert client.get("/getPods").get_json() == []
    assert client.post("/createPod", json=a_pod()).status_code == 200


def test_migration_0003_keeps_the_audit_log(client: FlaskClient, database: Database, database_url: str) -> None:
    client.post("/createPod", json=a_pod())
    client.delete("/deletePod", json=a_pod("nobody"))
    statement = text("SELECT id, at, verb, code, request_id, change FROM audit_events ORDER BY id")
    with database.read() as connection:
        events = connection.execute(statement).all()
    database.dispose()

    downgrade(make_url(database_url), "0002")
    old = Database(make_url(database_url), head=None)
    with old.read() as connection:
        assert connection.execute(statement).all() == events
    old.dispose()
    upgrade(make_url(database_url))

    with database.read() as connection:
        assert connection.execute(statement).all() == events


def test_migration_0006_keeps_pods_and_deletions(
    client: FlaskClient, database: Database, database_url: str, clock: Clock
) -> None:
    """A pod that was deleted before stays gone; one that is being deleted is gone before the revision."""
    annotations = {"synthetic.virtual-kubelet.io/stop-after": "10s"}
    gone, ending = a_pod("gone", uid="gone"), a_pod("ending", uid="ending", metadata={"annotations": annotations})
    for pod in (gone, ending, a_pod("stays", uid="stays")):
        assert client.post("/createPod", json=pod).status_code == 200
    for pod in (gone, ending):
        assert client.delete("/deletePod", json=pod).status_code == 200
    assert [pod["metadata"]["uid"] for pod in client.get("/getPods").get_json()] == ["ending", "stays"]
    database.dispose()

    downgrade(make_url(database_url), "0005")
    upgrade(make_url(database_url))

    assert [pod["metadata"]["uid"] for pod in client.get("/getPods").get_json()] == ["stays"]
    for row in rows(database, Pod):
        assert row["starts_at"] == row["created_at"]
        assert row["deletion_requested_at"] == row["deleted_at"]
    clock.advance(10)
    assert client.post("/createPod", json=ending).status_code == 200


def test_migration_0011_puts_pods_on_their_node(make_app: MakeApp, database: Database, database_url: str) -> None:
    """Pods of before are on the node of the setting; a downgrade makes one node of a fleet."""
    app = make_app(node_name="north", audit_hash_chain=True)
    client, services = app.test_client(), services_of(app)
    make_app(node_name="south").test_client().post("/createPod", json=a_pod("web-1"))
    for number in range(2):
        client.post("/createPod", json=a_pod(f"web-{number}"))
    database.dispose()
    downgrade(make_url(database_url), "0010")
    upgrade(make_url(database_url))

    assert [(pod["fleet"], pod["node_name"]) for pod in rows(database, Pod)] == [
        ("south", "south"), ("north", "north"), ("north", "north"),
    ]  # fmt: skip
    assert services.audit.verify().broken is None
    assert services.watch.revision() == 2
    assert client.post("/createPod", json=a_pod("web-2", nodeName="spot-0")).status_code == 200
    assert list(services.queries.nodes()) == ["north", "spot-0"]
    assert services.audit.verify().events == 3
    database.dispose()

    downgrade(make_url(database_url), "0010")
    upgrade(make_url(database_url))
    assert {pod["node_name"] for pod in rows(database, Pod) if pod["fleet"] == "north"} == {"north"}
    assert [pod["metadata"]["name"] for pod in client.get("/getPods").get_json()] == ["web-0", "web-1", "web-2"]


def test_two_migrations_can_run_at_once(blank: Database, empty_database_url: str) -> None:
    environment = {**CLEAN, "DATABASE_URL": empty_database_url}
    for done in together(2, lambda _: run("flask", "migrate", cwd=ROOT, environment=environment)):
        assert (done.returncode, done.stdout, done.stderr) == (0, f"the database is at {head()}\n", "")
    assert versions(blank) == [head()]


def versions(database: Database) -> list[str]:
    with database.read() as connection:
        return list(connection.scalars(text("SELECT version_num FROM alembic_version")))


def migrate(_: int, database_url: str) -> None:
    upgrade(make_url(database_url))


def test_eight_simultaneous_migrations_succeed(blank: Database, empty_database_url: str) -> None:
    together_in_processes(8, migrate, empty_database_url)
    assert versions(blank) == [head()]


KILLED_HALFWAY = """
import os, signal, sys
from sqlalchemy import Engine, event, make_url
from app.db.migrate import upgrade

@event.listens_for(Engine, "before_cursor_execute")
def kill_before_the_last_view(connection, cursor, statement, *_):
    if "CREATE VIEW audit_log" in statement:
        os.kill(os.getpid(), signal.SIGKILL)

upgrade(make_url(sys.argv[1]))
"""


def test_a_migration_killed_halfway_changes_nothing(
    blank: Database, empty_database_url: str, tmp_path: Path
) -> None:
    (tmp_path / "killed.py").write_text(KILLED_HALFWAY)
    environment = {**CLEAN, "PYTHONPATH": str(ROOT)}
    done = run(str(tmp_path / "killed.py"), empty_database_url, cwd=ROOT, environment=environment)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert schema(blank) == {}
    assert blank.revision() is None
    upgrade(blank.engine.url)
    assert blank.revision() == head()


def refusal(database_url: str) -> str:
    """Run `vkweb migrate`, which must fail, and return its error output."""
    app = create_app(Settings.model_validate({"database_url": database_url}))
    with app.app_context():
        result = app.test_cli_runner().invoke(args=["migrate"])
    assert result.exit_code != 0
    assert isinstance(result.exception, SystemExit), f"a traceback, not a line: {result.exception!r}"
    return result.stderr


def test_a_migration_meeting_a_foreign_table_changes_nothing(blank: Database) -> None:
    with blank.write() as connection:
        connection.execute(text("CREATE TABLE audit_events (theirs TEXT)"))
        connection.execute(text("INSERT INTO audit_events VALUES ('kept')"))
    before = schema(blank)
    with pytest.raises(Exception, match=r"audit_events.* already exists"):
        upgrade(blank.engine.url)
    assert schema(blank) == before
    with blank.read() as connection:
        assert connection.scalars(text("SELECT theirs FROM audit_events")).all() == ["kept"]


def test_a_foreign_table_is_named_in_one_line(blank: Database, empty_database_url: str) -> None:
    with blank.write() as connection:
        connection.execute(text("CREATE TABLE audit_events (theirs TEXT)"))
    assert re.fullmatch(
        "Error: .*audit_events.* already exists.*; nothing was changed\n", refusal(empty_database_url)
    )


def test_a_newer_database_is_an_error(database: Database, database_url: str) -> None:
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert re.fullmatch("Error: .*9999.*; nothing was changed\n", refusal(database_url))
    newer = Database(make_url(database_url), head=None)
    assert versions(newer) == ["9999"]
    newer.dispose()


@ON_SQLITE
def test_a_file_that_is_no_database_is_kept(empty_database_url: str) -> None:
    path = Path(str(make_url(empty_database_url).database))
    path.parent.mkdir()
    path.write_bytes(b"Dear diary, " * 1000)
    assert refusal(empty_database_url) == (
        "Error: the database file is not an SQLite database; nothing was changed\n"
    )
    assert path.read_bytes() == b"Dear diary, " * 1000


@ON_SQLITE
def test_an_impossible_directory_is_named_in_one_line(empty_database_url: str) -> None:
    directory = Path(str(make_url(empty_database_url).database)).parent
    directory.write_text("a file where a directory should be")
    line = refusal(empty_database_url)
    assert str(directory) in line
    assert line.count("\n") == 1
