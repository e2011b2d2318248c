"""Index the times of deletions, to count those of an hour without reading all pods that ever were.

Revision ID: 0013
Revises: 0012
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

IS_GONE = sa.text("deleted_at IS NOT NULL")


def upgrade() -> None:
    op.create_index(
        "ix_pods_deleted_at", "pods", ["fleet", "deleted_at"], sqlite_where=IS_GONE, postgresql_where=IS_GONE
    )


def downgrade() -> None:
    op.drop_index("ix_pods_deleted_at", "pods")
