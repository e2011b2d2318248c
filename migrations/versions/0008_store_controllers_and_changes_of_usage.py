"""Store the controller of each pod, and the earlier usage of pods whose usage was changed.

Revision ID: 0008
Revises: 0007
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("pods", sa.Column("controller_uid", sa.Text, nullable=True))
    has_controller = sa.text("controller_uid IS NOT NULL")
    where: dict[str, Any] = {"sqlite_where": has_controller, "postgresql_where": has_controller}
    op.create_index("ix_pods_controller_uid", "pods", ["node_name", "controller_uid"], **where)
    op.create_table(
        "usage_changes",
        sa.Column(
            "pod_id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False, autoincrement=False
        ),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("usage", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["pod_id"], ["pods.id"], name="fk_usage_changes_pod_id_pods"),
        sa.PrimaryKeyConstraint("pod_id", "changed_at", name="pk_usage_changes"),
    )


def downgrade() -> None:
    """Totals of pods whose usage was changed are computed from their last usage, as if they always had it."""
    op.drop_table("usage_changes")
    op.drop_index("ix_pods_controller_uid", "pods")
    op.drop_column("pods", "controller_uid")
