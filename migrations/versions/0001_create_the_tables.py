"""Create the tables, the append-only audit log and the views.

Revision ID: 0001
Revises:
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)
LIVE: dict[str, Any] = {f"{name}_where": sa.text("deleted_at IS NULL") for name in ("sqlite", "postgresql")}


def upgrade() -> None:
    op.create_table(
        "nodes",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_nodes"),
    )
    op.create_table(
        "pods",
        sa.Column("id", KEY, nullable=False),
        sa.Column("node_name", sa.Text(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("pod", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("pod_ip", sa.Text(), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("deleted_at", TIME, nullable=True),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("length(digest) = 64", name=op.f("ck_pods_digest")),
        sa.CheckConstraint("updated_at >= created_at", name=op.f("ck_pods_updated_at")),
        sa.CheckConstraint("deleted_at >= created_at", name=op.f("ck_pods_deleted_at")),
        sa.ForeignKeyConstraint(["node_name"], ["nodes.name"], name="fk_pods_node_name_nodes"),
        sa.PrimaryKeyConstraint("id", name="pk_pods"),
    )
    op.create_index("uq_pods_node_name_uid", "pods", ["node_name", "uid"], unique=True)
    op.create_index("uq_pods_live_name", "pods", ["node_name", "namespace", "name"], unique=True, **LIVE)
    op.create_index("uq_pods_live_pod_ip", "pods", ["node_name", "pod_ip"], unique=True, **LIVE)
    op.create_table(
        "pod_statuses",
        sa.Column("pod_id", KEY, autoincrement=False, nullable=False),
        sa.Column("effective_at", TIME, nullable=False),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "phase IN ('Pending', 'Running', 'Succeeded', 'Failed', 'Unknown')",
            name=op.f("ck_pod_statuses_phase"),
        ),
        sa.ForeignKeyConstraint(["pod_id"], ["pods.id"], name="fk_pod_statuses_pod_id_pods"),
        sa.PrimaryKeyConstraint("pod_id", "effective_at", name="pk_pod_statuses"),
    )
    op.create_table(
        "audit_events",
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
        sa.CheckConstraint("verb IN ('create', 'update', 'delete')", name=op.f("ck_audit_events_verb")),
        sa.CheckConstraint("code BETWEEN 100 AND 599", name=op.f("ck_audit_events_code")),
        sa.PrimaryKeyConstraint("id", name="pk_audit_events"),
    )
    op.create_index("ix_audit_events_at", "audit_events", ["node_name", "at"])
    op.create_index("ix_audit_events_pod", "audit_events", ["node_name", "namespace", "name"])
    _append_only()
    _create_views()


def downgrade() -> None:
    for view in ("audit_log", "current_pods", "pod_timeline"):
        op.execute(f"DROP VIEW {view}")
    for table in ("audit_events", "pod_statuses", "pods", "nodes"):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_events_refuse")


def _append_only() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            """CREATE FUNCTION audit_events_refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'audit_events is append-only'; END $$"""
        )
        op.execute(
            """CREATE TRIGGER audit_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_events
FOR EACH STATEMENT EXECUTE FUNCTION audit_events_refuse()"""
        )
        return
    for operation in ("UPDATE", "DELETE"):
        op.execute(
            f"""CREATE TRIGGER audit_events_no_{operation.lower()} BEFORE {operation} ON audit_events
BEGIN SELECT RAISE(ABORT, 'audit_events is append-only'); END"""
        )
    # INSERT OR REPLACE deletes without firing the trigger for deletes.
    op.execute(
        """CREATE TRIGGER audit_events_no_replace BEFORE INSERT ON audit_events
WHEN EXISTS (SELECT 1 FROM audit_events WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'audit_events is append-only'); END"""
    )


def _create_views() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    now = "strftime('%Y-%m-%d %H:%M:%f', 'now')" if sqlite else "clock_timestamp()"
    op.execute(
        """CREATE VIEW pod_timeline AS
SELECT p.node_name, p.namespace, p.name, p.uid, s.phase, s.reason, s.effective_at AS since,
       coalesce(lead(s.effective_at) OVER (PARTITION BY s.pod_id ORDER BY s.effective_at), p.deleted_at)
           AS until, s.status
FROM pods p JOIN pod_statuses s ON s.pod_id = p.id
"""
    )
    op.execute(
        f"""CREATE VIEW current_pods AS
SELECT p.node_name, p.namespace, p.name, p.uid, s.phase, s.reason, s.effective_at AS since, p.pod_ip,
       p.created_at, p.updated_at, p.revision, s.status
FROM pods p JOIN pod_statuses s ON s.pod_id = p.id
WHERE p.deleted_at IS NULL AND s.effective_at = (
    SELECT max(c.effective_at) FROM pod_statuses c
    WHERE c.pod_id = p.id AND (c.effective_at <= p.updated_at OR c.effective_at <= {now}))
"""  # noqa: S608 - from the constants above
    )
    op.execute(
        """CREATE VIEW audit_log AS
SELECT a.at, a.node_name, a.verb, a.namespace, a.name, a.uid, a.code,
       CASE WHEN a.code < 400 THEN 'done' ELSE 'refused' END AS outcome,
       a.change, a.address, a.user_agent, a.request_id, a.revision, p.created_at AS pod_created_at,
       p.deleted_at AS pod_deleted_at
FROM audit_events a LEFT JOIN pods p ON p.node_name = a.node_name AND p.uid = a.uid
"""
    )
