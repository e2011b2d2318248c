"""Notify waiting readers of each new revision of a node, on PostgreSQL.

Revision ID: 0007
Revises: 0006
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        return
    op.execute("""CREATE FUNCTION nodes_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('node_' || md5(NEW.name), '');
  RETURN NULL;
END $$""")
    op.execute("""CREATE TRIGGER nodes_notify AFTER UPDATE OF revision ON nodes
FOR EACH ROW EXECUTE FUNCTION nodes_notify()""")


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        return
    op.execute("DROP TRIGGER nodes_notify ON nodes")
    op.execute("DROP FUNCTION nodes_notify()")
