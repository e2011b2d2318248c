"""The fake API server: TLS, authentication, verbs, watches, access reviews, and injected faults."""

import asyncio
import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple, TypeVar
from uuid import uuid4

import orjson
from aiohttp import web

from tests.broker.apiserver.errors import Refusal, bad_request, gone
from tests.broker.apiserver.eviction import evict
from tests.broker.apiserver.patch import strategic_merge
from tests.broker.apiserver.store import RESOURCES, Object, Selector, Store, select
from tests.broker.apiserver.tokens import create_token
from tests.broker.apiserver.watch import Watcher
from tests.faults import Fault, Faults

T = TypeVar("T")

_PATH = re.compile(
    r"/(?:api/v1|apis/[^/]+/v1(?:beta1)?)(?:/namespaces/(?P<namespace>[^/]+)(?=/[^/]))?"
    r"/(?P<resource>[^/]+)(?:/(?P<name>[^/]+))?(?:/(?P<subresource>[^/]+))?"
)
_PATCH = "application/strategic-merge-patch+json"


class Request(NamedTuple):
    """A received request."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    user: str


class Target(NamedTuple):
    """The object or collection of a path."""

    resource: str
    namespace: str
    name: str
    subresource: str


class ApiServer:
    """The API server of a cluster. Tests change the objects in `store` as `kubectl` does.

    Attributes:
        store: the objects.
        tokens: bearer token → user.
        has_trust_bundles: whether ClusterTrustBundles are served, which a cluster does not by default.
        authorize: decides on the `spec` of a SubjectAccessReview; denies by default.
        requests: the received requests in order, with watches and lists.
        watchers: the open watches.
    """

    def __init__(self, tls: ssl.SSLContext) -> None:
        self.store = Store()
        self.tokens = {"broker-token": "system:serviceaccount:default:virtual-kubelet-web"}
        self.has_trust_bundles = False
        self.authorize: Callable[[Object], bool] = lambda _: False
        self.requests: list[Request] = []
        self.watchers: list[Watcher] = []
        self.port = 0
        self._tls = tls
        self._faults = Faults[Refusal]()
        self._runner: web.AppRunner | None = None
        self._pages: dict[str, tuple[list[Object], int]] = {}
        self._forbidden_labels: set[str] = set()
        self._waiting: list[asyncio.Future[None]] = []
        self.store.listen(lambda _: self._wake())

    @property
    def url(self) -> str:
        """Base URL."""
        return f"https://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen; on the same port after each stop."""
        app = web.Application(client_max_size=4 << 20)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._tls, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close all connections and the port; keep the objects."""
        for watcher in self.watchers:
            watcher.cut()
        if self._runner is not None:
            server = self._runner.server
            transports = [connection.transport for connection in server.connections] if server else []
            await self._runner.cleanup()
            for transport in filter(None, transports):
                transport.abort()  # TLS would wait for a client that does not close its side
            await asyncio.sleep(0)
            self._runner = None

    async def until(self, condition: Callable[[], T | None], *, seconds: float = 30) -> T:
        """Wait until a condition is true, checked at each request and change; return its value.

        Raises:
            AssertionError: the condition is not true within `seconds`.
        """
        try:
            async with asyncio.timeout(seconds):
                while not (found := condition()):
                    future = asyncio.get_running_loop().create_future()
                    self._waiting.append(future)
                    await future
        except TimeoutError:
            raise AssertionError(f"not within {seconds:g} s: {condition.__qualname__}") from None
        return found

    def failing(
        self,
        code: int,
        *,
        reason: str = "InternalError",
        method: str = "",
        path: str = "",
        times: int | None = None,
        retry_after: int | None = None,
        lost: bool = False,
    ) -> AbstractContextManager[Fault[Refusal]]:
        """Respond with an error; with `lost`, after the request is executed."""
        error = Refusal(code, reason, "injected", retry_after=retry_after)
        return self._faults.inject(Fault(method=method, path=path, error=error, times=times, lost=lost))

    def hanging(
        self, *, method: str = "", path: str = "", times: int | None = None
    ) -> AbstractContextManager[Fault[Refusal]]:
        """Hold requests without a response."""
        return self._faults.inject(Fault(method=method, path=path, times=times))

    @contextmanager
    def forbidding_labels(self, *labels: str) -> Iterator[None]:
        """Forbid these labels on a Node, as the admission plugin NodeRestriction does."""
        self._forbidden_labels = set(labels)
        yield
        self._forbidden_labels = set()

    def cut_watches(self) -> None:
        """Break every watch in the middle of a line."""
        for watcher in self.watchers:
            watcher.cut()

    def end_watches(self) -> None:
        """End every watch."""
        for watcher in self.watchers:
            watcher.end()

    def expire_watches(self) -> None:
        """Drop the history and end every watch with 410."""
        self.store.compact()
        for watcher in self.watchers:
            watcher.fail(gone())

    def bookmark(self) -> None:
        """Send a bookmark to every watch that requested bookmarks."""
        for watcher in self.watchers:
            watcher.bookmark()

    def requests_to(self, method: str, path: str = "") -> list[Request]:
        """Return the received requests of a method whose path matches a pattern."""
        return [request for request in self.requests if request.method == method and re.search(path, request.path)]

    async def _answer(self, http: web.Request) -> web.StreamResponse:
        try:
            user = self._authenticate(http)
            body = await http.read()
            request = Request(http.method, http.path, dict(http.query), orjson.loads(body) if body else None, user)
            self.requests.append(request)
            fault = self._faults.meet(http.method, http.path)
            if fault is not None:
                await self._suffer(fault, request, http)
            if request.query.get("watch") in ("1", "true"):
                return await self._watch(request, http)
            code, answer = self._serve(request, http.content_type)
            return _json(code, answer)
        except Refusal as refusal:
            headers = {"Retry-After": str(refusal.retry_after)} if refusal.retry_after else {}
            return _json(refusal.code, refusal.status(), headers)
        except orjson.JSONDecodeError:
            return _json(400, bad_request("the body is not JSON").status())
        finally:
            self._wake()

    async def _suffer(self, fault: Fault[Refusal], request: Request, http: web.Request) -> None:
        self._wake()
        if fault.error is None:
            await fault.lifted.wait()
            return
        if fault.lost:
            self._serve(request, http.content_type)
        raise fault.error

    def _authenticate(self, http: web.Request) -> str:
        scheme, _, token = http.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or token not in self.tokens:
            raise Refusal(401, "Unauthorized", "Unauthorized")
        return self.tokens[token]

    def _serve(self, request: Request, content_type: str) -> tuple[int, Object]:
        if request.path.endswith("/tokenreviews"):
            return 201, self._review_token(request.body)
        if request.path == "/apis/certificates.k8s.io/v1beta1" and self.has_trust_bundles:
            return 200, {"kind": "APIResourceList", "resources": [{"name": "clustertrustbundles"}]}
        if request.path.endswith("/subjectaccessreviews"):
            return 201, {**request.body, "status": {"allowed": self.authorize(request.body["spec"])}}
        target = _target(request.path)
        self._admit(target, request)
        match request.method:
            case "GET" if target.name:
                answer = self.store.get(target.resource, target.name, target.namespace)
            case "GET":
                answer = self._list(target, request.query)
            case "POST" if target.subresource in ("token", "eviction"):
                return 201, self._create_subresource(target, request.body)
            case "POST" if not target.name:
                return 201, self.store.create(target.resource, request.body, target.namespace)
            case "PUT":
                answer = self._put(target, request.body)
            case "PATCH":
                answer = self._patch(target, request.body, content_type)
            case "DELETE" if target.name:
                answer = self.store.delete(target.resource, target.name, target.namespace, request.body)
            case _:
                raise Refusal(405, "MethodNotAllowed", f"{request.method} {request.path}")
        return 200, answer

    def _create_subresource(self, target: Target, body: Object) -> Object:
        """Create a token of a service account, or evict a pod."""
        if target.subresource == "eviction":
            return evict(self.store, target.namespace, target.name, body)
        answer = create_token(self.store, target.namespace, target.name, body)
        self.tokens[answer["status"]["token"]] = f"system:serviceaccount:{target.namespace}:{target.name}"
        return answer

    def _admit(self, target: Target, request: Request) -> None:
        if target.resource == "nodes" and request.method in ("POST", "PATCH"):
            labels = self._forbidden_labels & (request.body.get("metadata", {}).get("labels") or {}).keys()
            if labels:
                message = f"is not allowed to set the following labels: {', '.join(sorted(labels))}"
                raise Refusal(403, "Forbidden", f'nodes "{target.name}" is forbidden: {message}')

    def _put(self, target: Target, body: Object) -> Object:
        metadata = {"namespace": target.namespace} if target.namespace else {}
        body = {**body, "metadata": {**metadata, **body["metadata"]}}
        if body["metadata"].get("name") != target.name:
            raise bad_request("the name of the object does not match the name on the URL")
        return self.store.update(target.resource, body, subresource=target.subresource)

    def _patch(self, target: Target, body: Object, content_type: str) -> Object:
        if content_type != _PATCH:
            raise Refusal(415, "UnsupportedMediaType", content_type)
        old = self.store.get(target.resource, target.name, target.namespace)
        version = body.get("metadata", {}).get("resourceVersion")
        new = strategic_merge(old, body)
        new["metadata"]["resourceVersion"] = version or old["metadata"]["resourceVersion"]
        return self.store.update(target.resource, new, subresource=target.subresource)

    def _list(self, target: Target, query: dict[str, str]) -> Object:
        if token := query.get("continue"):
            if token not in self._pages:
                raise gone("The provided continue parameter is too old")
            items, version = self._pages.pop(token)
        else:
            items = self.store.list(target.resource, target.namespace, _selector(query))
            version = self.store.version
        metadata: Object = {"resourceVersion": str(version)}
        limit = int(query.get("limit", 0)) or len(items)
        if len(items) > limit:
            metadata["continue"] = uuid4().hex
            self._pages[metadata["continue"]] = items[limit:], version
        api_version, kind = RESOURCES[target.resource]
        # Items of a list have no kind and apiVersion; the list has.
        bare = [
            {name: value for name, value in item.items() if name not in ("kind", "apiVersion")} for item in items
        ]
        return {"kind": f"{kind}List", "apiVersion": api_version, "metadata": metadata, "items": bare[:limit]}

    async def _watch(self, request: Request, http: web.Request) -> web.StreamResponse:
        target = _target(request.path)
        query = request.query
        watcher = Watcher(self.store, target.resource, target.namespace, _selector(query))
        watcher.bookmarks = query.get("allowWatchBookmarks") in ("1", "true")
        self.watchers.append(watcher)
        self._wake()
        try:
            return await watcher.run(http, int(query["resourceVersion"]), float(query.get("timeoutSeconds", 600)))
        finally:
            self.watchers.remove(watcher)

    def _review_token(self, review: Object) -> Object:
        user = self.tokens.get(review["spec"].get("token"))
        status = {"authenticated": True, "user": {"username": user, "groups": ["system:authenticated"]}}
        return {**review, "status": status if user else {"authenticated": False}}

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)


def _target(path: str) -> Target:
    match = _PATH.fullmatch(path)
    if match is None or match["resource"] not in RESOURCES:
        raise Refusal(404, "NotFound", "the server could not find the requested resource")
    return Target(*(match[group] or "" for group in Target._fields))


def _selector(query: dict[str, str]) -> Selector:
    """Return the selector of a list or a watch: by fields and, by equality, by labels."""
    fields = select(query.get("fieldSelector", ""))
    labels = dict(pair.split("=", 1) for pair in query.get("labelSelector", "").split(",") if pair)
    return lambda obj: fields(obj) and labels.items() <= (obj["metadata"].get("labels") or {}).items()


def _json(code: int, body: Object, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=code, body=orjson.dumps(body), content_type="application/json", headers=headers)
