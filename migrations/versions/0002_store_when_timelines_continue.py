"""Store when timelines continue, which statuses are published, and a last status after the deletion.

Revision ID: 0002
Revises: 0001
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
GOES_ON: dict[str, Any] = {
    f"{name}_where": sa.text("continues_at IS NOT NULL") for name in ("sqlite", "postgresql")
}
LAST_STATUS = "CASE WHEN p.deleted_at > s.effective_at THEN p.deleted_at END"


def upgrade() -> None:
    op.add_column("pods", sa.Column("continues_at", TIME, nullable=True))
    op.create_index("ix_pods_continues_at", "pods", ["node_name", "continues_at"], **GOES_ON)
    op.create_index("ix_pods_revision", "pods", ["node_name", "revision"])
    op.create_index("ix_pod_statuses_effective_at", "pod_statuses", ["effective_at"])
    # No client has watched changes yet, so all statuses count as unpublished.
    op.add_column("nodes", sa.Column("settled_at", TIME, nullable=True))
    op.execute("UPDATE nodes SET settled_at = '1970-01-01 00:00:00.000000'")
    with op.batch_alter_table("nodes") as nodes:
        nodes.alter_column("settled_at", existing_type=TIME, nullable=False)
    _create_timeline(until=LAST_STATUS)


def downgrade() -> None:
    _create_timeline(until="p.deleted_at")
    op.drop_column("nodes", "settled_at")
    op.drop_index("ix_pod_statuses_effective_at", "pod_statuses")
    op.drop_index("ix_pods_revision", "pods")
    op.drop_index("ix_pods_continues_at", "pods")
    op.drop_column("pods", "continues_at")


def _create_timeline(*, until: str) -> None:
    op.execute("DROP VIEW pod_timeline")
    op.execute(
        f"""CREATE VIEW pod_timeline AS
SELECT p.node_name, p.namespace, p.name, p.uid, s.phase, s.reason, s.effective_at AS since,
       coalesce(lead(s.effective_at) OVER (PARTITION BY s.pod_id ORDER BY s.effective_at),
                {until}) AS until, s.status
FROM pods p JOIN pod_statuses s ON s.pod_id = p.id
"""  # noqa: S608 - from the constants above
    )
