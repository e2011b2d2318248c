"""The schema: tables, views for SQL users, and triggers.

`migrations/` creates the schema. A test compares the result with this package on both databases.
"""

from collections.abc import Callable

from sqlalchemy import DDL, event

from app.db.models.tables import AuditEvent, Base, Fleet, Pod, PodStatus, PodVolume, UsageChange, UtcDateTime
from app.db.models.triggers import GUARDS, NOTIFICATIONS
from app.db.models.views import views

__all__ = [
    "AuditEvent",
    "Base",
    "Fleet",
    "Pod",
    "PodStatus",
    "PodVolume",
    "UsageChange",
    "UtcDateTime",
    "exists_in",
]


def exists_in(dialect: str) -> Callable[..., bool]:
    """Return Alembic's `include_object` for a dialect, which excludes what the models define for another one."""
    return lambda object_, *_: object_.info.get("dialect", dialect) == dialect


for _dialect in ("sqlite", "postgresql"):
    for _statement in (
        *GUARDS[_dialect],
        *NOTIFICATIONS[_dialect],
        *(f"CREATE VIEW {name} AS{query}" for name, query in views(_dialect).items()),
    ):
        _ddl = DDL(_statement.replace("%", "%%"))
        event.listen(Base.metadata, "after_create", _ddl.execute_if(dialect=_dialect))
