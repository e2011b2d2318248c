"""Views of the page. Each gives a whole document that works without JavaScript."""

import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar, get_args

import orjson
from flask import Blueprint, abort, g, render_template, request, url_for
from werkzeug.exceptions import HTTPException

from app.core.errors import InvalidRequest, NotFound, ProviderError
from app.db.statement import Row
from app.kubernetes.redact import redact_pod
from app.kubernetes.status import Phase
from app.pods.explain import PodHistory, explain, readiness, restarts
from app.pods.logs import LogOptions
from app.pods.queries import MAX_STATUSES, EventFilter, PodFilter, Sort
from app.services import get_services
from app.web.api.logs import followed
from app.web.errors import RETRY_AFTER_SECONDS, status_code
from app.web.query import flag, required
from app.web.responses import Response, streamed
from app.web.ui.timeline import container_state, lanes, steps

_PODS_A_PAGE = 100
_EVENTS_A_PAGE = 50
_NEWEST_EVENTS = 8
_MOST_NAMESPACES = 20
_LINES = 200
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

_T = TypeVar("_T", bound=str)

blueprint = Blueprint(
    "ui",
    __name__,
    url_prefix="/ui",
    static_folder="static",
    static_url_path="/static",
    template_folder="templates",
)


@blueprint.get("/")
def node() -> Response:
    """Show the node: what it has, what is asked of it, its conditions, what happened last."""
    at = _at()
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
        namespaces=sorted(namespaces.items(), key=lambda item: (-item[1].total(), item[0]))[:_MOST_NAMESPACES],
        more_namespaces=max(len(namespaces) - _MOST_NAMESPACES, 0),
        addresses=services.runtime.addresses(),
        conditions=services.runtime.conditions(now=services.clock(), since=services.serving_since),
        events=_events(EventFilter(), at, limit=_NEWEST_EVENTS)[0],
    )


@blueprint.get("/pods")
def pods() -> Response:
    """List the pods: filtered, in an order, a page at a time."""
    sort: Sort = _choice("sort", get_args(Sort)) or "name"
    wanted = PodFilter(namespace=_text("namespace"), name=_text("name"), phase=_choice("phase", get_args(Phase)))
    found = get_services().queries.pods(wanted, at=_at(), sort=sort, after=_after(), limit=_PODS_A_PAGE)
    statuses = [orjson.loads(row.status) for row in found.rows]
    return _page(
        "pods.html",
        wanted=wanted,
        sort=sort,
        pods=list(zip(found.rows, statuses, strict=True)),
        after=found.after,
        phases=get_args(Phase),
    )


@blueprint.get("/pod")
def pod() -> Response:
    """Show one pod: why it is as it is, the course of its life, its containers, its logs, its record."""
    at = _at()
    moment = at or get_services().clock()
    queries = get_services().queries
    record = queries.pod(required("uid"))
    moments = queries.statuses(record, limit=MAX_STATUSES)
    life = PodHistory(moments, record.deleted_at, record.continues_at)
    course_steps = steps(moments, at=moment, deleted_at=record.deleted_at)
    current = next((step for step in reversed(course_steps) if step.since <= moment), None)
    document = orjson.loads(record.pod)
    status = {"status": current.status} if current else {}
    wanted = EventFilter(namespace=record.namespace, name=record.name, uid=record.uid)
    return _page(
        "pod.html",
        record=record,
        is_gone=life.deletion_before(moment) is not None,
        sentences=list(explain(life, now=moment)),
        status=current.status if current else None,
        reason=current.reason if current else None,
        steps=course_steps,
        lanes=lanes(course_steps, at=moment),
        containers=_containers(document, current.status if current else {}),
        document=redact_pod({**document, **status}),
        log=_log(record, document) if record.deleted_at is None and at is None else None,
        namesakes=queries.namesakes(record),
        events=_events(wanted, at, limit=_EVENTS_A_PAGE)[0],
    )


@blueprint.get("/logs")
def logs() -> Response:
    """Give the last lines of a container's log, as plain text; with `follow`, and those to come."""
    record = get_services().queries.pod(required("uid"))
    if record.deleted_at is not None:
        raise NotFound("the pod is gone, and its logs with it")
    container = record.namespace, record.name, required("container")
    options = LogOptions(tail=_LINES, follow=flag("follow"))
    pieces = followed(container, options) if options.follow else get_services().logs.read(*container, options)
    return streamed(pieces, content_type="text/plain; charset=utf-8")


@blueprint.get("/audit")
def audit() -> Response:
    """List what was asked of the node, the newest first."""
    wanted = EventFilter(
        namespace=_text("namespace"),
        name=_text("name"),
        verb=_choice("verb", ("create", "update", "delete")),
        refused=flag("refused"),
    )
    events, after = _events(wanted, _at(), after=_after(), limit=_EVENTS_A_PAGE)
    return _page("audit.html", wanted=wanted, events=events, after=after)


@blueprint.get("/<path:_>")
def nothing(_: str) -> Response:
    """Answer for every other path, as a page."""
    abort(404, "there is no such page")


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
def _guard(response: Response) -> Response:
    """Let a page load nothing from elsewhere, run nothing that stands in it, and be framed by nobody."""
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"
    if request.endpoint != "ui.static":
        response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.app_template_global()
def page_url(endpoint: str, **query: Any) -> str:
    """Link to another page, at the same time."""
    query = {"at": request.args.get("at"), **query}
    return url_for(f"ui.{endpoint}", **{k: v for k, v in query.items() if v not in (None, "", False)})


def _page(template: str, *, answered: int = 200, **context: Any) -> Response:
    now = get_services().clock()
    html = render_template(
        f"ui/{template}",
        now=now,
        moment=g.get("at") or now,
        at=g.get("at"),
        node_name=get_services().settings.node_name,
        readiness=readiness,
        restarts=restarts,
        **context,
    )
    return Response(html, status=answered, content_type="text/html; charset=utf-8")


def _error(code: int, message: str) -> Response:
    g.problem = message
    return _page("error.html", answered=code, code=code, message=message)


def _at() -> datetime | None:
    """Read the time that is looked at; None for now. Without a zone it is UTC, as a browser's picker gives it.

    Raises:
        InvalidRequest: it is no time, or has not come yet.
    """
    text = _text("at")
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidRequest("must be a time such as 2026-11-22T08:46:38", field="at") from None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    if at > get_services().clock():
        raise InvalidRequest("has not come yet", field="at")
    g.at = at
    return at


def _text(name: str) -> str | None:
    value = request.args.get(name, "").strip()
    if "\0" in value:
        raise InvalidRequest("must not have a NUL in it", field=name)
    return value or None


def _choice(name: str, allowed: Sequence[_T]) -> _T | None:
    value = _text(name)
    found = next((choice for choice in allowed if choice == value), None)
    if value and found is None:
        raise InvalidRequest(f"must be one of {', '.join(allowed)}", field=name)
    return found


def _after() -> int | None:
    after = _text("after")
    if after is None:
        return None
    if not re.fullmatch("[0-9]{1,18}", after):
        raise InvalidRequest("must be what the page before links to", field="after")
    return int(after)


def _events(
    wanted: EventFilter, at: datetime | None, *, after: int | None = None, limit: int
) -> tuple[list[tuple[Row, dict[str, Any]]], int | None]:
    """Give a page of audit events, each with what changed."""
    found = get_services().queries.events(wanted, at=at, after=after, limit=limit)
    return [(row, orjson.loads(row.change or "{}")) for row in found.rows], found.after


def _containers(document: dict[str, Any], status: dict[str, Any]) -> list[dict[str, Any]]:
    """Describe the containers of a pod: what was asked for, and the status of each."""
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


def _log(record: Row, document: dict[str, Any]) -> dict[str, Any]:
    """Read the end of one container's log: that of the first, unless another is chosen."""
    names = [container["name"] for container in _containers(document, {})]
    chosen = _text("container") or document["spec"]["containers"][0]["name"]
    try:
        pieces = get_services().logs.read(record.namespace, record.name, chosen, LogOptions(tail=_LINES))
        text, problem = b"".join(pieces).decode(errors="replace"), None
    except (NotFound, InvalidRequest) as exc:
        text, problem = "", str(exc)
    return {"names": names, "chosen": chosen, "text": text, "problem": problem}
