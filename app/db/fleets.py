"""The row of a fleet, which serializes the writes of the fleet."""

from datetime import UTC, datetime

from sqlalchemy import Connection, bindparam, select
from sqlalchemy.dialects import postgresql, sqlite

from app.db.models import Fleet
from app.db.statement import Row, Statement

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
_INSERT = {
    "sqlite": sqlite.insert(Fleet).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(Fleet).on_conflict_do_nothing(),
}
_LOCK = Statement(
    select(Fleet.revision, Fleet.settled_at, Fleet.audit_hash)
    .where(Fleet.name == bindparam("name"))
    .with_for_update()
)
_NAMES = Statement(select(Fleet.name).order_by(Fleet.name))


def fleet_names(connection: Connection) -> list[str]:
    """Return the names of all fleets in the database, sorted."""
    return [row.name for row in _NAMES.all(connection)]


def add_fleet(connection: Connection, name: str) -> None:
    """Insert a fleet's row if it is missing; safe when several processes do so at once."""
    connection.execute(_INSERT[connection.dialect.name], {"name": name, "revision": 0, "settled_at": _NEVER})


def lock_fleet(connection: Connection, name: str) -> Row:
    """Lock a fleet's row until the transaction ends, and return its other columns."""
    row = _LOCK.first(connection, name=name)
    if row is None:  # before the first write of the fleet
        add_fleet(connection, name)
        row = _LOCK.one(connection, name=name)
    return row
