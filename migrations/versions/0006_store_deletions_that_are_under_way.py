"""Store deletions that are under way, and pods that wait for the end of another pod of their name.

Revision ID: 0006
Revises: 0005
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
COLUMNS = ("starts_at", "deletion_requested_at", "grace_ends_at")
NAME = ["node_name", "namespace", "name"]


def upgrade() -> None:
    op.execute("DROP VIEW current_pods")
    for column in COLUMNS:
        op.add_column("pods", sa.Column(column, TIME, nullable=True))
    # Until now a pod was gone, and started, at the time of the request.
    op.execute(
        "UPDATE pods SET starts_at = created_at, deletion_requested_at = deleted_at, grace_ends_at = deleted_at"
    )
    op.drop_index("uq_pods_live_name", "pods")
    op.create_index("uq_pods_live_name", "pods", NAME, unique=True, **_where("deletion_requested_at IS NULL"))
    op.create_index("ix_pods_live_name", "pods", NAME, **_where("deleted_at IS NULL"))
    _create_current_pods(more=",\n       p.deletion_requested_at, p.grace_ends_at")


def downgrade() -> None:
    """Pods that are being deleted are gone from now on, as they were before this revision."""
    op.execute("DROP VIEW current_pods")
    op.execute(
        "UPDATE pods SET deleted_at = updated_at WHERE deletion_requested_at IS NOT NULL AND deleted_at IS NULL"
    )
    op.drop_index("ix_pods_live_name", "pods")
    op.drop_index("uq_pods_live_name", "pods")
    op.create_index("uq_pods_live_name", "pods", NAME, unique=True, **_where("deleted_at IS NULL"))
    for column in COLUMNS:
        op.drop_column("pods", column)
    _create_current_pods()


def _where(condition: str) -> dict[str, Any]:
    return {f"{name}_where": sa.text(condition) for name in ("sqlite", "postgresql")}


def _create_current_pods(*, more: str = "") -> None:
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    now = "strftime('%Y-%m-%d %H:%M:%f', 'now')" if is_sqlite else "clock_timestamp()"
    op.get_bind().exec_driver_sql(f"""CREATE VIEW current_pods AS
SELECT p.node_name, p.namespace, p.name, p.uid, s.phase, s.reason, s.effective_at AS since, p.pod_ip,
       p.created_at, p.updated_at, p.revision, s.cpu_millicores, s.memory_bytes, s.status{more}
FROM nodes n JOIN pods p ON p.node_name = n.name JOIN pod_statuses s ON s.pod_id = p.id
WHERE p.deleted_at IS NULL AND s.effective_at = (
    SELECT max(c.effective_at) FROM pod_statuses c
    WHERE c.pod_id = p.id
          AND (c.effective_at <= p.updated_at OR c.effective_at <= n.settled_at OR c.effective_at <= {now}))
""")  # noqa: S608 - from the constants above
