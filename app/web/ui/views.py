"""The views of the dashboard. Each returns a whole HTML document that works without JavaScript."""

from collections import Counter
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Self, get_args

import orjson
from flask import Blueprint, abort, g, render_template, request, url_for
from werkzeug.exceptions import HTTPException

from app.audit import Verb
from app.core.errors import InvalidRequest, NotFound, ProviderError
from app.core.quantity import parse_quantity
from app.db.statement import Row
from app.kubernetes.pod import Manifest
from app.kubernetes.printer import PodOutline, StatusOutline, print_pod
from app.kubernetes.redact import redact_pod
from app.kubernetes.resources import pod_limits
from app.kubernetes.status import Phase
from app.pods.explain import PodHistory, explain
from app.pods.logs import LogOptions
from app.pods.queries import MAX_STATUSES, EventFilter, PodFilter, Sort
from app.runtimes import UsageLevel
from app.services import get_services
from app.web.api.logs import log_response
from app.web.errors import RETRY_AFTER_SECONDS, status_code
from app.web.query import Blank, Flag, Name, Query, RowId, TimeUtc
from app.web.responses import Response, html_response, set_security_headers
from app.web.ui.chart import WINDOW, Usage, chart_times, usage_charts
from app.web.ui.timeline import container_state, lanes, timeline_entries

_PODS_PER_PAGE = 100
_EVENTS_PER_PAGE = 50
_LATEST_EVENTS = 8
_MAX_PODS_OF_CHART = 1000
_MAX_NAMESPACES = 20
_LOG_LINES = 200

blueprint = Blueprint(
    "ui",
    __name__,
    url_prefix="/ui",
    static_folder="static",
    static_url_path="/static",
    template_folder="templates",
)


class PageQuery(Query):
    """The parameter of every page.

    Attributes:
        at: the time to show; None for now.
    """

    at: TimeUtc = None

    @classmethod
    def from_request(cls) -> Self:
        """Parse the query string, and keep `at` for the template.

        Raises:
            InvalidRequest: a parameter is missing or invalid, or `at` is in the future.
        """
        query = super().from_request()
        if query.at and query.at > get_services().clock():
            raise InvalidRequest("must not be in the future", field="at")
        g.at = query.at
        return query


class PodsQuery(PageQuery):
    """The filters, the order and the page of the list of pods."""

    sort: Annotated[Sort | None, Blank] = None
    namespace: Annotated[str | None, Blank] = None
    name: Annotated[str | None, Blank] = None
    phase: Annotated[Phase | None, Blank] = None
    after: RowId = None


class PodQuery(PageQuery):
    """The pod to show, and the container whose log is shown: None for the first."""

    uid: Name
    container: Annotated[str | None, Blank] = None


class LogQuery(Query):
    """The container whose log is returned."""

    uid: Name
    container: Name
    follow: Flag = False


class AuditQuery(PageQuery):
    """The filters and the page of the audit log."""

    namespace: Annotated[str | None, Blank] = None
    name: Annotated[str | None, Blank] = None
    verb: Annotated[Verb | None, Blank] = None
    refused: Flag = False
    after: RowId = None


@blueprint.get("/")
def node() -> Response:
    """Show the node: capacity, requested resources, pods, conditions, the latest requests."""
    at = PageQuery.from_request().at
    services = get_services()
    phases: Counter[str] = Counter()
    namespaces: dict[str, Counter[str]] = {}
    for row in services.queries.phases(at):
        phases[row.phase] += row.pods
        namespaces.setdefault(row.namespace, Counter())[row.phase] += row.pods
    requested = services.queries.usage(at)
    capacity = services.runtime.capacity()
    return _page(
        "node.html",
        capacity=capacity,
        requested={
            "cpu": requested.cpu_millicores / 1000,
            "memory": requested.memory_bytes,
            "pods": requested.pods,
        },
        phases={phase: phases[phase] for phase in get_args(Phase)},
        namespaces=sorted(namespaces.items(), key=lambda item: (-item[1].total(), item[0]))[:_MAX_NAMESPACES],
        more_namespaces=max(len(namespaces) - _MAX_NAMESPACES, 0),
        max_pods_of_chart=_MAX_PODS_OF_CHART,
        usage=_node_usage(at, {name: float(parse_quantity(text)) for name, text in capacity.items()}),
        addresses=services.runtime.addresses(),
        conditions=services.node_conditions(),
        events=_events(EventFilter(), at, limit=_LATEST_EVENTS)[0],
    )


@blueprint.get("/pods")
def pods() -> Response:
    """List pods: filtered, sorted, a page at a time."""
    query = PodsQuery.from_request()
    sort = query.sort or "name"
    wanted = PodFilter(namespace=query.namespace, name=query.name, phase=query.phase)
    found = get_services().queries.pods(wanted, at=query.at, sort=sort, after=query.after, limit=_PODS_PER_PAGE)
    at = query.at or get_services().clock()
    columns = [
        print_pod(
            PodOutline.parse(row.pod),
            StatusOutline.parse(row.status),
            at=at,
            deletion_requested_at=row.deletion_requested_at,
        )
        for row in found.rows
    ]
    return _page(
        "pods.html",
        wanted=wanted,
        sort=sort,
        pods=list(zip(found.rows, columns, strict=True)),
        after=found.after,
        phases=get_args(Phase),
    )


@blueprint.get("/pod")
def pod() -> Response:
    """Show a pod: an explanation of its state, its timeline, containers, conditions, requests and log."""
    query = PodQuery.from_request()
    at = query.at
    shown_at = at or get_services().clock()
    queries = get_services().queries
    record = queries.pod(query.uid)
    intervals = queries.statuses(record, limit=MAX_STATUSES)
    history = PodHistory.of(record, intervals)
    entries = timeline_entries(intervals, at=shown_at, deleted_at=record.deleted_at)
    current = next((entry for entry in reversed(entries) if entry.since <= shown_at), None)
    document = orjson.loads(record.pod)
    status = {"status": current.status} if current else {}
    wanted = EventFilter(namespace=record.namespace, name=record.name, uid=record.uid)
    return _page(
        "pod.html",
        record=record,
        is_deleted=history.deletion_before(shown_at) is not None,
        sentences=[
            *explain(history, now=shown_at),
            *get_services().usage.sentences(record.uid, at=shown_at),
            *get_services().volumes.sentences(record.uid, at=shown_at),
        ],
        status=current.status if current else None,
        reason=current.reason if current else None,
        entries=entries,
        lanes=lanes(entries, at=shown_at),
        usage=_pod_usage(record, shown_at),
        containers=_containers(document, current.status if current else {}),
        document=redact_pod({**document, **status}),
        log=_log(record, document, query.container) if record.deleted_at is None and at is None else None,
        namesakes=queries.namesakes(record),
        events=_events(wanted, at, limit=_EVENTS_PER_PAGE)[0],
    )


@blueprint.get("/logs")
def logs() -> Response:
    """Return the last lines of a container's log as plain text; with `follow`, also the lines to come."""
    query = LogQuery.from_request()
    record = get_services().queries.pod(query.uid)
    if record.deleted_at is not None:
        raise NotFound("the pod was deleted, and its logs with it")
    options = LogOptions(tail=_LOG_LINES, follow=query.follow)
    return log_response(record.namespace, record.name, query.container, options)


@blueprint.get("/audit")
def audit() -> Response:
    """List write requests, newest first: filtered, a page at a time."""
    query = AuditQuery.from_request()
    wanted = EventFilter(namespace=query.namespace, name=query.name, verb=query.verb, refused=query.refused)
    events, after = _events(wanted, query.at, after=query.after, limit=_EVENTS_PER_PAGE)
    return _page("audit.html", wanted=wanted, events=events, after=after, verbs=get_args(Verb))


@blueprint.get("/<path:_>")
def not_found(_: str) -> Response:
    """Return 404 as an HTML page, for every other path under `/ui/`."""
    abort(404, "page not found")


@blueprint.errorhandler(ProviderError)
def _provider_error(exc: ProviderError) -> Response:
    code = status_code(exc)
    if code == 500:
        raise exc
    response = _error(code, str(exc))
    if code == 503:
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


@blueprint.errorhandler(HTTPException)
def _http_error(exc: HTTPException) -> Response:
    return _error(exc.code or 500, exc.description or "")


@blueprint.after_request
def _set_security_headers(response: Response) -> Response:
    """Forbid inline scripts, other origins and frames; forbid caching of everything but static files."""
    if request.endpoint != "ui.static":
        response.headers["Cache-Control"] = "no-store"
    return set_security_headers(response)


@blueprint.app_template_global()
def page_url(endpoint: str, **query: Any) -> str:
    """Return the URL of a page of the dashboard that shows the same time as this one."""
    query = {"at": request.args.get("at"), **query}
    return url_for(f"ui.{endpoint}", **{k: v for k, v in query.items() if v not in (None, "", False)})


def _page(template: str, *, code: int = 200, **context: Any) -> Response:
    """Render a template, with the variables that every page needs."""
    now = get_services().clock()
    html = render_template(
        f"ui/{template}",
        now=now,
        shown_at=g.get("at") or now,
        at=g.get("at"),
        node_name=get_services().settings.node_name,
        **context,
    )
    return html_response(html, code=code)


def _error(code: int, message: str) -> Response:
    g.error_message = message
    return _page("error.html", code=code, title=f"{code} {HTTPStatus(code).phrase}", message=message)


def _events(
    wanted: EventFilter, at: datetime | None, *, after: int | None = None, limit: int
) -> tuple[list[tuple[Row, dict[str, Any]]], int | None]:
    """Return a page of audit events, each with its decoded change, and the ID after which the next page begins."""
    found = get_services().queries.events(wanted, at=at, after=after, limit=limit)
    return [(row, orjson.loads(row.change or "{}")) for row in found.rows], found.after


def _containers(document: dict[str, Any], status: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row of the table of containers for each container, from its spec and its status."""
    statuses = {
        container.get("name"): container
        for kind in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
        for container in status.get(kind) or ()
    }
    return [
        {
            "name": container.get("name"),
            "kind": kind,
            "image": container.get("image") or "",
            "variables": [variable.get("name") for variable in container.get("env") or ()],
            "requests": (container.get("resources") or {}).get("requests") or {},
            "state": container_state(statuses.get(container.get("name"), {}))[1],
            "restarts": statuses.get(container.get("name"), {}).get("restartCount", 0),
        }
        for field, kind in (("initContainers", "init"), ("containers", ""), ("ephemeralContainers", "ephemeral"))
        for container in document["spec"].get(field) or ()
    ]


def _node_usage(at: datetime | None, limits: dict[str, float]) -> Usage | None:
    """Return the usage of the pods of the node in the hour up to a time.

    Returns:
        None if the runtime does not report usage at past times, or if the pods are so many that the page would be
        late.
    """
    usage, end = get_services().usage, at or get_services().clock()
    if not usage.has_past or (pods := usage.count(end - WINDOW, end)) > _MAX_PODS_OF_CHART:
        return None
    times = chart_times(end - WINDOW, end, pods=pods)
    levels = [level or UsageLevel(0, 0) for level in usage.levels(times)]
    return usage_charts(times, levels, limits=limits)


def _pod_usage(record: Row, shown_at: datetime) -> Usage | None:
    """Return the usage of a pod in the hour up to a time; None if the runtime does not tell it."""
    usage = get_services().usage
    end = min(shown_at, record.deleted_at or shown_at)
    if not usage.has_past or end < record.created_at:
        return None
    times = chart_times(max(end - WINDOW, record.created_at), end)
    limits = pod_limits(Manifest.stored(record.pod, digest="").pod.spec)
    return usage_charts(
        times,
        usage.levels(times, uid=record.uid),
        limits={name: float(amount) for name, amount in limits.items()},
    )


def _log(record: Row, document: dict[str, Any], container: str | None) -> dict[str, Any]:
    """Read the end of a container's log; None for the first container.

    Returns:
        The names of all containers, the chosen one, and its log, or the reason why there is none.
    """
    names = [container["name"] for container in _containers(document, {})]
    chosen = container or document["spec"]["containers"][0]["name"]
    try:
        chunks = get_services().logs.read(record.namespace, record.name, chosen, LogOptions(tail=_LOG_LINES))
        text, problem = b"".join(chunks).decode(errors="replace"), None
    except (NotFound, InvalidRequest) as exc:
        text, problem = "", str(exc)
    return {"names": names, "chosen": chosen, "text": text, "problem": problem}
