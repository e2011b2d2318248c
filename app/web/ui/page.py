"""The frame of every page: the blueprint, the template, errors, security headers, links that keep the time."""

from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

import orjson
from flask import Blueprint, abort, g, render_template, request, url_for
from werkzeug.exceptions import HTTPException

from app.audit.service import AuditFilter
from app.core.errors import InvalidRequest, ProviderError
from app.services import get_services
from app.web.errors import RETRY_AFTER_SECONDS, status_code
from app.web.responses import Response, html_response, set_security_headers
from app.web.ui.formats import iso
from app.web.ui.shown_time import PARAMETERS, ShownTime

EVENTS_PER_PAGE = 50
_PAGES = frozenset({"ui.overview", "ui.pods", "ui.pod", "ui.audit"})

blueprint = Blueprint(
    "ui",
    __name__,
    url_prefix="/ui",
    static_folder="static",
    static_url_path="/static",
    template_folder="templates",
)


def render(template: str, *, code: int = 200, **context: Any) -> Response:
    """Render a template, with the variables that every page needs."""
    shown: ShownTime = g.get("shown") or ShownTime(get_services().clock(), None, None)
    html = render_template(
        f"ui/{template}",
        now=shown.now,
        shown=shown,
        shown_at=shown.end,
        at=shown.at,
        node_name=get_services().settings.node_name,
        **context,
    )
    return html_response(html, code=code)


def events_page(
    wanted: AuditFilter, at: datetime | None, *, after: int | None = None, limit: int
) -> tuple[list[tuple[dict[str, Any], dict[str, Any]]], int | None]:
    """Return a page of audit events, each with its decoded change, and the ID after which the next page begins."""
    found = get_services().audit.page(wanted, at=at, after=after, limit=limit)
    return [(event, orjson.loads(event["change"] or "{}")) for event in found.events], found.after


def make_url(endpoint: str, query: Mapping[str, object], **values: Any) -> str:
    """Return the URL of a view with a query string; parameters that are None, False or empty are left out.

    Args:
        values: the parts of the path.
    """
    # `url_for` takes arguments of its own among the parameters, which here come from the client.
    given = urlencode({name: value for name, value in query.items() if value not in (None, "", False)}, safe=":")
    path = url_for(f"ui.{endpoint}", **values) if values else _path(endpoint)
    return f"{path}?{given}" if given else path


@blueprint.app_template_global()
def page_url(endpoint: str, /, **query: object) -> str:
    """Return the URL of a page of the dashboard that shows the same time as this one."""
    if "time_parameters" not in g:  # a page has hundreds of links
        given = _parameters()
        g.time_parameters = {name: given.get(name) for name in PARAMETERS}
    return make_url(endpoint, {**g.time_parameters, **query})


@blueprint.app_template_global()
def same_page(**query: object) -> str:
    """Return the URL of this page with other parameters, from the first row on; None removes a parameter."""
    endpoint = (request.endpoint or "ui.overview").removeprefix("ui.")
    return make_url(endpoint, {**_parameters(), "after": None, **query})


@blueprint.app_template_global()
def page_at(time: datetime | None) -> str:
    """Return the URL of this page at a point in time; live where the time is None."""
    return same_page(**{**dict.fromkeys(PARAMETERS), "at": time and iso(time)})


@blueprint.app_template_global()
def step_url(direction: str) -> str:
    """Return the URL of this page at the previous or the next change."""
    page = (request.endpoint or "ui.overview").removeprefix("ui.")
    return make_url("step", _parameters(), direction=direction, page=page)


@blueprint.get("/<path:_>")
def not_found(_: str) -> Response:
    """Return 404 as an HTML page, for every other path under `/ui/`."""
    abort(404, "page not found")


@blueprint.errorhandler(ProviderError)
def _provider_error(exc: ProviderError) -> Response:
    code = status_code(exc)
    if code == 500:
        raise exc
    response = _error(code, str(exc), field=exc.field if isinstance(exc, InvalidRequest) else None)
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


def _parameters() -> dict[str, str]:
    """Return the parameters of the request: without the time if it is invalid, as links must not keep it."""
    found = request.args.to_dict()
    return found if "shown" in g else {name: value for name, value in found.items() if name not in PARAMETERS}


def _path(endpoint: str) -> str:
    """Return the path of a view, which Flask builds once in a request."""
    paths: dict[str, str] = g.setdefault("paths", {})
    if endpoint not in paths:
        paths[endpoint] = url_for(f"ui.{endpoint}")
    return paths[endpoint]


def _error(code: int, message: str, *, field: str | None = None) -> Response:
    """Return the page of an error; it links to the same page without an invalid parameter."""
    g.error_message = message
    is_given = field in request.args and request.endpoint in _PAGES
    title = f"{code} {HTTPStatus(code).phrase}"
    return render("error.html", code=code, title=title, message=message, field=field if is_given else None)
