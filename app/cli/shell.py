"""The names and helpers of `vkweb shell`; see docs/shell.md."""

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
pods(deleted=False)     list the pods of this node; deleted=True includes deleted pods
pod("ns/name")          a pod by name or UID: .pod (environment redacted), .history.statuses, .created_at
explain("ns/name")      explain the state of a pod, and what happens next; at=TIME for a time in the past
history("ns/name")      list the requests and statuses of a pod, including scheduled statuses
status_at(uid, time)    the PodStatus row of a pod at a time
events(...)             events of the audit log: events(name="web", outcome="refused", since=TIME)
ask("report", ...)      run a report of docs/audit.md, rows as dictionaries; ask() lists the reports
session                 an SQLAlchemy session: session.scalars(select(Pod)).all(), session.execute(text("..."))
select, text            from SQLAlchemy
Node, Pod, PodStatus, AuditEvent
                        the models
services                the services of the endpoints: services.pods, .audit, .history, .runtime, ...
settings                the settings in force
now()                   the current time, UTC
TIME is an aware datetime, or an ISO 8601 string."""


def init_app(app: Flask) -> None:
    """Register the names."""
    services: Services = app.extensions["services"]
    app.shell_context_processor(lambda: _context(services))


def _context(services: Services) -> dict[str, Any]:
    print(_HELP)  # noqa: T201 - the banner of an interactive shell
    helpers = ShellHelpers(services)
    names = ("pods", "pod", "explain", "history", "status_at", "events", "ask")
    models: list[type[Base]] = [Node, Pod, PodStatus, AuditEvent]
    return {
        **{name: getattr(helpers, name) for name in names},
        **{model.__name__: model for model in models},
        "session": helpers.session,
        "select": select,
        "text": text,
        "services": services,
        "settings": services.settings,
        "now": services.clock,
    }


class ShellHelpers:
    """The helper functions of the shell. What they return is redacted; `Pod.pod` of the model is not."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._node_name = services.settings.node_name
        self.session = Session(services.database.engine)

    def pods(self, *, deleted: bool = False) -> list[Pod]:
        """Return the pods of this node, by namespace and name."""
        query = select(Pod).where(Pod.node_name == self._node_name).order_by(Pod.namespace, Pod.name, Pod.id)
        return list(self._fresh_session().scalars(query if deleted else query.where(Pod.deleted_at.is_(None))))

    def pod(self, pod: str) -> PodRecord:
        """Return a pod by `NAMESPACE/NAME`, or by UID."""
        return self._services.history.find(pod)

    def explain(self, pod: str, *, at: datetime | str | None = None) -> None:
        """Print why a pod is in its state, and what happens next."""
        self._print(self._services.history.explain(self.pod(pod), at=_time(at) if at else self._services.clock()))

    def history(self, pod: str) -> None:
        """Print the requests and statuses of a pod."""
        entries = self._services.history.steps(self.pod(pod))
        self._print(f"{rfc3339(entry.at)}  {entry.summary}" for entry in entries)

    def status_at(self, uid: str, time: datetime | str) -> PodStatus | None:
        """Return the status of a pod at a time; None before its creation and after its deletion."""
        at = _time(time)
        return (
            self._fresh_session()
            .scalars(
                select(PodStatus)
                .join(Pod)
                .where(Pod.node_name == self._node_name, Pod.uid == uid, status_at(at), existed_at(at))
            )
            .first()
        )

    def events(self, **filters: Any) -> list[dict[str, Any]]:
        """Return audit events, oldest first; the filters are those of `app.audit.service.AuditFilter`."""
        times: dict[str, Any] = {name: _time(filters[name]) for name in ("since", "until") if name in filters}
        return list(self._services.audit.events(AuditFilter(**{**filters, **times})))

    def ask(self, report: str | None = None, **values: Any) -> list[dict[str, Any]] | None:
        """Run a report; without a name, print the reports."""
        if report is None:
            self._print(f"{name:14} {known.asks}" for name, known in REPORTS.items())
            return None
        times: dict[str, Any] = {name: _time(values[name]) for name in ("at", "since", "until") if name in values}
        result = self._services.audit.run_report(report, **{**values, **times})
        return [dict(zip(result.columns, row, strict=True)) for row in result.rows]

    def _fresh_session(self) -> Session:
        """Return the session, in a new transaction that sees the latest rows, unless it has unsaved changes."""
        if not (self.session.new or self.session.dirty or self.session.deleted):
            self.session.rollback()
        return self.session

    def _print(self, lines: Any) -> None:
        for line in lines:
            print(line)  # noqa: T201 - output of an interactive shell


def _time(time: datetime | str) -> datetime:
    """Parse a time, UTC without a time zone."""
    at = datetime.fromisoformat(time) if isinstance(time, str) else time
    return at if at.tzinfo else at.replace(tzinfo=UTC)
