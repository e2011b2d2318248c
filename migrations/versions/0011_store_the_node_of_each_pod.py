"""Call a queue of writes a fleet, and store the node of each pod: a fleet can have several nodes.

Revision ID: 0011
Revises: 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)
NEW_VERBS = (
    "verb IN ('create', 'update', 'delete', 'exec', 'attach', 'port-forward', 'mount', 'scenario', 'prune')"
)
OLD_VERBS = "verb IN ('create', 'update', 'delete', 'exec', 'attach', 'port-forward', 'mount', 'prune')"
VERB_CHECK = "ck_audit_events_verb"
KEPT_COLUMNS = (
    "revision, request_id, address, user_agent, verb, namespace, name, uid, code, change, pruned_through, "
    "previous_hash, hash"
)


def upgrade() -> None:
    """Every pod that is stored is on the node with the name of its fleet."""
    _drop_views()
    _rename(("nodes", "fleets"), ("node_name", "fleet"))
    op.add_column("pods", sa.Column("node_name", sa.Text(), server_default=sa.text("''"), nullable=False))
    op.execute("UPDATE pods SET node_name = fleet")
    op.drop_index("uq_pods_node_name_uid", "pods")
    op.create_index("uq_pods_uid", "pods", ["fleet", "uid"], unique=True)
    op.create_index("ix_pods_node_name", "pods", ["fleet", "node_name"])
    if _is_sqlite():
        _rebuild_audit_events(("node_name", "fleet"), NEW_VERBS, sa.Column("node_name", sa.Text(), nullable=True))
    else:
        op.alter_column("audit_events", "node_name", new_column_name="fleet")
        op.add_column("audit_events", sa.Column("node_name", sa.Text(), nullable=True))
        op.drop_constraint(op.f(VERB_CHECK), "audit_events")
        op.create_check_constraint(op.f(VERB_CHECK), "audit_events", NEW_VERBS)
        _replace_refusal("fleet")
    _create_views(NEW_NAMES)


def downgrade() -> None:
    """Delete the events of scenarios. All pods of a fleet are on one node again."""
    _drop_views()
    if _is_sqlite():
        _rebuild_audit_events(("fleet", "node_name"), OLD_VERBS)
    else:
        op.execute("ALTER TABLE audit_events DISABLE TRIGGER USER")
        op.execute(f"DELETE FROM audit_events WHERE NOT {OLD_VERBS}")  # noqa: S608 - from the constant above
        op.execute("ALTER TABLE audit_events ENABLE TRIGGER USER")
        op.drop_constraint(op.f(VERB_CHECK), "audit_events")
        op.create_check_constraint(op.f(VERB_CHECK), "audit_events", OLD_VERBS)
        op.drop_column("audit_events", "node_name")
        op.alter_column("audit_events", "fleet", new_column_name="node_name")
        _replace_refusal("node_name")
    op.drop_index("ix_pods_node_name", "pods")
    op.drop_index("uq_pods_uid", "pods")
    op.drop_column("pods", "node_name")
    _rename(("fleets", "nodes"), ("fleet", "node_name"))
    op.create_index("uq_pods_node_name_uid", "pods", ["node_name", "uid"], unique=True)
    _create_views(OLD_NAMES)


def _is_sqlite() -> bool:
    return op.get_bind().dialect.name == "sqlite"


def _rename(table: tuple[str, str], column: tuple[str, str]) -> None:
    """Rename the table of fleets, and the columns that refer to it. Constraints keep their names."""
    old, new = table
    if not _is_sqlite():
        op.execute(f"DROP TRIGGER {old}_notify ON {old}")
        op.execute(f"DROP FUNCTION {old}_notify()")
    op.rename_table(old, new)
    for name in ("pods", "pod_volumes"):
        op.execute(f"ALTER TABLE {name} RENAME COLUMN {column[0]} TO {column[1]}")
    if not _is_sqlite():
        op.execute(f"""CREATE FUNCTION {new}_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('{new[:-1]}_' || md5(NEW.name), '');
  RETURN NULL;
END $$""")
        op.execute(f"""CREATE TRIGGER {new}_notify AFTER UPDATE OF revision ON {new}
FOR EACH ROW EXECUTE FUNCTION {new}_notify()""")


def _drop_views() -> None:
    for name in reversed(VIEWS["sqlite"]):
        op.execute(f"DROP VIEW {name}")


def _create_views(names: dict[str, str]) -> None:
    for name, query in VIEWS[op.get_bind().dialect.name].items():
        for placeholder, text in names.items():
            query = query.replace(placeholder, text)  # noqa: PLW2901
        op.get_bind().exec_driver_sql(f"CREATE VIEW {name} AS{query}")


def _replace_refusal(fleet: str) -> None:
    """Replace the function of the triggers that keep the audit log append-only, on PostgreSQL."""
    op.execute(f"""CREATE OR REPLACE FUNCTION audit_events_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN
    IF EXISTS (SELECT FROM audit_events WHERE {fleet} = OLD.{fleet} AND pruned_through >= OLD.id) THEN
      RETURN OLD;
    END IF;
  END IF;
  RAISE EXCEPTION 'audit_events is append-only';
END $$""")


def _rebuild_audit_events(fleet: tuple[str, str], verbs: str, *more: sa.Column[str]) -> None:
    """Replace the table by a copy of the rows with these verbs: SQLite cannot change a CHECK."""
    old, new = fleet
    op.create_table(
        "audit_events_new",
        sa.Column("id", KEY, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column(new, sa.Text(), nullable=False),
        *more,
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
        sa.Column("pruned_through", sa.BigInteger(), nullable=True),
        sa.Column("previous_hash", sa.Text(), nullable=True),
        sa.Column("hash", sa.Text(), nullable=True),
        sa.CheckConstraint("code BETWEEN 100 AND 599", name=op.f("ck_audit_events_code")),
        sa.CheckConstraint("(verb = 'prune') = (pruned_through IS NOT NULL)", name=op.f("ck_audit_events_prune")),
        sa.CheckConstraint("pruned_through < id", name=op.f("ck_audit_events_pruned_through")),
        sa.CheckConstraint("(hash IS NULL) = (previous_hash IS NULL)", name=op.f("ck_audit_events_hash")),
        sa.CheckConstraint(verbs, name=op.f(VERB_CHECK)),
        sa.PrimaryKeyConstraint("id", name="pk_audit_events"),
    )
    op.execute(
        f"INSERT INTO audit_events_new (id, at, {new}, {KEPT_COLUMNS}) "  # noqa: S608
        f"SELECT id, at, {old}, {KEPT_COLUMNS} FROM audit_events WHERE {verbs}"
    )
    op.drop_table("audit_events")
    op.rename_table("audit_events_new", "audit_events")
    op.create_index("ix_audit_events_at", "audit_events", [new, "at"])
    op.create_index("ix_audit_events_pod", "audit_events", [new, "namespace", "name"])
    op.create_index(
        "ix_audit_events_pruned_through",
        "audit_events",
        [new, "pruned_through"],
        sqlite_where=sa.text("pruned_through IS NOT NULL"),
    )
    for guard in GUARDS:
        op.get_bind().exec_driver_sql(guard.replace("<fleet>", new))


GUARDS = [
    """CREATE TRIGGER audit_events_no_update BEFORE UPDATE ON audit_events
BEGIN SELECT RAISE(ABORT, 'audit_events is append-only'); END""",
    """CREATE TRIGGER audit_events_no_delete BEFORE DELETE ON audit_events
WHEN NOT EXISTS (SELECT 1 FROM audit_events WHERE <fleet> = OLD.<fleet> AND pruned_through >= OLD.id)
BEGIN SELECT RAISE(ABORT, 'audit_events is append-only'); END""",
    """CREATE TRIGGER audit_events_no_replace BEFORE INSERT ON audit_events
WHEN EXISTS (SELECT 1 FROM audit_events WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'audit_events is append-only'); END""",
]

NEW_NAMES = {
    **{f"<{alias}>": f"{alias}.fleet, {alias}.node_name" for alias in ("p", "t", "q")},
    "<a>": "a.fleet, coalesce(a.node_name, a.fleet) AS node_name",
    "<v>": "v.fleet, p.node_name",
    "<volumes>": "pod_volumes v LEFT JOIN pods p ON p.fleet = v.fleet AND p.uid = v.uid",
    "<fleet>": "fleet",
    "<fleets>": "fleets n",
}
"""What the placeholders of `VIEWS` stand for after an upgrade."""
OLD_NAMES = {
    **{f"<{alias}>": f"{alias}.node_name" for alias in ("p", "t", "q", "a", "v")},
    "<volumes>": "pod_volumes v",
    "<fleet>": "node_name",
    "<fleets>": "nodes n",
}
"""What they stand for after a downgrade."""

VIEWS = {
    "sqlite": {
        "pod_timeline": """
SELECT <p>, p.namespace, p.name, p.uid, s.phase, s.reason, s.effective_at AS since,
       coalesce(s.left_at,
                (SELECT min(n.effective_at) FROM pod_statuses n
                 WHERE n.pod_id = s.pod_id AND n.effective_at > s.effective_at),
                CASE WHEN p.deleted_at > s.effective_at THEN p.deleted_at END) AS until,
       p.deleted_at, s.cpu_millicores, s.memory_bytes, s.status
FROM pods p JOIN pod_statuses s ON s.pod_id = p.id
""",
        "current_pods": """
SELECT <p>, p.namespace, p.name, p.uid, s.phase, s.reason, s.effective_at AS since, p.pod_ip,
       p.created_at, p.updated_at, p.revision, s.cpu_millicores, s.memory_bytes, s.status,
       p.deletion_requested_at, p.grace_ends_at
FROM <fleets> JOIN pods p ON p.<fleet> = n.name JOIN pod_statuses s ON s.pod_id = p.id
WHERE p.deleted_at IS NULL AND s.effective_at = (
    SELECT max(c.effective_at) FROM pod_statuses c
    WHERE c.pod_id = p.id
          AND (c.effective_at <= p.updated_at OR c.effective_at <= n.settled_at
               OR c.effective_at <= strftime('%Y-%m-%d %H:%M:%f', 'now')))
""",
        "pod_containers": """
SELECT <t>, t.namespace, t.name, t.uid, t.since, t.until, k.kind,
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
SELECT <q>, q.namespace, q.name, q.uid, q.created_at, q.deleted_at, q.ready_at,
       round((julianday(q.ready_at) - julianday(q.created_at)) * 86400, 3) AS seconds_to_ready
FROM (SELECT <p>, p.namespace, p.name, p.uid, p.created_at, p.deleted_at,
             (SELECT min(s.effective_at) FROM pod_statuses s
              WHERE s.pod_id = p.id AND s.effective_at >= p.created_at
                    AND EXISTS (
    SELECT 1 FROM json_each(s.status, '$.conditions') c
    WHERE json_extract(c.value, '$.type') = 'Ready' AND json_extract(c.value, '$.status') = 'True')) AS ready_at
      FROM pods p JOIN pod_statuses f ON f.pod_id = p.id AND f.effective_at = p.created_at) q
""",
        "audit_log": """
SELECT a.id, a.at, <a>, a.verb, a.namespace, a.name, a.uid,
       a.code,
       CASE WHEN a.code < 400 THEN 'done' ELSE 'refused' END AS outcome,
       json_extract(a.change, '$.replaced') AS replaced_uid,
       json_extract(a.change, '$.refused') AS refusal,
       a.change, a.address, a.user_agent, a.request_id, a.revision, p.created_at AS pod_created_at,
       p.deleted_at AS pod_deleted_at
FROM audit_events a LEFT JOIN pods p ON p.<fleet> = a.<fleet> AND p.uid = a.uid
""",
        "audit_changes": """
SELECT a.id, a.at, <a>, a.namespace, a.name, a.uid,
       a.request_id, a.user_agent,
       json_extract(c.value, '$.field') AS field, json_extract(c.value, '$.from') AS image_before,
       json_extract(c.value, '$.to') AS image_after
FROM audit_events a
     CROSS JOIN json_each(a.change, '$.changed') c
""",
        "pod_files": """
SELECT <v>, v.namespace, v.name, v.uid, v.volume,
       json_extract(c.value, '$.path') AS path,
       json_extract(c.value, '$.mode') AS mode,
       json_extract(c.value, '$.bytes') AS bytes,
       v.received_at, v.resource_version
FROM <volumes>
     CROSS JOIN json_each(v.files) c
""",
        "audit_mounts": """
SELECT a.id, a.at, <a>, a.namespace, a.name, a.uid,
       json_extract(m.value, '$.name') AS volume,
       json_extract(m.value, '$.resourceVersion') AS volume_version,
       json_extract(c.value, '$.kind') AS kind,
       json_extract(c.value, '$.name') AS source,
       json_extract(c.value, '$.resourceVersion') AS source_version,
       a.user_agent, a.request_id
FROM audit_events a
     CROSS JOIN json_each(a.change, '$.volumes') m
     LEFT JOIN json_each(m.value, '$.sources') c
""",
    },
    "postgresql": {
        "pod_timeline": """
SELECT <p>, p.namespace, p.name, p.uid, s.phase, s.reason, s.effective_at AS since,
       coalesce(s.left_at,
                (SELECT min(n.effective_at) FROM pod_statuses n
                 WHERE n.pod_id = s.pod_id AND n.effective_at > s.effective_at),
                CASE WHEN p.deleted_at > s.effective_at THEN p.deleted_at END) AS until,
       p.deleted_at, s.cpu_millicores, s.memory_bytes, s.status
FROM pods p JOIN pod_statuses s ON s.pod_id = p.id
""",
        "current_pods": """
SELECT <p>, p.namespace, p.name, p.uid, s.phase, s.reason, s.effective_at AS since, p.pod_ip,
       p.created_at, p.updated_at, p.revision, s.cpu_millicores, s.memory_bytes, s.status,
       p.deletion_requested_at, p.grace_ends_at
FROM <fleets> JOIN pods p ON p.<fleet> = n.name JOIN pod_statuses s ON s.pod_id = p.id
WHERE p.deleted_at IS NULL AND s.effective_at = (
    SELECT max(c.effective_at) FROM pod_statuses c
    WHERE c.pod_id = p.id
          AND (c.effective_at <= p.updated_at OR c.effective_at <= n.settled_at
               OR c.effective_at <= clock_timestamp()))
""",
        "pod_containers": r"""
SELECT <t>, t.namespace, t.name, t.uid, t.since, t.until, k.kind,
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
SELECT <q>, q.namespace, q.name, q.uid, q.created_at, q.deleted_at, q.ready_at,
       round(extract(epoch FROM q.ready_at - q.created_at), 3)::float8 AS seconds_to_ready
FROM (SELECT <p>, p.namespace, p.name, p.uid, p.created_at, p.deleted_at,
             (SELECT min(s.effective_at) FROM pod_statuses s
              WHERE s.pod_id = p.id AND s.effective_at >= p.created_at
                    AND replace(s.status, '\u0000', '\ufffd')::jsonb
    @> '{"conditions": [{"type": "Ready", "status": "True"}]}') AS ready_at
      FROM pods p JOIN pod_statuses f ON f.pod_id = p.id AND f.effective_at = p.created_at) q
""",
        "audit_log": r"""
SELECT a.id, a.at, <a>, a.verb, a.namespace, a.name, a.uid,
       a.code,
       CASE WHEN a.code < 400 THEN 'done' ELSE 'refused' END AS outcome,
       replace(a.change, '\u0000', '\ufffd')::jsonb ->> 'replaced' AS replaced_uid,
       replace(a.change, '\u0000', '\ufffd')::jsonb ->> 'refused' AS refusal,
       a.change, a.address, a.user_agent, a.request_id, a.revision, p.created_at AS pod_created_at,
       p.deleted_at AS pod_deleted_at
FROM audit_events a LEFT JOIN pods p ON p.<fleet> = a.<fleet> AND p.uid = a.uid
""",
        "audit_changes": r"""
SELECT a.id, a.at, <a>, a.namespace, a.name, a.uid,
       a.request_id, a.user_agent,
       c.value #>> '{field}' AS field, c.value #>> '{from}' AS image_before,
       c.value #>> '{to}' AS image_after
FROM audit_events a
     CROSS JOIN LATERAL jsonb_array_elements(replace(a.change, '\u0000', '\ufffd')::jsonb -> 'changed') c
""",
        "pod_files": """
SELECT <v>, v.namespace, v.name, v.uid, v.volume,
       c.value #>> '{path}' AS path,
       (c.value #>> '{mode}')::bigint AS mode,
       (c.value #>> '{bytes}')::bigint AS bytes,
       v.received_at, v.resource_version
FROM <volumes>
     CROSS JOIN LATERAL jsonb_array_elements(v.files::jsonb) c
""",
        "audit_mounts": r"""
SELECT a.id, a.at, <a>, a.namespace, a.name, a.uid,
       m.value ->> 'name' AS volume,
       m.value ->> 'resourceVersion' AS volume_version,
       c.value #>> '{kind}' AS kind,
       c.value #>> '{name}' AS source,
       c.value #>> '{resourceVersion}' AS source_version,
       a.user_agent, a.request_id
FROM audit_events a
     CROSS JOIN LATERAL jsonb_array_elements(replace(a.change, '\u0000', '\ufffd')::jsonb -> 'volumes') m (value)
     LEFT JOIN LATERAL jsonb_array_elements(m.value -> 'sources') c (value) ON true
""",
    },
}
