"""Who may use the kubelet API: authentication and authorization, both by the API server's word.

The rules are the kubelet's (kubernetes.io/docs/reference/access-authn-authz/kubelet-authn-authz): a client
certificate or a bearer token says who somebody is; a SubjectAccessReview on a subresource of the node says what
they may do. Without these, anyone on the network of pods could read every log.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from broker.kubernetes.client import Client
from broker.kubernetes.errors import ApiError

log = structlog.get_logger()

TOKEN_LIFE = 120.0
ALLOWED_LIFE = 300.0
DENIED_LIFE = 30.0
"""How long an answer of the API server is believed, in seconds: the kubelet's defaults."""

ALWAYS_ALLOWED = frozenset({"/livez", "/readyz"})
"""Paths that need no credentials, as with the scheduler: probes have none, and these tell nothing to hide."""

K = TypeVar("K")
V = TypeVar("V")


class User(NamedTuple):
    """Somebody, as the API server describes them."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


class Answers(Generic[K, V]):
    """Answers of the API server, each believed for its time; of too many the oldest are forgotten.

    Args:
        clock: seconds that only ever grow.
    """

    SIZE = 1024

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._known: dict[K, tuple[V, float]] = {}

    async def get(self, key: K, ask: Callable[[], Awaitable[tuple[V, float]]]) -> V:
        """Give what is known, else ask; `ask` gives the answer and for how many seconds it is good."""
        known = self._known.get(key)
        if known and self._clock() < known[1]:
            return known[0]
        answer, life = await ask()
        self._known.pop(key, None)
        if len(self._known) >= self.SIZE:
            del self._known[next(iter(self._known))]
        self._known[key] = answer, self._clock() + life
        return answer


class Authenticator:
    """Tells who sent a request."""

    def __init__(self, client: Client, clock: Callable[[], float]) -> None:
        self._client = client
        self._answers: Answers[bytes, User | None] = Answers(clock)

    async def user(self, request: web.Request) -> User | None:
        """Tell by the client certificate, else by the bearer token; None: by neither.

        Raises:
            ApiError: the token could not be reviewed.
        """
        # The handshake has verified it, or there is none.
        certificate = request.get_extra_info("peercert")
        if certificate and (user := certificate_user(certificate)):
            return user
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            return None
        # Its digest: no dump of this memory shall give a token away that is long used.
        return await self._answers.get(hashlib.sha256(token.encode()).digest(), lambda: self._review(token))

    async def _review(self, token: str) -> tuple[User | None, float]:
        review = await self._client.create(
            "/apis/authentication.k8s.io/v1/tokenreviews",
            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}},
        )
        status = review.get("status", {})
        return (_reviewed_user(status.get("user", {})) if status.get("authenticated") else None), TOKEN_LIFE


def certificate_user(certificate: Mapping[str, Any]) -> User | None:
    """Read a user out of a verified client certificate: its common name, and its organizations as groups.

    Args:
        certificate: as :meth:`ssl.SSLSocket.getpeercert` gives it.
    """
    fields = [field for names in certificate.get("subject", ()) for field in names]
    names = [value for key, value in fields if key == "commonName"]
    groups = [value for key, value in fields if key == "organizationName"]
    return User(names[-1], (*groups, "system:authenticated")) if names and names[-1] else None


def _reviewed_user(user: Mapping[str, Any]) -> User:
    return User(
        name=user.get("username", ""),
        groups=tuple(user.get("groups") or ()),
        uid=user.get("uid", ""),
        extra=tuple(sorted((key, tuple(values)) for key, values in (user.get("extra") or {}).items())),
    )


class Authorizer:
    """Tells whether a user may do something with this node."""

    def __init__(self, client: Client, node_name: str, clock: Callable[[], float]) -> None:
        self._client = client
        self._node_name = node_name
        self._answers: Answers[tuple[User, str, str], bool] = Answers(clock)

    async def allows(self, user: User, verb: str, subresource: str) -> bool:
        """Ask the API server; raises :exc:`ApiError` where it does not answer."""
        return await self._answers.get((user, verb, subresource), lambda: self._review(user, verb, subresource))

    async def _review(self, user: User, verb: str, subresource: str) -> tuple[bool, float]:
        review = await self._client.create(
            "/apis/authorization.k8s.io/v1/subjectaccessreviews",
            {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SubjectAccessReview",
                "spec": {
                    "user": user.name,
                    "groups": list(user.groups),
                    "uid": user.uid,
                    "extra": {key: list(values) for key, values in user.extra},
                    "resourceAttributes": {
                        "verb": verb,
                        "version": "v1",
                        "resource": "nodes",
                        "subresource": subresource,
                        "name": self._node_name,
                    },
                },
            },
        )
        allowed = bool(review.get("status", {}).get("allowed"))
        return allowed, ALLOWED_LIFE if allowed else DENIED_LIFE


def api_verb(method: str) -> str:
    """Give the verb of the Kubernetes API for a method of HTTP; empty for one that has none."""
    return {"POST": "create", "GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}.get(method, "")


def subresources(path: str) -> tuple[str, ...]:
    """Say which subresources of the node a path belongs to; the first that a user may use is enough.

    The kubelet's own table (`pkg/kubelet/server/auth.go`).
    """
    match path.removeprefix("/").partition("/")[0]:
        case "stats":
            return ("stats",)
        case "metrics":
            return ("metrics",)
        case "pods" | "runningpods":
            return "pods", "proxy"
        case "healthz":
            return "healthz", "proxy"
        case _:
            return ("proxy",)


def guard(authenticator: Authenticator, authorizer: Authorizer | None) -> Middleware:
    """Make the middleware that lets a request through, or answers 401, 403, or 500 where it cannot tell.

    Args:
        authenticator: tells who sends a request.
        authorizer: tells what they may do; None: everything.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path not in ALWAYS_ALLOWED:
            try:
                await _check(request, authenticator, authorizer)
            except ApiError as exc:
                log.warning("could not review a request", path=request.path, error=str(exc))
                raise web.HTTPInternalServerError(text="the API server could not be asked about it\n") from exc
        return await handler(request)

    return middleware


async def _check(request: web.Request, authenticator: Authenticator, authorizer: Authorizer | None) -> None:
    user = await authenticator.user(request)
    if user is None:
        raise web.HTTPUnauthorized(text="Unauthorized\n")
    if authorizer is None:
        return
    verb, wanted = api_verb(request.method), subresources(request.path)
    for subresource in wanted:
        if await authorizer.allows(user, verb, subresource):
            return
    raise web.HTTPForbidden(
        text=f"Forbidden (user={user.name}, verb={verb}, resource=nodes, subresource(s)=[{' '.join(wanted)}])\n"
    )
