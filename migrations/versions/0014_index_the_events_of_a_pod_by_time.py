"""Index the events of a pod by their time, so that the page of a pod does not read those of all pods.

Revision ID: 0014
Revises: 0013
"""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

POD = ["fleet", "namespace", "name"]


def upgrade() -> None:
    op.drop_index("ix_audit_events_pod", "audit_events")
    op.create_index("ix_audit_events_pod", "audit_events", [*POD, "at"])


def downgrade() -> None:
    op.drop_index("ix_audit_events_pod", "audit_events")
    op.create_index("ix_audit_events_pod", "audit_events", POD)
