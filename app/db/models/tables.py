"""The tables and their constraints, which also apply to SQL users. All times are UTC."""

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ColumnElement,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Text,
    TextClause,
    TypeDecorator,
    func,
    literal_column,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time, stored in UTC with microseconds: as `timestamptz`, or in SQLite as ISO text that sorts."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """Return `timestamptz` for PostgreSQL."""
        return dialect.type_descriptor(DateTime(timezone=dialect.name == "postgresql"))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert an aware time to UTC, without its zone for SQLite.

        Raises:
            ValueError: the time is naive.
        """
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone")
        value = value.astimezone(UTC)
        return value if dialect.name == "postgresql" else value.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return an aware time in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


_IS_GONE = text("deleted_at IS NOT NULL")
_IS_LIVE = text("deleted_at IS NULL")
_IS_WANTED = text("deletion_requested_at IS NULL")
_CONTINUES = text("continues_at IS NOT NULL")
_HAS_CONTROLLER = text("controller_uid IS NOT NULL")
_WAS_LEFT = text("left_at IS NOT NULL")
_IS_REFUSED = text("code >= 400")
_IS_PRUNING = text("pruned_through IS NOT NULL")
# SQLite cannot rename a constraint, so those of `fleets` have the names that they had when it was called `nodes`.
# SQLite generates keys only for a column that is declared INTEGER.
Key = BigInteger().with_variant(Integer, "sqlite")


def _partial_index(name: str, *columns: str, where: TextClause, unique: bool = False) -> Index:
    """Return an index of the rows of a condition, on both databases."""
    return Index(name, *columns, unique=unique, sqlite_where=where, postgresql_where=where)


class Base(DeclarativeBase):
    """The declarative base. Constraints have names, so that migrations can refer to them."""

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


class Fleet(Base):
    """A node, or nodes of one provider that share a queue of writes: each write locks the fleet's row."""

    __tablename__ = "fleets"

    name: Mapped[str] = mapped_column(primary_key=True)
    """The setting NODE_NAME."""
    revision: Mapped[int]
    """The number of pod changes in the fleet. A writer holds the row lock until its commit, so a reader that sees
    revision N sees all changes up to N."""
    settled_at: Mapped[datetime]
    """The time until which due statuses are published, that is, counted in the revision. No write of the fleet
    has an earlier timestamp."""
    audit_hash: Mapped[str | None]
    """The hash of the last audit event of the fleet; null if AUDIT_HASH_CHAIN was never set."""

    __table_args__ = (PrimaryKeyConstraint("name", name="pk_nodes"),)


class Pod(Base):
    """A current or deleted pod of a fleet: one row per UID, kept after deletion."""

    __tablename__ = "pods"

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    fleet: Mapped[str] = mapped_column(ForeignKey("fleets.name", name="fk_pods_node_name_nodes"))
    node_name: Mapped[str] = mapped_column(server_default=text("''"))
    """The node of the pod: `spec.nodeName`, or NODE_NAME without one."""
    namespace: Mapped[str]
    name: Mapped[str]
    uid: Mapped[str]
    pod: Mapped[str]
    """The Pod as JSON, as received, without `status`. It contains environment values: redact it before output."""
    digest: Mapped[str]
    """The digest that identifies updates without a change; see `app.kubernetes.manifest.digest`."""
    pod_ip: Mapped[str | None]
    """The pod IP; null with `hostNetwork`."""
    created_at: Mapped[datetime]
    """The time of its creation on its node, or of its last recreation after a deletion."""
    updated_at: Mapped[datetime]
    """The time of its last creation, update or deletion."""
    starts_at: Mapped[datetime | None]
    """The time from which its containers may start: its creation, or the end of the pod that had its name before;
    null while that pod has not ended."""
    deletion_requested_at: Mapped[datetime | None]
    """The time of the first delete request; null while there is none."""
    grace_ends_at: Mapped[datetime | None]
    """The time at which the grace period of its deletion is over; null while no deletion is requested."""
    deleted_at: Mapped[datetime | None]
    """The time from which it does not exist: its deletion was requested, and its containers have ended; null until
    then."""
    continues_at: Mapped[datetime | None]
    """The time at which the runtime is to continue the timeline; null if the timeline is complete."""
    revision: Mapped[int]
    """The fleet revision of its last change; the publication of a due status is a change."""
    controller_uid: Mapped[str | None]
    """The UID of the controller that owns it, such as its ReplicaSet; null without one, and in older rows."""
    labels: Mapped[str | None]
    """Its labels as a JSON object."""
    images: Mapped[str | None]
    """The images of its containers, each once, separated by spaces."""
    owner: Mapped[str | None]
    """Kind and name of its controller, such as `ReplicaSet/web-7d4b9c`; null without one."""
    search_text: Mapped[str | None]
    """Where a search looks: `namespace/name`, then images, owner, IP, node and UID, separated by spaces."""
    status_at: Mapped[datetime | None]
    """The start time of the status that was published last. The columns below are those of this status."""
    phase: Mapped[str | None]
    reason: Mapped[str | None]
    ready_containers: Mapped[int | None] = mapped_column(Integer)
    containers: Mapped[int | None] = mapped_column(Integer)
    restarts: Mapped[int | None] = mapped_column(Integer)
    termination_reason: Mapped[str | None]
    cpu_millicores: Mapped[int | None]
    memory_bytes: Mapped[int | None]

    def __repr__(self) -> str:
        deleted = f" deleted {self.deleted_at:%Y-%m-%dT%H:%M:%SZ}" if self.deleted_at else ""
        return f"<Pod {self.namespace}/{self.name} {self.uid}{deleted}>"

    statuses: Mapped[list["PodStatus"]] = relationship(back_populates="pod", order_by="PodStatus.effective_at")

    __table_args__ = (
        CheckConstraint("length(digest) = 64", name="digest"),
        CheckConstraint("updated_at >= created_at", name="updated_at"),
        CheckConstraint("deleted_at >= created_at", name="deleted_at"),
        Index("uq_pods_uid", "fleet", "uid", unique=True),
        _partial_index("uq_pods_live_name", "fleet", "namespace", "name", unique=True, where=_IS_WANTED),
        _partial_index("ix_pods_live_name", "fleet", "namespace", "name", where=_IS_LIVE),
        _partial_index("uq_pods_live_pod_ip", "fleet", "pod_ip", unique=True, where=_IS_LIVE),
        Index("ix_pods_revision", "fleet", "revision"),
        # Every column of a list of the present, first those by which pods are counted: that needs no sorting then.
        # An index of PostgreSQL cannot hold labels of any length.
        Index(
            "ix_pods_list",
            *("fleet", "namespace", "phase", "reason", "deletion_requested_at", "ready_containers", "containers"),
            *("node_name", "status_at", "name", "created_at", "restarts", "termination_reason"),
            *("cpu_millicores", "memory_bytes", "pod_ip", "owner", "images", "labels", "search_text", "uid"),
            "deleted_at",
            sqlite_where=_IS_LIVE,
            info={"dialect": "sqlite"},
        ).ddl_if(dialect="sqlite"),
        # The pods whose status has changed since a time, and when they were created.
        _partial_index("ix_pods_status_at", "fleet", "status_at", "created_at", "deleted_at", where=_IS_LIVE),
        Index("ix_pods_node_name", "fleet", "node_name"),
        # The orders of pod lists at any time. `deleted_at` is included to skip deleted pods within the index.
        Index("ix_pods_name", "fleet", "namespace", "name", "id", "deleted_at"),
        Index("ix_pods_created_at", "fleet", "created_at", "id", "deleted_at"),
        _partial_index("ix_pods_deleted_at", "fleet", "deleted_at", where=_IS_GONE),
        _partial_index("ix_pods_continues_at", "fleet", "continues_at", where=_CONTINUES),
        _partial_index("ix_pods_controller_uid", "fleet", "controller_uid", where=_HAS_CONTROLLER),
    )


class PodStatus(Base):
    """A status and its start time. The status at time T is the last row with `effective_at <= T`."""

    __tablename__ = "pod_statuses"

    pod_id: Mapped[int] = mapped_column(Key, ForeignKey("pods.id"), primary_key=True, autoincrement=False)
    effective_at: Mapped[datetime] = mapped_column(primary_key=True)
    phase: Mapped[str]
    reason: Mapped[str | None]
    """The STATUS column of `kubectl get pods` if it differs from the phase, such as ContainerCreating."""
    status: Mapped[str]
    """The PodStatus as JSON."""
    ready_containers: Mapped[int | None] = mapped_column(Integer)
    """The number of ready containers, the first number of the READY column; null in some older rows."""
    containers: Mapped[int | None] = mapped_column(Integer)
    """The number of containers: the second number of the READY column."""
    restarts: Mapped[int | None] = mapped_column(Integer)
    """The RESTARTS column."""
    termination_reason: Mapped[str | None]
    """Why the container that ended last did so, such as OOMKilled; null if no container has failed."""
    cpu_millicores: Mapped[int | None]
    """The CPU requests of the pod during this status, in millicores; null in rows older than this column."""
    memory_bytes: Mapped[int | None]
    """The memory requests of the pod during this status, in bytes; null in rows older than this column."""
    left_at: Mapped[datetime | None]
    """The time of the deletion during this status, if the pod was recreated later; null otherwise."""

    pod: Mapped[Pod] = relationship(back_populates="statuses")

    def __repr__(self) -> str:
        return f"<PodStatus {self.phase} {self.reason or ''} since {self.effective_at:%Y-%m-%dT%H:%M:%S.%fZ}>"

    __table_args__ = (
        CheckConstraint("phase IN ('Pending', 'Running', 'Succeeded', 'Failed', 'Unknown')", name="phase"),
        Index("ix_pod_statuses_effective_at", "effective_at"),
        _partial_index("ix_pod_statuses_left_at", "left_at", where=_WAS_LEFT),
    )


class UsageChange(Base):
    """The usage that a pod had until an update changed it, so that its totals keep what was used by then."""

    __tablename__ = "usage_changes"

    pod_id: Mapped[int] = mapped_column(Key, ForeignKey("pods.id"), primary_key=True, autoincrement=False)
    changed_at: Mapped[datetime] = mapped_column(primary_key=True)
    usage: Mapped[str]
    """What the runtime needs to compute the usage until then."""


class PodVolume(Base):
    """A volume of a pod as a client sent it last: names, sizes and versions, never contents.

    The pod may not have been created yet, so it is named by its UID. Rows of a UID that was not created within ten
    minutes are deleted.
    """

    __tablename__ = "pod_volumes"

    fleet: Mapped[str] = mapped_column(
        ForeignKey("fleets.name", name="fk_pod_volumes_node_name_nodes"), primary_key=True
    )
    uid: Mapped[str] = mapped_column(primary_key=True)
    """The UID of the pod."""
    volume: Mapped[str] = mapped_column(primary_key=True)
    """The name of the volume in the pod."""
    namespace: Mapped[str]
    name: Mapped[str]
    received_at: Mapped[datetime]
    """The time from which the pod has this version."""
    resource_version: Mapped[str | None]
    """What the client calls this version; null if it has no name for it."""
    sources: Mapped[str]
    """JSON: an array of `kind`, `name` and `resourceVersion` of the objects from which the files are."""
    files: Mapped[str]
    """JSON: an array of `path`, `mode` and `bytes`."""

    __table_args__ = (Index("ix_pod_volumes_received_at", "fleet", "received_at"),)


class AuditEvent(Base):
    """A write request and its outcome, or a pruning. The table is append-only, which triggers enforce.

    Only events covered by a later `prune` event can be deleted, and that event is kept.
    """

    __tablename__ = "audit_events"

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    at: Mapped[datetime]
    fleet: Mapped[str]
    node_name: Mapped[str | None]
    """The node of the pod; null if it has the name of the fleet, or if the event has no pod."""
    revision: Mapped[int | None]
    """The fleet revision after the request; null if it was refused."""
    request_id: Mapped[str]
    address: Mapped[str]
    user_agent: Mapped[str]
    verb: Mapped[str]
    namespace: Mapped[str | None]
    name: Mapped[str | None]
    uid: Mapped[str | None]
    code: Mapped[int] = mapped_column(Integer)
    """The HTTP status code of the response."""
    change: Mapped[str | None]
    """JSON: the changed fields, the end of a stream, the versions of volumes, or the reason of a refusal. It
    contains no values from a pod except those that `app.audit.diff` records."""
    pruned_through: Mapped[int | None]
    """For a pruning, the ID up to which events of this fleet can be deleted; see `app.db.models.triggers`."""
    previous_hash: Mapped[str | None]
    """The hash of the previous event of this fleet; null without AUDIT_HASH_CHAIN."""
    hash: Mapped[str | None]
    """SHA-256 (hex) of `previous_hash` and the other columns; see `app.audit.hash_chain`."""

    @classmethod
    def node(cls) -> ColumnElement[str]:
        """Return the SQL of the name of the node."""
        return func.coalesce(cls.node_name, cls.fleet)

    @classmethod
    def is_refused(cls) -> ColumnElement[bool]:
        """Return the condition that selects refused requests, with the text of the index of these."""
        return cls.code >= literal_column("400")

    __table_args__ = (
        CheckConstraint(
            "verb IN ('create', 'update', 'delete', 'exec', 'attach', 'port-forward', 'mount', 'scenario', "
            "'prune')",
            name="verb",
        ),
        CheckConstraint("(verb = 'prune') = (pruned_through IS NOT NULL)", name="prune"),
        CheckConstraint("pruned_through < id", name="pruned_through"),
        CheckConstraint("(hash IS NULL) = (previous_hash IS NULL)", name="hash"),
        CheckConstraint("code BETWEEN 100 AND 599", name="code"),
        Index("ix_audit_events_at", "fleet", "at"),
        _partial_index("ix_audit_events_refused", "fleet", "at", where=_IS_REFUSED),
        Index("ix_audit_events_pod", "fleet", "namespace", "name", "at"),
        _partial_index("ix_audit_events_pruned_through", "fleet", "pruned_through", where=_IS_PRUNING),
    )
