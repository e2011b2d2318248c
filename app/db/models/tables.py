"""The tables, with the rules that hold whoever writes to them. All times are UTC."""

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import (
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
_IS_PRUNING = text("pruned_through IS NOT NULL")
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
    audit_hash: Mapped[str | None]
    """The hash of its last audit event; null while AUDIT_HASH_CHAIN was never set."""


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
    """Which updates change nothing; see `app.kubernetes.pod.digest`."""
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
    cpu_millicores: Mapped[int | None]
    """What the pod requests while this holds, in thousandths of a CPU; null in rows older than this column."""
    memory_bytes: Mapped[int | None]
    """The same of memory."""
    left_at: Mapped[datetime | None]
    """When the pod was deleted while this held, to come back later; null otherwise."""

    pod: Mapped[Pod] = relationship(back_populates="statuses")

    def __repr__(self) -> str:
        return f"<PodStatus {self.phase} {self.reason or ''} since {self.effective_at:%Y-%m-%dT%H:%M:%S.%fZ}>"

    __table_args__ = (
        CheckConstraint("phase IN ('Pending', 'Running', 'Succeeded', 'Failed', 'Unknown')", name="phase"),
        Index("ix_pod_statuses_effective_at", "effective_at"),
    )


class AuditEvent(Base):
    """A write request and its outcome, or a pruning. Rows are only ever added: a trigger refuses anything else.

    Only what a pruning names may go, and the row that names it stays.
    """

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
    pruned_through: Mapped[int | None]
    """Of a pruning: events of this node up to this ID may go; see `app.db.models.triggers`."""
    previous_hash: Mapped[str | None]
    """The hash of the event of this node before this one; null without AUDIT_HASH_CHAIN."""
    hash: Mapped[str | None]
    """SHA-256 (hex) of `previous_hash` and the other columns; see `app.audit.hash_chain`."""

    __table_args__ = (
        CheckConstraint("verb IN ('create', 'update', 'delete', 'prune')", name="verb"),
        CheckConstraint("(verb = 'prune') = (pruned_through IS NOT NULL)", name="prune"),
        CheckConstraint("pruned_through < id", name="pruned_through"),
        CheckConstraint("(hash IS NULL) = (previous_hash IS NULL)", name="hash"),
        CheckConstraint("code BETWEEN 100 AND 599", name="code"),
        Index("ix_audit_events_at", "node_name", "at"),
        Index("ix_audit_events_pod", "node_name", "namespace", "name"),
        Index(
            "ix_audit_events_pruned_through",
            "node_name",
            "pruned_through",
            sqlite_where=_IS_PRUNING,
            postgresql_where=_IS_PRUNING,
        ),
    )
