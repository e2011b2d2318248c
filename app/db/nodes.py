"""The row of a node: what its writes queue for."""

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
_LOCK = Statement(select(Node.audit_hash).where(Node.name == bindparam("name")).with_for_update())


def add_node(connection: Connection, name: str) -> None:
    """Add a node's row where it is missing; somebody else may do so at the same time."""
    connection.execute(_INSERT[connection.dialect.name], {"name": name, "revision": 0, "settled_at": _NEVER})


def lock_node(connection: Connection, name: str) -> Row:
    """Make every writer of a node wait until the transaction ends; give its `audit_hash`."""
    row = _LOCK.first(connection, name=name)
    if row is None:  # nothing was ever written
        add_node(connection, name)
        row = _LOCK.one(connection, name=name)
    return row
