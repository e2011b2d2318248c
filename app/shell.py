"""What `flask shell` has at hand."""

from datetime import UTC, datetime
from typing import Any

from flask import Flask
from sqlalchemy import or_, select, text
from sqlalchemy.orm import Session

from app.models import AuditEvent, Node, Pod, PodStatus
from app.provider import Provider

_HELP = """\
session                 an SQLAlchemy session: session.scalars(select(Pod)).all(), session.execute(text("..."))
select, text            from SQLAlchemy
Node, Pod, PodStatus, AuditEvent
                        the models
pods(deleted=False)     the pods of this node; with deleted=True also those that are gone
status_at(uid, time)    the PodStatus row that held at a time, an aware datetime or ISO text
settings                what is in force
now()                   the time, UTC"""


def init_app(app: Flask) -> None:
    """Add the names, and say what they are."""
    provider: Provider = app.extensions["provider"]
    app.shell_context_processor(lambda: _context(provider))


def _context(provider: Provider) -> dict[str, Any]:
    print(_HELP)  # noqa: T201 - this is what a person reads who has just typed `flask shell`
    session = Session(provider.database.engine)
    node_name = provider.settings.node_name

    def fresh() -> Session:
        """End the transaction, so that what others wrote since is seen; what is not saved yet stays."""
        if not (session.new or session.dirty or session.deleted):
            session.rollback()
        return session

    def pods(*, deleted: bool = False) -> list[Pod]:
        """List the pods of this node, by namespace and name."""
        query = select(Pod).where(Pod.node_name == node_name).order_by(Pod.namespace, Pod.name, Pod.id)
        return list(fresh().scalars(query if deleted else query.where(Pod.deleted_at.is_(None))))

    def status_at(uid: str, time: datetime | str) -> PodStatus | None:
        """Give the status that a pod had at a time; None before it came and after it went."""
        at = datetime.fromisoformat(time) if isinstance(time, str) else time
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return (
            fresh()
            .scalars(
                select(PodStatus)
                .join(Pod)
                .where(Pod.node_name == node_name, Pod.uid == uid, PodStatus.effective_at <= at)
                .where(or_(Pod.deleted_at.is_(None), Pod.deleted_at > at))
                .order_by(PodStatus.effective_at.desc())
                .limit(1)
            )
            .first()
        )

    return {
        "session": session,
        "select": select,
        "text": text,
        "Node": Node,
        "Pod": Pod,
        "PodStatus": PodStatus,
        "AuditEvent": AuditEvent,
        "pods": pods,
        "status_at": status_at,
        "settings": provider.settings,
        "now": provider.clock,
    }
