"""The names and helpers of `vkweb shell`; see docs/shell.md."""

from collections.abc import Callable
from datetime import datetime
from functools import wraps
from typing import Any

from flask import Flask
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.audit.reports import REPORTS
from app.audit.service import AuditFilter
from app.cli.options import parse_time, report_values
from app.core.errors import InvalidRequest, NotFound, ProviderError
from app.core.timestamps import rfc3339
from app.db.models import AuditEvent, Base, Fleet, Pod, PodStatus
from app.pods.history import PodRecord
from app.pods.queries import existed_at, status_at
from app.services import Services

_HELP = """\
pods()                  list the pods; pods("ns") of a namespace; node="n"; deleted=True: also deleted ones
pod("ns/name")          a pod by name or UID: .pod (environment redacted), .history.statuses, .created_at
explain("ns/name")      explain the state of a pod, and what happens next; at=TIME for a time in the past
history("ns/name")      list the requests and statuses of a pod, including scheduled statuses
status_at(uid, time)    the PodStatus row of a pod at a time
events(...)             events of the audit log: events(namespace="ns", name="web", outcome="refused", since=TIME)
ask("report", ...)      run a report, rows as dictionaries: ask("who-deleted", name="web"); ask() lists the reports
session                 an SQLAlchemy session: session.scalars(select(Pod)).all(), session.execute(text("..."))
select, text            from SQLAlchemy
Fleet, Pod, PodStatus, AuditEvent
                        the models
services                the services of the endpoints: services.pods, .audit, .history, .runtime, ...
settings                the settings in force
now()                   the current time, UTC
TIME is a datetime, an ISO 8601 string, or a duration ago such as "90m". The namespace of a report is "default"
if none is given."""


def init_app(app: Flask) -> None:
    """Register the names."""
    services: Services = app.extensions["services"]
    app.shell_context_processor(lambda: _context(services))


def _context(services: Services) -> dict[str, Any]:
    print(_HELP)  # noqa: T201 - the banner of an interactive shell
    helpers = ShellHelpers(services)
    names = ("pods", "pod", "explain", "history", "status_at", "events", "ask")
    models: list[type[Base]] = [Fleet, Pod, PodStatus, AuditEvent]
    return {
        **{name: _reporting(getattr(helpers, name), services) for name in names},
        **{model.__name__: model for model in models},
        "session": helpers.session,
        "select": select,
        "text": text,
        "services": services,
        "settings": services.settings,
        "now": services.clock,
    }


def _reporting(helper: Callable[..., Any], services: Services) -> Callable[..., Any]:
    """Return a helper that prints an expected error as one line, with a hint, and returns None."""

    @wraps(helper)
    def call(*arguments: Any, **options: Any) -> Any:
        try:
            with services.database.translated():
                return helper(*arguments, **options)
        except NotFound as exc:
            _print_error(f"{exc}: pods(deleted=True) lists the pods")
        except ProviderError as exc:
            _print_error(str(exc))
        except TypeError as exc:
            if exc.__traceback__ and exc.__traceback__.tb_next:  # raised within the helper, not by its call
                raise
            _print_error(f"{exc}: help({helper.__name__}) shows its arguments")
        return None

    return call


def _print_error(message: str) -> None:
    print(f"error: {message}")  # noqa: T201 - output of an interactive shell


class ShellHelpers:
    """The helper functions of the shell. What they return is redacted; `Pod.pod` of the model is not."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._fleet_name = services.settings.node_name
        self.session = Session(services.database.engine)

    def pods(self, namespace: str | None = None, *, node: str | None = None, deleted: bool = False) -> list[Pod]:
        """Return the pods, or those of one namespace or node, by namespace and name."""
        query = select(Pod).where(Pod.fleet == self._fleet_name).order_by(Pod.namespace, Pod.name, Pod.id)
        if namespace:
            query = query.where(Pod.namespace == namespace)
        if node:
            query = query.where(Pod.node_name == node)
        return list(self._fresh_session().scalars(query if deleted else query.where(Pod.deleted_at.is_(None))))

    def pod(self, pod: str) -> PodRecord:
        """Return a pod by `NAMESPACE/NAME`, or by UID."""
        return self._services.history.find(pod)

    def explain(self, pod: str, *, at: datetime | str | None = None) -> None:
        """Print why a pod is in its state, and what happens next."""
        self._print(self._services.history.explain(self.pod(pod), at=self._time(at or self._services.clock())))

    def history(self, pod: str) -> None:
        """Print the requests and statuses of a pod."""
        entries = self._services.history.steps(self.pod(pod))
        self._print(f"{rfc3339(entry.at)}  {entry.summary}" for entry in entries)

    def status_at(self, uid: str, time: datetime | str) -> PodStatus | None:
        """Return the status of a pod at a time; None before its creation and after its deletion."""
        at = self._time(time)
        return (
            self._fresh_session()
            .scalars(
                select(PodStatus)
                .join(Pod)
                .where(Pod.fleet == self._fleet_name, Pod.uid == uid, status_at(at), existed_at(at))
            )
            .first()
        )

    def events(self, **filters: Any) -> list[dict[str, Any]]:
        """Return audit events, oldest first; the filters are those of `app.audit.service.AuditFilter`.

        Raises:
            InvalidRequest: there is no such filter.
        """
        if unknown := sorted(filters.keys() - set(AuditFilter.__struct_fields__)):
            raise InvalidRequest(f"events() has no {unknown[0]}=, only {', '.join(AuditFilter.__struct_fields__)}")
        return list(self._services.audit.events(AuditFilter(**self._times(filters))))

    def ask(
        self, report: str | None = None, *, node: str | None = None, **values: Any
    ) -> list[dict[str, Any]] | None:
        """Run a report, on all nodes or on one; without a name, print the reports.

        Raises:
            InvalidRequest: there is no such report, or a parameter is missing or unknown.
        """
        if report is None:
            self._print(f"{name:14} {known.asks}" for name, known in REPORTS.items())
            return None
        if report not in REPORTS:
            raise InvalidRequest(f'there is no report "{report}": ask() lists the reports')
        parameters = REPORTS[report].parameters
        if unknown := sorted(values.keys() - set(parameters)):
            raise InvalidRequest(
                f"report {report} has no {unknown[0]}=, only {', '.join(parameters) or 'defaults'}"
            )
        given = report_values(self._times(values), now=self._services.clock())
        if missing := [name for name in parameters if name not in given]:
            raise InvalidRequest(f"report {report} needs {missing[0]}=")
        result = self._services.audit.run_report(report, node=node, **{name: given[name] for name in parameters})
        return [dict(zip(result.columns, row, strict=True)) for row in result.rows]

    def _fresh_session(self) -> Session:
        """Return the session, in a new transaction that sees the latest rows, unless it has unsaved changes."""
        if not (self.session.new or self.session.dirty or self.session.deleted):
            self.session.rollback()
        return self.session

    def _times(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return the values with their times parsed."""
        times = {name: self._time(values[name]) for name in ("at", "since", "until") if values.get(name)}
        return {**values, **times}

    def _time(self, time: datetime | str) -> datetime:
        """Parse a time or a duration.

        Raises:
            InvalidRequest: the text is neither.
        """
        try:
            return parse_time(time, now=self._services.clock())
        except ValueError as exc:
            raise InvalidRequest(str(exc)) from None

    def _print(self, lines: Any) -> None:
        for line in lines:
            print(line)  # noqa: T201 - output of an interactive shell
