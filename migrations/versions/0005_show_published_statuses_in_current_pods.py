"""Show every published status in `current_pods`, also where the clock is behind it.

Revision ID: 0005
Revises: 0004
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

COLUMNS = """
SELECT p.node_name, p.namespace, p.name, p.uid, s.phase, s.reason, s.effective_at AS since, p.pod_ip,
       p.created_at, p.updated_at, p.revision, s.cpu_millicores, s.memory_bytes, s.status
"""
NEW = f"""{COLUMNS}FROM nodes n JOIN pods p ON p.node_name = n.name JOIN pod_statuses s ON s.pod_id = p.id
WHERE p.deleted_at IS NULL AND s.effective_at = (
    SELECT max(c.effective_at) FROM pod_statuses c
    WHERE c.pod_id = p.id
          AND (c.effective_at <= p.updated_at OR c.effective_at <= n.settled_at OR c.effective_at <= <NOW>))
"""  # noqa: S608 - from the constants above
OLD = f"""{COLUMNS}FROM pods p JOIN pod_statuses s ON s.pod_id = p.id
WHERE p.deleted_at IS NULL AND s.effective_at = (
    SELECT max(c.effective_at) FROM pod_statuses c
    WHERE c.pod_id = p.id AND (c.effective_at <= p.updated_at OR c.effective_at <= <NOW>))
"""  # noqa: S608 - from the constants above


def upgrade() -> None:
    _replace(NEW)


def downgrade() -> None:
    _replace(OLD)


def _replace(query: str) -> None:
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    now = "strftime('%Y-%m-%d %H:%M:%f', 'now')" if is_sqlite else "clock_timestamp()"
    for statement in ("DROP VIEW current_pods", f"CREATE VIEW current_pods AS{query.replace('<NOW>', now)}"):
        op.get_bind().exec_driver_sql(statement)
