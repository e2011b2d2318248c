"""The tables, with the rules that hold whoever writes to them, and the views for people with a SQL prompt.

All times are UTC. `migrations/` builds the schema; a test holds it against this module on both databases.
"""

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import (
    DDL,
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Text,
    TypeDecorator,
    event,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time, stored in UTC to the microsecond: `timestamptz`, or ISO text that sorts in SQLite."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """Use a type with a zone where there is one."""
        return dialect.type_descriptor(DateTime(timezone=dialect.name == "postgresql"))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a naive time; give SQLite, which has no zones, the time in UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone")
        value = value.astimezone(UTC)
        return value if dialect.name == "postgresql" else value.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Make every time aware again."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


_IS_LIVE = text("deleted_at IS NULL")
_GOES_ON = text("continues_at IS NOT NULL")
# SQLite gives out a key by itself only for a column that is declared INTEGER.
Key = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    """The declarative base; constraints have names, so that a migration can speak of them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar = {datetime: UtcDateTime, str: Text, int: BigInteger}


class Node(Base):
    """A node whose pods are in this database. Its row is what the writes of a node queue for."""

    __tablename__ = "nodes"

    name: Mapped[str] = mapped_column(primary_key=True)
    revision: Mapped[int]
    """One more with every change of any of its pods. Because a writer holds the row until it commits, who
    has seen revision N has seen every change up to N."""
    settled_at: Mapped[datetime]
    """Statuses that fell due until then are in the revision, as changes of their pods. No write of this node
    is dated earlier."""


class Pod(Base):
    """A pod that was, or is, on a node: one row a UID, kept after deletion."""

    __tablename__ = "pods"

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    node_name: Mapped[str] = mapped_column(ForeignKey("nodes.name"))
    namespace: Mapped[str]
    name: Mapped[str]
    uid: Mapped[str]
    pod: Mapped[str]
    """The Pod as JSON, as received, without `status`. It holds environment values: show it to nobody."""
    digest: Mapped[str]
    """Which updates change nothing; see `app.lifecycle.manifest.digest`."""
    pod_ip: Mapped[str | None]
    """The pod's own address; null with `hostNetwork`."""
    created_at: Mapped[datetime]
    """When it arrived here; for one that came back after its deletion, when it did so."""
    updated_at: Mapped[datetime]
    """When it last changed: created, updated or deleted."""
    deleted_at: Mapped[datetime | None]
    """When it left; null while it is live."""
    continues_at: Mapped[datetime | None]
    """From when on the runtime is to be asked how its course goes on; null where nothing more is to come."""
    revision: Mapped[int]
    """The node's revision that changed it last; a status that fell due is a change."""

    def __repr__(self) -> str:
        gone = f" deleted {self.deleted_at:%Y-%m-%dT%H:%M:%SZ}" if self.deleted_at else ""
        return f"<Pod {self.namespace}/{self.name} {self.uid}{gone}>"

    statuses: Mapped[list["PodStatus"]] = relationship(back_populates="pod", order_by="PodStatus.effective_at")

    __table_args__ = (
        CheckConstraint("length(digest) = 64", name="digest"),
        CheckConstraint("updated_at >= created_at", name="updated_at"),
        CheckConstraint("deleted_at >= created_at", name="deleted_at"),
        Index("uq_pods_node_name_uid", "node_name", "uid", unique=True),
        Index(
            "uq_pods_live_name",
            "node_name",
            "namespace",
            "name",
            unique=True,
            sqlite_where=_IS_LIVE,
            postgresql_where=_IS_LIVE,
        ),
        Index(
            "uq_pods_live_pod_ip",
            "node_name",
            "pod_ip",
            unique=True,
            sqlite_where=_IS_LIVE,
            postgresql_where=_IS_LIVE,
        ),
        Index("ix_pods_revision", "node_name", "revision"),
        # The orders of lists of pods, at any time; what is not in one need not be read to be left out.
        Index("ix_pods_name", "node_name", "namespace", "name", "id", "deleted_at"),
        Index("ix_pods_created_at", "node_name", "created_at", "id", "deleted_at"),
        Index(
            "ix_pods_continues_at",
            "node_name",
            "continues_at",
            sqlite_where=_GOES_ON,
            postgresql_where=_GOES_ON,
        ),
    )


class PodStatus(Base):
    """A status and the time from which it holds. "At T" is the last row with `effective_at <= T`."""

    __tablename__ = "pod_statuses"

    pod_id: Mapped[int] = mapped_column(Key, ForeignKey("pods.id"), primary_key=True, autoincrement=False)
    effective_at: Mapped[datetime] = mapped_column(primary_key=True)
    phase: Mapped[str]
    reason: Mapped[str | None]
    """What `kubectl get pods` would show in place of the phase, such as ContainerCreating."""
    status: Mapped[str]
    """The PodStatus as JSON."""

    pod: Mapped[Pod] = relationship(back_populates="statuses")

    def __repr__(self) -> str:
        return f"<PodStatus {self.phase} {self.reason or ''} since {self.effective_at:%Y-%m-%dT%H:%M:%S.%fZ}>"

    __table_args__ = (
        CheckConstraint("phase IN ('Pending', 'Running', 'Succeeded', 'Failed', 'Unknown')", name="phase"),
        Index("ix_pod_statuses_effective_at", "effective_at"),
    )


class AuditEvent(Base):
    """A write request and its outcome. Rows are only ever added: a trigger refuses anything else."""

    __tablename__ = "audit_events"

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    at: Mapped[datetime]
    node_name: Mapped[str]
    revision: Mapped[int | None]
    """The node's revision that this request made; null where it was refused."""
    request_id: Mapped[str]
    address: Mapped[str]
    user_agent: Mapped[str]
    verb: Mapped[str]
    namespace: Mapped[str | None]
    name: Mapped[str | None]
    uid: Mapped[str | None]
    code: Mapped[int] = mapped_column(Integer)
    """The HTTP status code of the answer."""
    change: Mapped[str | None]
    """JSON: what changed, or why it was refused. Names of fields and images, never another value."""

    __table_args__ = (
        CheckConstraint("verb IN ('create', 'update', 'delete')", name="verb"),
        CheckConstraint("code BETWEEN 100 AND 599", name="code"),
        Index("ix_audit_events_at", "node_name", "at"),
        Index("ix_audit_events_pod", "node_name", "namespace", "name"),
    )


_NOW = {"sqlite": "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now')", "postgresql": "clock_timestamp()"}


def _views(dialect: str) -> dict[str, str]:
    return {
        "pod_timeline": """
SELECT p.node_name, p.namespace, p.name, p.uid, s.phase, s.reason, s.effective_at AS since,
       coalesce(lead(s.effective_at) OVER (PARTITION BY s.pod_id ORDER BY s.effective_at),
                CASE WHEN p.deleted_at > s.effective_at THEN p.deleted_at END) AS until, s.status
FROM pods p JOIN pod_statuses s ON s.pod_id = p.id
""",
        "current_pods": f"""
SELECT p.node_name, p.namespace, p.name, p.uid, s.phase, s.reason, s.effective_at AS since, p.pod_ip,
       p.created_at, p.updated_at, p.revision, s.status
FROM pods p JOIN pod_statuses s ON s.pod_id = p.id
WHERE p.deleted_at IS NULL AND s.effective_at = (
    SELECT max(c.effective_at) FROM pod_statuses c
    WHERE c.pod_id = p.id AND (c.effective_at <= p.updated_at OR c.effective_at <= {_NOW[dialect]}))
""",  # noqa: S608 - from the constants above
        "audit_log": """
SELECT a.at, a.node_name, a.verb, a.namespace, a.name, a.uid, a.code,
       CASE WHEN a.code < 400 THEN 'done' ELSE 'refused' END AS outcome,
       a.change, a.address, a.user_agent, a.request_id, a.revision, p.created_at AS pod_created_at,
       p.deleted_at AS pod_deleted_at
FROM audit_events a LEFT JOIN pods p ON p.node_name = a.node_name AND p.uid = a.uid
""",
    }


_APPEND_ONLY = {
    "sqlite": [
        f"""CREATE TRIGGER audit_events_no_{operation.lower()} BEFORE {operation} ON audit_events
BEGIN SELECT RAISE(ABORT, 'audit_events is append-only'); END"""
        for operation in ("UPDATE", "DELETE")
    ]
    # INSERT OR REPLACE deletes without a word to the trigger for deletes.
    + [
        """CREATE TRIGGER audit_events_no_replace BEFORE INSERT ON audit_events
WHEN EXISTS (SELECT 1 FROM audit_events WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'audit_events is append-only'); END"""
    ],
    "postgresql": [
        """CREATE FUNCTION audit_events_refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'audit_events is append-only'; END $$""",
        """CREATE TRIGGER audit_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_events
FOR EACH STATEMENT EXECUTE FUNCTION audit_events_refuse()""",
    ],
}

for _dialect in ("sqlite", "postgresql"):
    for _statement in (
        *_APPEND_ONLY[_dialect],
        *(f"CREATE VIEW {name} AS{query}" for name, query in _views(_dialect).items()),
    ):
        event.listen(Base.metadata, "after_create", DDL(_statement).execute_if(dialect=_dialect))  # type: ignore[no-untyped-call]
