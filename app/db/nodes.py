"""The row of a node, which serializes the writes of the node."""

from datetime import UTC, datetime

from sqlalchemy import Connection, bindparam, select
from sqlalchemy.dialects import postgresql, sqlite

from app.db.models import Node
from app.db.statement import Row, Statement

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
_INSERT = {
    "sqlite": sqlite.insert(Node).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(Node).on_conflict_do_nothing(),
}
_LOCK = Statement(
    select(Node.revision, Node.settled_at, Node.audit_hash).where(Node.name == bindparam("name")).with_for_update()
)
_NAMES = Statement(select(Node.name).order_by(Node.name))


def node_names(connection: Connection) -> list[str]:
    """Return the names of all nodes in the database, sorted."""
    return [row.name for row in _NAMES.all(connection)]


def add_node(connection: Connection, name: str) -> None:
    """Insert a node's row if it is missing; safe when several processes do so at once."""
    connection.execute(_INSERT[connection.dialect.name], {"name": name, "revision": 0, "settled_at": _NEVER})


def lock_node(connection: Connection, name: str) -> Row:
    """Lock a node's row until the transaction ends, and return its other columns."""
    row = _LOCK.first(connection, name=name)
    if row is None:  # before the first write of the node
        add_node(connection, name)
        row = _LOCK.one(connection, name=name)
    return row
