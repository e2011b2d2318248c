"""Authentication and authorization of requests to the kubelet API, both by the API server.

The rules are the kubelet's (kubernetes.io/docs/reference/access-authn-authz/kubelet-authn-authz): a client
certificate or a bearer token authenticates a user, and a SubjectAccessReview on a subresource of the node
authorizes the request. Without these, every client on the pod network could read every log.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from broker.kubelet.node_paths import NodePaths
from broker.kubernetes.client import Client
from broker.kubernetes.errors import ApiError

log = structlog.get_logger()

TOKEN_TTL = 120.0
ALLOWED_TTL = 300.0
DENIED_TTL = 30.0
"""Seconds for which a review of the API server is cached: the kubelet's defaults."""

ALWAYS_ALLOWED = frozenset({"/livez", "/readyz"})
"""Paths without authentication, as in the scheduler: probes have no credentials."""

_STREAMS = frozenset({"exec", "attach", "portForward", "run"})

K = TypeVar("K")
V = TypeVar("V")


class User(NamedTuple):
    """An authenticated user: `UserInfo` of the API server."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


class ReviewCache(Generic[K, V]):
    """Cache of reviews, each with its own time to live; the oldest are evicted at :attr:`SIZE` entries.

    Args:
        clock: returns monotonic seconds.
    """

    SIZE = 1024

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._known: dict[K, tuple[V, float]] = {}

    async def get(self, key: K, review: Callable[[], Awaitable[tuple[V, float]]]) -> V:
        """Return the cached review of a key, else the result of `review`.

        Args:
            key: key of the cache.
            review: returns the result and its time to live in seconds.
        """
        known = self._known.get(key)
        if known and self._clock() < known[1]:
            return known[0]
        result, ttl = await review()
        self._known.pop(key, None)
        if len(self._known) >= self.SIZE:
            del self._known[next(iter(self._known))]
        self._known[key] = result, self._clock() + ttl
        return result


class Authenticator:
    """Authenticates requests."""

    def __init__(self, client: Client, clock: Callable[[], float]) -> None:
        self._client = client
        self._reviews: ReviewCache[bytes, User | None] = ReviewCache(clock)

    async def user(self, request: web.Request) -> User | None:
        """Return the user of the client certificate, else of the bearer token; None without valid credentials.

        Raises:
            ApiError: the token could not be reviewed.
        """
        # Verified in the handshake.
        certificate = request.get_extra_info("peercert")
        if certificate and (user := certificate_user(certificate)):
            return user
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            return None
        # The digest is the key, so that the cache contains no tokens.
        return await self._reviews.get(hashlib.sha256(token.encode()).digest(), lambda: self._review(token))

    async def _review(self, token: str) -> tuple[User | None, float]:
        review = await self._client.create(
            "/apis/authentication.k8s.io/v1/tokenreviews",
            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}},
        )
        status = review.get("status", {})
        return (_reviewed_user(status.get("user", {})) if status.get("authenticated") else None), TOKEN_TTL


def certificate_user(certificate: Mapping[str, Any]) -> User | None:
    """Return the user of a verified client certificate: its common name, and its organizations as groups.

    Args:
        certificate: as returned by :meth:`ssl.SSLSocket.getpeercert`.
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
    """Authorizes requests to nodes."""

    def __init__(self, client: Client, clock: Callable[[], float]) -> None:
        self._client = client
        self._reviews: ReviewCache[tuple[User, str, str, str], bool] = ReviewCache(clock)

    async def allows(self, user: User, verb: str, subresource: str, *, node: str) -> bool:
        """Return whether a user may use a subresource of a node; an empty name means all nodes.

        Raises:
            ApiError: no review by the API server.
        """
        return await self._reviews.get(
            (user, verb, subresource, node), lambda: self._review(user, verb, subresource, node)
        )

    async def _review(self, user: User, verb: str, subresource: str, node: str) -> tuple[bool, float]:
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
                        "name": node,
                    },
                },
            },
        )
        allowed = bool(review.get("status", {}).get("allowed"))
        return allowed, ALLOWED_TTL if allowed else DENIED_TTL


def api_verb(method: str, path: str) -> str:
    """Return the Kubernetes API verb of a request; empty for a method without one.

    It is `create` for a stream whatever the method: a WebSocket is a GET, and `get` on `nodes/proxy` is granted to
    clients that may only read.
    """
    if is_stream(path):
        return "create"
    return {"POST": "create", "GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}.get(method, "")


def subresources(path: str) -> tuple[str, ...]:
    """Return the subresources of the node for a path; access to one of them is sufficient.

    Source: `pkg/kubelet/server/auth.go`.
    """
    match _first_segment(path):
        case "stats":
            return ("stats",)
        case "metrics":
            return ("metrics",)
        case "pods" | "runningpods":
            return "pods", "proxy"
        case "healthz" | "configz" as name:
            return name, "proxy"
        case _:
            return ("proxy",)


def is_stream(path: str) -> bool:
    """Return whether a request runs something in a pod, or connects to it."""
    return _first_segment(path) in _STREAMS


def _first_segment(path: str) -> str:
    return path.removeprefix("/").partition("/")[0]


def guard(authenticator: Authenticator, authorizer: Authorizer | None, paths: NodePaths) -> Middleware:
    """Return a middleware that answers 401 or 403 to refused requests, and 500 without a review.

    Args:
        authenticator: authenticates requests.
        authorizer: authorizes requests; None: every authenticated request is allowed.
        paths: finds the node of a request.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path not in ALWAYS_ALLOWED:
            try:
                await _check(request, authenticator, authorizer, paths)
            except ApiError as exc:
                log.warning("request not reviewed by the API server", path=request.path, error=str(exc))
                raise web.HTTPInternalServerError(text="the API server has not reviewed the request\n") from exc
        return await handler(request)

    return middleware


async def _check(
    request: web.Request, authenticator: Authenticator, authorizer: Authorizer | None, paths: NodePaths
) -> None:
    user = await authenticator.user(request)
    if user is None:
        raise web.HTTPUnauthorized(text="Unauthorized\n")
    if authorizer is None:
        return
    node, path = paths.to_authorize(request.path)
    verb, wanted = api_verb(request.method, path), subresources(path)
    for subresource in wanted:
        if await authorizer.allows(user, verb, subresource, node=node):
            return
    raise web.HTTPForbidden(
        text=f"Forbidden (user={user.name}, verb={verb}, resource=nodes, subresource(s)=[{' '.join(wanted)}])\n"
    )
