"""Index the orders of lists of pods.

Revision ID: 0004
Revises: 0003
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_pods_name", "pods", ["node_name", "namespace", "name", "id", "deleted_at"])
    op.create_index("ix_pods_created_at", "pods", ["node_name", "created_at", "id", "deleted_at"])


def downgrade() -> None:
    op.drop_index("ix_pods_created_at", "pods")
    op.drop_index("ix_pods_name", "pods")
