"""Allow the verbs of streams in the audit log.

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)
NEW_VERBS = "verb IN ('create', 'update', 'delete', 'exec', 'attach', 'port-forward', 'prune')"
OLD_VERBS = "verb IN ('create', 'update', 'delete', 'prune')"
NAME = "ck_audit_events_verb"
COLUMNS = (
    "id, at, node_name, revision, request_id, address, user_agent, verb, namespace, name, uid, code, change, "
    "pruned_through, previous_hash, hash"
)


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        _rebuild_audit_events(NEW_VERBS)
    else:
        op.drop_constraint(op.f(NAME), "audit_events")
        op.create_check_constraint(op.f(NAME), "audit_events", NEW_VERBS)


def downgrade() -> None:
    """Delete the events of streams, which the earlier version does not allow."""
    if op.get_bind().dialect.name == "sqlite":
        _rebuild_audit_events(OLD_VERBS)
        return
    op.execute("ALTER TABLE audit_events DISABLE TRIGGER USER")
    op.execute(f"DELETE FROM audit_events WHERE NOT {OLD_VERBS}")  # noqa: S608 - from the constant above
    op.execute("ALTER TABLE audit_events ENABLE TRIGGER USER")
    op.drop_constraint(op.f(NAME), "audit_events")
    op.create_check_constraint(op.f(NAME), "audit_events", OLD_VERBS)


def _rebuild_audit_events(verbs: str) -> None:
    """Replace the table by a copy of the rows with these verbs: SQLite cannot change a CHECK."""
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
        sa.Column("pruned_through", sa.BigInteger(), nullable=True),
        sa.Column("previous_hash", sa.Text(), nullable=True),
        sa.Column("hash", sa.Text(), nullable=True),
        sa.CheckConstraint("code BETWEEN 100 AND 599", name=op.f("ck_audit_events_code")),
        sa.CheckConstraint("(verb = 'prune') = (pruned_through IS NOT NULL)", name=op.f("ck_audit_events_prune")),
        sa.CheckConstraint("pruned_through < id", name=op.f("ck_audit_events_pruned_through")),
        sa.CheckConstraint("(hash IS NULL) = (previous_hash IS NULL)", name=op.f("ck_audit_events_hash")),
        sa.CheckConstraint(verbs, name=op.f(NAME)),
        sa.PrimaryKeyConstraint("id", name="pk_audit_events"),
    )
    op.execute(
        f"INSERT INTO audit_events_new ({COLUMNS}) SELECT {COLUMNS} FROM audit_events WHERE {verbs}"  # noqa: S608
    )
    op.execute("PRAGMA legacy_alter_table = ON")  # the views refer to a table that does not exist for a moment
    op.drop_table("audit_events")
    op.rename_table("audit_events_new", "audit_events")
    op.execute("PRAGMA legacy_alter_table = OFF")
    op.create_index("ix_audit_events_at", "audit_events", ["node_name", "at"])
    op.create_index("ix_audit_events_pod", "audit_events", ["node_name", "namespace", "name"])
    op.create_index(
        "ix_audit_events_pruned_through",
        "audit_events",
        ["node_name", "pruned_through"],
        sqlite_where=sa.text("pruned_through IS NOT NULL"),
    )
    for guard in GUARDS:
        op.get_bind().exec_driver_sql(guard)


GUARDS = [
    """CREATE TRIGGER audit_events_no_update BEFORE UPDATE ON audit_events
BEGIN SELECT RAISE(ABORT, 'audit_events is append-only'); END""",
    """CREATE TRIGGER audit_events_no_delete BEFORE DELETE ON audit_events
WHEN NOT EXISTS (SELECT 1 FROM audit_events WHERE node_name = OLD.node_name AND pruned_through >= OLD.id)
BEGIN SELECT RAISE(ABORT, 'audit_events is append-only'); END""",
    """CREATE TRIGGER audit_events_no_replace BEFORE INSERT ON audit_events
WHEN EXISTS (SELECT 1 FROM audit_events WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'audit_events is append-only'); END""",
]
