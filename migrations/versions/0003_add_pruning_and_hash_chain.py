"""Add pruning, the hash chain, the requests of pods, and views of containers and changes.

Revision ID: 0003
Revises: 0002
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
PRUNING: dict[str, Any] = {
    f"{name}_where": sa.text("pruned_through IS NOT NULL") for name in ("sqlite", "postgresql")
}
OLD_COLUMNS = (
    "id, at, node_name, revision, request_id, address, user_agent, verb, namespace, name, uid, code, change"
)


def upgrade() -> None:
    _drop("VIEW", OLD_VIEWS)
    op.add_column("nodes", sa.Column("audit_hash", sa.Text(), nullable=True))
    op.add_column("pod_statuses", sa.Column("cpu_millicores", sa.BigInteger(), nullable=True))
    op.add_column("pod_statuses", sa.Column("memory_bytes", sa.BigInteger(), nullable=True))
    op.add_column("pod_statuses", sa.Column("left_at", TIME, nullable=True))
    _drop_guards()
    if _dialect() == "sqlite":
        _rebuild_audit_events(
            sa.Column("pruned_through", sa.BigInteger(), nullable=True),
            sa.Column("previous_hash", sa.Text(), nullable=True),
            sa.Column("hash", sa.Text(), nullable=True),
            *(sa.CheckConstraint(rule, name=op.f(name)) for name, rule in NEW_CHECKS.items()),
        )
    else:
        for column, type_ in (
            ("pruned_through", sa.BigInteger()),
            ("previous_hash", sa.Text()),
            ("hash", sa.Text()),
        ):
            op.add_column("audit_events", sa.Column(column, type_, nullable=True))
        op.drop_constraint(op.f("ck_audit_events_verb"), "audit_events")
        for name, rule in NEW_CHECKS.items():
            op.create_check_constraint(op.f(name), "audit_events", rule)
    op.create_index("ix_audit_events_pruned_through", "audit_events", ["node_name", "pruned_through"], **PRUNING)
    _execute(GUARDS[_dialect()])
    _create_views(VIEWS[_dialect()])


def downgrade() -> None:
    _drop("VIEW", VIEWS[_dialect()])
    _drop_guards()
    op.drop_index("ix_audit_events_pruned_through", "audit_events")
    op.execute("DELETE FROM audit_events WHERE verb = 'prune'")
    if _dialect() == "sqlite":
        _rebuild_audit_events(sa.CheckConstraint(OLD_VERBS, name=op.f("ck_audit_events_verb")))
    else:
        for name in NEW_CHECKS:
            op.drop_constraint(op.f(name), "audit_events")
        op.create_check_constraint(op.f("ck_audit_events_verb"), "audit_events", OLD_VERBS)
        for column in ("pruned_through", "previous_hash", "hash"):
            op.drop_column("audit_events", column)
    for column in ("left_at", "memory_bytes", "cpu_millicores"):
        op.drop_column("pod_statuses", column)
    op.drop_column("nodes", "audit_hash")
    _execute(OLD_GUARDS[_dialect()])
    _create_views(OLD_VIEWS)


def _dialect() -> str:
    return op.get_bind().dialect.name


def _execute(statements: list[str]) -> None:
    """Execute statements without parameters, so that colons are literal."""
    for statement in statements:
        op.get_bind().exec_driver_sql(statement)


def _drop(kind: str, names: dict[str, str]) -> None:
    _execute([f"DROP {kind} {name}" for name in reversed(names)])


def _create_views(views: dict[str, str]) -> None:
    now = "strftime('%Y-%m-%d %H:%M:%f', 'now')" if _dialect() == "sqlite" else "clock_timestamp()"
    _execute([f"CREATE VIEW {name} AS{query.replace('<NOW>', now)}" for name, query in views.items()])


def _drop_guards() -> None:
    """Drop the triggers of both the old and the new schema, which have the same names."""
    if _dialect() == "sqlite":
        for operation in ("update", "delete", "replace"):
            op.execute(f"DROP TRIGGER audit_events_no_{operation}")
        return
    op.execute("DROP TRIGGER audit_events_append_only ON audit_events")
    op.execute("DROP TRIGGER IF EXISTS audit_events_no_delete ON audit_events")
    op.execute("DROP FUNCTION audit_events_refuse")


def _rebuild_audit_events(*more: sa.schema.SchemaItem) -> None:
    """Replace the table by a copy with other columns and constraints: SQLite cannot change a CHECK."""
    op.create_table(
        "audit_events_new",
        sa.Column("id", KEY, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("node_name", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("user_agent", sa.Text(), nullable=False),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("uid", sa.Text(), nullable=True),
        sa.Column("code", sa.Integer(), nullable=False),
        sa.Column("change", sa.Text(), nullable=True),
        sa.CheckConstraint("code BETWEEN 100 AND 599", name=op.f("ck_audit_events_code")),
        sa.PrimaryKeyConstraint("id", name="pk_audit_events"),
        *more,
    )
    op.execute(f"INSERT INTO audit_events_new ({OLD_COLUMNS}) SELECT {OLD_COLUMNS} FROM audit_events")  # noqa: S608
    op.drop_table("audit_events")
    op.rename_table("audit_events_new", "audit_events")
    op.create_index("ix_audit_events_at", "audit_events", ["node_name", "at"])
    op.create_index("ix_audit_events_pod", "audit_events", ["node_name", "namespace", "name"])


OLD_VERBS = "verb IN ('create', 'update', 'delete')"
NEW_CHECKS = {
    "ck_audit_events_verb": "verb IN ('create', 'update', 'delete', 'prune')",
    "ck_audit_events_prune": "(verb = 'prune') = (pruned_through IS NOT NULL)",
    "ck_audit_events_pruned_through": "pruned_through < id",
    "ck_audit_events_hash": "(hash IS NULL) = (previous_hash IS NULL)",
}

GUARDS = {
    "sqlite": [
        """CREATE TRIGGER audit_events_no_update BEFORE UPDATE ON audit_events
BEGIN SELECT RAISE(ABORT, 'audit_events is append-only'); END""",
        """CREATE TRIGGER audit_events_no_delete BEFORE DELETE ON audit_events
WHEN NOT EXISTS (SELECT 1 FROM audit_events WHERE node_name = OLD.node_name AND pruned_through >= OLD.id)
BEGIN SELECT RAISE(ABORT, 'audit_events is append-only'); END""",
        """CREATE TRIGGER audit_events_no_replace BEFORE INSERT ON audit_events
WHEN EXISTS (SELECT 1 FROM audit_events WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'audit_events is append-only'); END""",
    ],
    "postgresql": [
        """CREATE FUNCTION audit_events_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN
    IF EXISTS (SELECT FROM audit_events WHERE node_name = OLD.node_name AND pruned_through >= OLD.id) THEN
      RETURN OLD;
    END IF;
  END IF;
  RAISE EXCEPTION 'audit_events is append-only';
END $$""",
        """CREATE TRIGGER audit_events_append_only BEFORE UPDATE OR TRUNCATE ON audit_events
FOR EACH STATEMENT EXECUTE FUNCTION audit_events_refuse()""",
        """CREATE TRIGGER audit_events_no_delete BEFORE DELETE ON audit_events
FOR EACH ROW EXECUTE FUNCTION audit_events_refuse()""",
    ],
}
OLD_GUARDS = {
    "sqlite": [
        """CREATE TRIGGER audit_events_no_update BEFORE UPDATE ON audit_events
BEGIN SELECT RAISE(ABORT, 'audit_events is append-only'); END""",
        """CREATE TRIGGER audit_events_no_delete BEFORE DELETE ON audit_events
BEGIN SELECT RAISE(ABORT, 'audit_events is append-only'); END""",
        """CREATE TRIGGER audit_events_no_replace BEFORE INSERT ON audit_events
WHEN EXISTS (SELECT 1 FROM audit_events WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'audit_events is append-only'); END""",
    ],
    "postgresql": [
        """CREATE FUNCTION audit_events_refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'audit_events is append-only'; END $$""",
        """CREATE TRIGGER audit_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_events
FOR EACH STATEMENT EXECUTE FUNCTION audit_events_refuse()""",
    ],
}

COMMON_VIEWS = {
    "pod_timeline": """
SELECT p.node_name, p.namespace, p.name, p.uid, s.phase, s.reason, s.effective_at AS since,
       coalesce(s.left_at,
                (SELECT min(n.effective_at) FROM pod_statuses n
                 WHERE n.pod_id = s.pod_id AND n.effective_at > s.effective_at),
                CASE WHEN p.deleted_at > s.effective_at THEN p.deleted_at END) AS until,
       p.deleted_at, s.cpu_millicores, s.memory_bytes, s.status
FROM pods p JOIN pod_statuses s ON s.pod_id = p.id
""",
    "current_pods": """
SELECT p.node_name, p.namespace, p.name, p.uid, s.phase, s.reason, s.effective_at AS since, p.pod_ip,
       p.created_at, p.updated_at, p.revision, s.cpu_millicores, s.memory_bytes, s.status
FROM pods p JOIN pod_statuses s ON s.pod_id = p.id
WHERE p.deleted_at IS NULL AND s.effective_at = (
    SELECT max(c.effective_at) FROM pod_statuses c
    WHERE c.pod_id = p.id AND (c.effective_at <= p.updated_at OR c.effective_at <= <NOW>))
""",
}
VIEWS = {
    "sqlite": {
        **COMMON_VIEWS,
        "pod_containers": """
SELECT t.node_name, t.namespace, t.name, t.uid, t.since, t.until, k.kind,
       json_extract(c.value, '$.name') AS container,
       json_extract(c.value, '$.image') AS image,
       json_extract(c.value, '$.ready') AS ready,
       json_extract(c.value, '$.restartCount') AS restarts,
       CASE WHEN json_extract(c.value, '$.state.running') IS NOT NULL THEN 'running'
            WHEN json_extract(c.value, '$.state.terminated') IS NOT NULL THEN 'terminated'
            ELSE 'waiting' END AS state,
       coalesce(json_extract(c.value, '$.state.waiting.reason'),
                json_extract(c.value, '$.state.terminated.reason')) AS reason,
       coalesce(json_extract(c.value, '$.state.terminated.exitCode'),
                json_extract(c.value, '$.lastState.terminated.exitCode')) AS exit_code,
       strftime('%Y-%m-%d %H:%M:%f000', coalesce(json_extract(c.value, '$.state.terminated.finishedAt'),
                json_extract(c.value, '$.lastState.terminated.finishedAt'))) AS finished_at
FROM pod_timeline t
     CROSS JOIN (SELECT 'initContainer' AS kind UNION ALL SELECT 'container'
                 UNION ALL SELECT 'ephemeralContainer') k
     CROSS JOIN json_each(t.status, '$.' || k.kind || 'Statuses') c
""",
        "pod_startups": """
SELECT q.node_name, q.namespace, q.name, q.uid, q.created_at, q.deleted_at, q.ready_at,
       round((julianday(q.ready_at) - julianday(q.created_at)) * 86400, 3) AS seconds_to_ready
FROM (SELECT p.node_name, p.namespace, p.name, p.uid, p.created_at, p.deleted_at,
             (SELECT min(s.effective_at) FROM pod_statuses s
              WHERE s.pod_id = p.id AND s.effective_at >= p.created_at
                    AND EXISTS (
    SELECT 1 FROM json_each(s.status, '$.conditions') c
    WHERE json_extract(c.value, '$.type') = 'Ready' AND json_extract(c.value, '$.status') = 'True')) AS ready_at
      FROM pods p JOIN pod_statuses f ON f.pod_id = p.id AND f.effective_at = p.created_at) q
""",
        "audit_log": """
SELECT a.id, a.at, a.node_name, a.verb, a.namespace, a.name, a.uid, a.code,
       CASE WHEN a.code < 400 THEN 'done' ELSE 'refused' END AS outcome,
       json_extract(a.change, '$.replaced') AS replaced_uid,
       json_extract(a.change, '$.refused') AS refusal,
       a.change, a.address, a.user_agent, a.request_id, a.revision, p.created_at AS pod_created_at,
       p.deleted_at AS pod_deleted_at
FROM audit_events a LEFT JOIN pods p ON p.node_name = a.node_name AND p.uid = a.uid
""",
        "audit_changes": """
SELECT a.id, a.at, a.node_name, a.namespace, a.name, a.uid, a.request_id, a.user_agent,
       json_extract(c.value, '$.field') AS field, json_extract(c.value, '$.from') AS image_before,
       json_extract(c.value, '$.to') AS image_after
FROM audit_events a
     CROSS JOIN json_each(a.change, '$.changed') c
""",
    },
    "postgresql": {
        **COMMON_VIEWS,
        "pod_containers": r"""
SELECT t.node_name, t.namespace, t.name, t.uid, t.since, t.until, k.kind,
       c.value #>> '{name}' AS container,
       c.value #>> '{image}' AS image,
       (c.value #>> '{ready}')::boolean AS ready,
       (c.value #>> '{restartCount}')::bigint AS restarts,
       CASE WHEN c.value #>> '{state,running}' IS NOT NULL THEN 'running'
            WHEN c.value #>> '{state,terminated}' IS NOT NULL THEN 'terminated'
            ELSE 'waiting' END AS state,
       coalesce(c.value #>> '{state,waiting,reason}',
                c.value #>> '{state,terminated,reason}') AS reason,
       coalesce((c.value #>> '{state,terminated,exitCode}')::bigint,
                (c.value #>> '{lastState,terminated,exitCode}')::bigint) AS exit_code,
       timestamptz(coalesce(c.value #>> '{state,terminated,finishedAt}',
                c.value #>> '{lastState,terminated,finishedAt}')) AS finished_at
FROM pod_timeline t
     CROSS JOIN (SELECT 'initContainer' AS kind UNION ALL SELECT 'container'
                 UNION ALL SELECT 'ephemeralContainer') k
     CROSS JOIN LATERAL jsonb_array_elements(
         replace(t.status, '\u0000', '\ufffd')::jsonb -> (k.kind || 'Statuses')) c
""",
        "pod_startups": r"""
SELECT q.node_name, q.namespace, q.name, q.uid, q.created_at, q.deleted_at, q.ready_at,
       round(extract(epoch FROM q.ready_at - q.created_at), 3)::float8 AS seconds_to_ready
FROM (SELECT p.node_name, p.namespace, p.name, p.uid, p.created_at, p.deleted_at,
             (SELECT min(s.effective_at) FROM pod_statuses s
              WHERE s.pod_id = p.id AND s.effective_at >= p.created_at
                    AND replace(s.status, '\u0000', '\ufffd')::jsonb
    @> '{"conditions": [{"type": "Ready", "status": "True"}]}') AS ready_at
      FROM pods p JOIN pod_statuses f ON f.pod_id = p.id AND f.effective_at = p.created_at) q
""",
        "audit_log": r"""
SELECT a.id, a.at, a.node_name, a.verb, a.namespace, a.name, a.uid, a.code,
       CASE WHEN a.code < 400 THEN 'done' ELSE 'refused' END AS outcome,
       replace(a.change, '\u0000', '\ufffd')::jsonb ->> 'replaced' AS replaced_uid,
       replace(a.change, '\u0000', '\ufffd')::jsonb ->> 'refused' AS refusal,
       a.change, a.address, a.user_agent, a.request_id, a.revision, p.created_at AS pod_created_at,
       p.deleted_at AS pod_deleted_at
FROM audit_events a LEFT JOIN pods p ON p.node_name = a.node_name AND p.uid = a.uid
""",
        "audit_changes": r"""
SELECT a.id, a.at, a.node_name, a.namespace, a.name, a.uid, a.request_id, a.user_agent,
       c.value #>> '{field}' AS field, c.value #>> '{from}' AS image_before,
       c.value #>> '{to}' AS image_after
FROM audit_events a
     CROSS JOIN LATERAL jsonb_array_elements(replace(a.change, '\u0000', '\ufffd')::jsonb -> 'changed') c
""",
    },
}
OLD_VIEWS = {
    "pod_timeline": """
SELECT p.node_name, p.namespace, p.name, p.uid, s.phase, s.reason, s.effective_at AS since,
       coalesce(lead(s.effective_at) OVER (PARTITION BY s.pod_id ORDER BY s.effective_at),
                CASE WHEN p.deleted_at > s.effective_at THEN p.deleted_at END) AS until, s.status
FROM pods p JOIN pod_statuses s ON s.pod_id = p.id
""",
    "current_pods": """
SELECT p.node_name, p.namespace, p.name, p.uid, s.phase, s.reason, s.effective_at AS since, p.pod_ip,
       p.created_at, p.updated_at, p.revision, s.status
FROM pods p JOIN pod_statuses s ON s.pod_id = p.id
WHERE p.deleted_at IS NULL AND s.effective_at = (
    SELECT max(c.effective_at) FROM pod_statuses c
    WHERE c.pod_id = p.id AND (c.effective_at <= p.updated_at OR c.effective_at <= <NOW>))
""",
    "audit_log": """
SELECT a.at, a.node_name, a.verb, a.namespace, a.name, a.uid, a.code,
       CASE WHEN a.code < 400 THEN 'done' ELSE 'refused' END AS outcome,
       a.change, a.address, a.user_agent, a.request_id, a.revision, p.created_at AS pod_created_at,
       p.deleted_at AS pod_deleted_at
FROM audit_events a LEFT JOIN pods p ON p.node_name = a.node_name AND p.uid = a.uid
""",
}
