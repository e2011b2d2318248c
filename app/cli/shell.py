"""What `flask shell` has at hand; `docs/shell.md` shows it at work."""

from datetime import UTC, datetime
from typing import Any

from flask import Flask
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.audit.reports import REPORTS
from app.audit.service import AuditFilter
from app.core.timestamps import rfc3339
from app.db.models import AuditEvent, Base, Node, Pod, PodStatus
from app.pods.history import PodRecord
from app.pods.queries import existed_at, status_at
from app.services import Services

_HELP = """\
pods(deleted=False)     the pods of this node; with deleted=True also those that are gone
pod("ns/name")          a pod by its name, or by its UID: .pod (environment masked), .history.statuses, .created_at
explain("ns/name")      why it is in its state, and what comes next; at=TIME: as of then
history("ns/name")      what became of it: requests and statuses, those to come included
status_at(uid, time)    the PodStatus row that held at a time
events(...)             the audit: events(name="web", outcome="refused", since=TIME)
ask("question", ...)    a question of docs/audit.md, its rows as dictionaries; ask() lists them
session                 an SQLAlchemy session: session.scalars(select(Pod)).all(), session.execute(text("..."))
select, text            from SQLAlchemy
Node, Pod, PodStatus, AuditEvent
                        the models
services                the services that the endpoints use: services.pods, .audit, .history, .runtime, ...
settings                what is in force
now()                   the time, UTC
A TIME is an aware datetime, or ISO text."""


def init_app(app: Flask) -> None:
    """Add the names, and say what they are."""
    services: Services = app.extensions["services"]
    app.shell_context_processor(lambda: _context(services))


def _context(services: Services) -> dict[str, Any]:
    print(_HELP)  # noqa: T201 - this is what a person reads who has just typed `flask shell`
    tools = ShellHelpers(services)
    names = ("pods", "pod", "explain", "history", "status_at", "events", "ask")
    models: list[type[Base]] = [Node, Pod, PodStatus, AuditEvent]
    return {
        **{name: getattr(tools, name) for name in names},
        **{model.__name__: model for model in models},
        "session": tools.session,
        "select": select,
        "text": text,
        "services": services,
        "settings": services.settings,
        "now": services.clock,
    }


class ShellHelpers:
    """What is at hand beside the models and the services."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._node_name = services.settings.node_name
        self.session = Session(services.database.engine)

    def pods(self, *, deleted: bool = False) -> list[Pod]:
        """List the pods of this node, by namespace and name."""
        query = select(Pod).where(Pod.node_name == self._node_name).order_by(Pod.namespace, Pod.name, Pod.id)
        return list(self._fresh().scalars(query if deleted else query.where(Pod.deleted_at.is_(None))))

    def pod(self, pod: str) -> PodRecord:
        """Give a pod by `NAMESPACE/NAME`, or by its UID."""
        return self._services.history.find(pod)

    def explain(self, pod: str, *, at: datetime | str | None = None) -> None:
        """Print why a pod is in its state, and what comes next."""
        self._print(self._services.history.explain(self.pod(pod), at=_time(at) if at else self._services.clock()))

    def history(self, pod: str) -> None:
        """Print what became of a pod."""
        steps = self._services.history.steps(self.pod(pod))
        self._print(f"{rfc3339(step.at)}  {step.summary}" for step in steps)

    def status_at(self, uid: str, time: datetime | str) -> PodStatus | None:
        """Give the status that a pod had at a time; None before it came and after it went."""
        at = _time(time)
        return (
            self._fresh()
            .scalars(
                select(PodStatus)
                .join(Pod)
                .where(Pod.node_name == self._node_name, Pod.uid == uid, status_at(at), existed_at(at))
            )
            .first()
        )

    def events(self, **which: Any) -> list[dict[str, Any]]:
        """Give events of the audit, the oldest first; see `app.audit.service.Which` for what can be asked."""
        times: dict[str, Any] = {name: _time(which[name]) for name in ("since", "until") if name in which}
        return list(self._services.audit.events(AuditFilter(**{**which, **times})))

    def ask(self, question: str | None = None, **values: Any) -> list[dict[str, Any]] | None:
        """Ask a question; without one, print which there are."""
        if question is None:
            self._print(f"{name:14} {known.asks}" for name, known in REPORTS.items())
            return None
        times: dict[str, Any] = {name: _time(values[name]) for name in ("at", "since", "until") if name in values}
        answer = self._services.audit.run_report(question, **{**values, **times})
        return [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]

    def _fresh(self) -> Session:
        """End the transaction, so that what others wrote since is seen; what is not saved yet stays."""
        if not (self.session.new or self.session.dirty or self.session.deleted):
            self.session.rollback()
        return self.session

    def _print(self, lines: Any) -> None:
        for line in lines:
            print(line)  # noqa: T201 - the shell is for people


def _time(time: datetime | str) -> datetime:
    at = datetime.fromisoformat(time) if isinstance(time, str) else time
    return at if at.tzinfo else at.replace(tzinfo=UTC)
