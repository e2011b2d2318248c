"""Access to the dashboard where PROVIDER_TOKEN is set: a bearer token, or a session that the sign-in form starts.

The rules, in order, for each request under `/ui/`:

1. The sign-in form and static files are for everyone: they tell nothing of the node.
2. A bearer token is checked as for the API.
3. A valid session cookie is accepted here, and nowhere else: no request of the API can be forged with it.
4. Otherwise, a browser that opens a page is redirected to the sign-in form, which leads back to that page. A
   request of a script is answered with 401; the script then reloads its page, which leads to the form.

The cookie is `SameSite=Strict`: a browser sends it with no request that another site causes, so a link in a chat
would always lead to the form. The form's URL therefore answers such a request with a document that opens the
page again.
"""

from contextlib import suppress
from datetime import datetime
from http import HTTPStatus
from math import ceil
from urllib.parse import urlencode, urlsplit

import structlog
from flask import Flask, current_app, g, redirect, render_template, request, url_for
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from app.services import Services, get_services
from app.web.middleware import bearer_token, caller, is_token
from app.web.responses import Response, html_response
from app.web.ui.attempts import SignInAttempts
from app.web.ui.page import blueprint
from app.web.ui.session import SignInSession, SignInSessions

_EXTENSION = "dashboard_access"
_PUBLIC = frozenset({"ui.sign_in", "ui.check_token", "ui.sign_out", "ui.static"})
_MAX_FORM_BYTES = 64 * 1024

log = structlog.get_logger("app")


class Access:
    """The token of an application, its sessions, and its limit of attempts."""

    def __init__(self, services: Services, token: str) -> None:
        self.token = token
        self.sessions = SignInSessions(services.settings, token)
        self.attempts = SignInAttempts(token.encode())


def init_app(app: Flask) -> None:
    """Require a session or a token of this application, if a token is set."""
    services: Services = app.extensions["services"]
    token = services.settings.provider_token
    app.extensions[_EXTENSION] = Access(services, token.get_secret_value()) if token else None


@blueprint.app_template_global()
def is_signed_in() -> bool:
    """Return whether this request belongs to a session, which can be ended."""
    return g.get("session") is not None


@blueprint.before_request
def _require_access() -> AnyResponse | None:
    access = _access()
    if access is None or request.endpoint in _PUBLIC or request.method == "OPTIONS":
        return None
    token = bearer_token()
    if token is not None:
        return None if is_token(token, access.token) else _unauthorized("a valid bearer token is required")
    session = _session(access)
    if session is not None:
        g.session = session
        g.held_seconds = access.sessions.seconds_left(session, _now())
        return None
    if request.method == "GET" and "text/html" in request.headers.get("Accept", ""):
        target = request.full_path if request.query_string else request.path
        form = f"{_root()}/sign-in?{urlencode({'next': request.script_root + target})}"
        return redirect(form, HTTPStatus.SEE_OTHER)
    return _unauthorized("sign in, or send a bearer token")


@blueprint.after_request
def _renew_session(response: Response) -> Response:
    """Note that the session is used."""
    access, session = _access(), g.get("session")
    if access and session and (renewed := access.sessions.renewed(session, _now())):
        _set_cookie(response, access, renewed)
    return response


@blueprint.get("")
def root() -> AnyResponse:
    """Redirect to the first page, behind the same check as that page."""
    return redirect(f"{_root()}/")


@blueprint.get("/sign-in")
def sign_in() -> AnyResponse:
    """Show the form; open the page that was asked for if there is a session."""
    access, target = _access(), _target(request.args.get("next"))
    if access is None or _session(access):
        return redirect(target, HTTPStatus.SEE_OTHER)
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        return html_response(render_template("ui/open_again.html", target=target))
    return _form(target)


@blueprint.post("/sign-in")
def check_token() -> AnyResponse:
    """Start a session if the token is right."""
    access, target, given = _access(), _target(None), ""
    request.max_content_length = _MAX_FORM_BYTES
    with suppress(HTTPException):  # of a form that is too long
        target, given = _target(request.form.get("next")), request.form.get("token", "").strip()
    if access is None:
        return redirect(target, HTTPStatus.SEE_OTHER)
    if _is_cross_origin():
        return _form(target, "The form was sent by another site.", HTTPStatus.FORBIDDEN)
    address, now = caller().address, _now()
    if wait := access.attempts.take(address, now=now.timestamp()):
        response = _form(target, "Too many attempts. Try again in a minute.", HTTPStatus.TOO_MANY_REQUESTS)
        response.headers["Retry-After"] = str(ceil(wait))
        return response
    if not is_token(given, access.token):
        log.warning("sign-in refused", address=address, request_id=caller().request_id)
        return _form(target, "This is not the token.", HTTPStatus.UNAUTHORIZED)
    access.attempts.give_back(address, now=now.timestamp())
    opened = redirect(target, HTTPStatus.SEE_OTHER)
    _set_cookie(opened, access, access.sessions.start(now))
    return opened


@blueprint.post("/sign-out")
def sign_out() -> AnyResponse:
    """End the session of this browser; it does not matter whether it has ended already."""
    if _is_cross_origin():
        return _refused("the request was sent by another site", HTTPStatus.FORBIDDEN)
    access = _access()
    response = redirect(f"{_root()}/sign-in", HTTPStatus.SEE_OTHER)
    if access:
        response.delete_cookie(access.sessions.cookie_name, path=f"{_root()}/")
    return response


def _access() -> Access | None:
    found: Access | None = current_app.extensions[_EXTENSION]
    return found


def _now() -> datetime:
    return get_services().clock.system()


def _session(access: Access) -> SignInSession | None:
    cookie = request.cookies.get(access.sessions.cookie_name)
    return access.sessions.decode(cookie, _now()) if cookie else None


def _set_cookie(response: AnyResponse, access: Access, session: SignInSession) -> None:
    """Store a session in the browser. Over HTTP, a browser would not store a cookie that is `Secure`."""
    response.set_cookie(
        access.sessions.cookie_name,
        access.sessions.encode(session),
        max_age=access.sessions.seconds_left(session, _now()),
        path=f"{_root()}/",
        secure=request.is_secure,
        httponly=True,
        samesite="Strict",
    )


def _root() -> str:
    """Return the path of the dashboard, without a slash at the end."""
    return url_for("ui.root")


def _target(given: str | None) -> str:
    """Return the page to open after signing in: the given one if it is of the dashboard, else the first."""
    first = f"{_root()}/"
    return given if given and given.startswith(first) and given.isprintable() else first


def _is_cross_origin() -> bool:
    """Return whether a page of another origin has sent this request.

    Source: `CrossOriginProtection` of Go's net/http. `Sec-Fetch-Site` does not depend on a proxy that changes the
    host, but browsers send it over HTTPS and to this machine only.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = request.headers.get("Origin")
    return origin is not None and urlsplit(origin).netloc != request.host


def _form(target: str, problem: str | None = None, code: int = HTTPStatus.OK) -> Response:
    return html_response(render_template("ui/sign_in.html", target=target, problem=problem), code=code)


def _refused(message: str, code: int) -> Response:
    return Response(f"{message}\n", code, content_type="text/plain; charset=utf-8")


def _unauthorized(message: str) -> Response:
    response = _refused(message, HTTPStatus.UNAUTHORIZED)
    response.www_authenticate = WWWAuthenticate("bearer")
    return response
