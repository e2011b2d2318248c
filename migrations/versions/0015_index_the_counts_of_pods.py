"""Store the texts in which a search of pods looks, and index what lists of pods and the overview count.

Revision ID: 0015
Revises: 0014
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

BEFORE = (
    "fleet", "node_name", "namespace", "name", "id", "deleted_at", "deletion_requested_at", "uid", "pod_ip",
    "created_at", "labels", "images", "owner", "status_at", "phase", "reason", "ready_containers", "containers",
    "restarts", "termination_reason", "cpu_millicores", "memory_bytes",
)  # fmt: skip
LIST = (
    "fleet", "namespace", "phase", "reason", "deletion_requested_at", "ready_containers", "containers",
    "node_name", "status_at", "name", "created_at", "restarts", "termination_reason", "cpu_millicores",
    "memory_bytes", "pod_ip", "owner", "images", "labels", "search_text", "uid", "deleted_at",
)  # fmt: skip
IS_LIVE = sa.text("deleted_at IS NULL")
WAS_LEFT = sa.text("left_at IS NOT NULL")
IS_REFUSED = sa.text("code >= 400")


def upgrade() -> None:
    op.add_column("pods", sa.Column("search_text", sa.Text(), nullable=True))
    op.execute(
        """UPDATE pods SET search_text = namespace || '/' || name || coalesce(' ' || images, '')
    || coalesce(' ' || owner, '') || coalesce(' ' || pod_ip, '') || ' ' || node_name || ' ' || uid"""
    )
    _replace_list_index(LIST)
    op.create_index(
        "ix_pods_status_at", "pods", ["fleet", "status_at", "created_at", "deleted_at"],
        sqlite_where=IS_LIVE, postgresql_where=IS_LIVE,
    )  # fmt: skip
    op.create_index(
        "ix_pod_statuses_left_at", "pod_statuses", ["left_at"], sqlite_where=WAS_LEFT, postgresql_where=WAS_LEFT
    )
    op.create_index(
        "ix_audit_events_refused", "audit_events", ["fleet", "at"],
        sqlite_where=IS_REFUSED, postgresql_where=IS_REFUSED,
    )  # fmt: skip


def downgrade() -> None:
    op.drop_index("ix_audit_events_refused", "audit_events")
    op.drop_index("ix_pod_statuses_left_at", "pod_statuses")
    op.drop_index("ix_pods_status_at", "pods")
    _replace_list_index(BEFORE)
    op.drop_column("pods", "search_text")


def _replace_list_index(columns: tuple[str, ...]) -> None:
    """Replace the index of pod lists, which only SQLite has."""
    if op.get_bind().dialect.name == "sqlite":
        op.drop_index("ix_pods_list", "pods")
        op.create_index("ix_pods_list", "pods", list(columns), sqlite_where=IS_LIVE)
