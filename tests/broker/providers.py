"""Providers of the contract, as people have written them: in memory, each with its own ways.

Every one answers the ten endpoints and remembers what it was asked.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import orjson
from aiohttp import web

Object = dict[str, Any]
T = TypeVar("T")
NOW = "2026-11-22T08:46:38Z"


class Request(NamedTuple):
    """A request that was made."""

    method: str
    path: str
    query: dict[str, str]
    body: Any


@dataclass(frozen=True)
class Ways:
    """How a provider differs from the contract's letter.

    Attributes:
        not_found: the reason phrase of its 404s.
        body_of_writes: what it answers to a write that it has done.
        has_get_pod: whether there is a `/getPod`.
        takes_updates: whether there is a `PUT /updatePod`.
        tells_changes: whether there is a `/podStatuses`.
        lets_go_slowly: whether a pod that is deleted stays until :meth:`StubProvider.end`.
    """

    not_found: str = "Not Found"
    body_of_writes: bytes = b""
    has_get_pod: bool = True
    takes_updates: bool = True
    tells_changes: bool = False
    lets_go_slowly: bool = False


WAYS = {
    "only the ten endpoints": Ways(),
    "NOT FOUND": Ways(not_found="NOT FOUND"),
    "bodies on writes": Ways(body_of_writes=b"OK" * 4096),
    "no /getPod": Ways(has_get_pod=False),
    "no /getPod, no /updatePod": Ways(has_get_pod=False, takes_updates=False),
    "/podStatuses": Ways(tells_changes=True),
}


@dataclass(eq=False)
class Fault:
    """What happens to the requests for a path, instead of an answer of the provider's."""

    path: str
    code: int | None
    body: bytes
    times: int | None
    retry_after: int | None
    lifted: asyncio.Event
    met: int = 0


def running(pod: Object) -> Object:
    """Give the status of a pod all of whose containers run."""
    containers = [
        {
            "name": container["name"],
            "image": container["image"],
            "ready": True,
            "restartCount": 0,
            "state": {"running": {"startedAt": NOW}},
        }
        for container in pod["spec"]["containers"]
    ]
    conditions = [{"type": type_, "status": "True"} for type_ in ("PodScheduled", "Initialized", "Ready")]
    return {"phase": "Running", "podIP": "10.0.0.7", "conditions": conditions, "containerStatuses": containers}


class StubProvider:
    """A provider; its pods are those that were created and not deleted.

    Attributes:
        pods: namespace/name → what was sent.
        statuses: namespace/name → the status that it tells.
        requests: what it was asked, in order.
    """

    def __init__(self, ways: Ways = WAYS["only the ten endpoints"]) -> None:
        self.ways = ways
        self.pods: dict[str, Object] = {}
        self.statuses: dict[str, Object] = {}
        self.requests: list[Request] = []
        self.port = 0
        self._faults: list[Fault] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._revision = 0
        self._changes: list[tuple[int, str, str, bool]] = []
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen; on the same port after each stop."""
        app = web.Application(client_max_size=8 << 20)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Be gone: connections break, nothing listens."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def forget(self) -> None:
        """Lose every pod, as what keeps them in memory does when it is started again."""
        self.pods.clear()
        self.statuses.clear()
        self._changes.clear()
        self._revision = 0
        self._wake()

    def report(self, key: str, status: Object) -> None:
        """Have a pod be in another way than before."""
        self.statuses[key] = status
        self._change(key, self.pods[key]["metadata"]["uid"])

    def end(self, key: str) -> None:
        """Have no such pod any more."""
        pod = self.pods.pop(key)
        self.statuses.pop(key)
        self._change(key, pod["metadata"].get("uid", ""), gone=True)

    @contextmanager
    def failing(
        self, path: str, code: int, *, body: bytes = b"", times: int | None = None, retry_after: int | None = None
    ) -> Iterator[Fault]:
        """Answer with an error."""
        with self._fault(Fault(path, code, body, times, retry_after, asyncio.Event())) as fault:
            yield fault

    @contextmanager
    def hanging(self, path: str, *, times: int | None = None) -> Iterator[Fault]:
        """Hold requests without an answer; answer what was held when that ends."""
        with self._fault(Fault(path, None, b"", times, None, asyncio.Event())) as fault:
            yield fault

    @contextmanager
    def _fault(self, fault: Fault) -> Iterator[Fault]:
        self._faults.append(fault)
        try:
            yield fault
        finally:
            self._faults.remove(fault)
            fault.lifted.set()

    def made(self, path: str) -> list[Request]:
        """Give the requests for a path."""
        return [request for request in self.requests if request.path == path]

    async def until(self, condition: Callable[[], T | None], *, seconds: float = 30) -> T:
        """Wait for what the requests come to; give what the condition does."""
        try:
            async with asyncio.timeout(seconds):
                while not (found := condition()):
                    await self._changed()
        except TimeoutError:
            raise AssertionError(f"not within {seconds:g} s: {condition.__qualname__}") from None
        return found

    async def _answer(self, http: web.Request) -> web.StreamResponse:
        body = await http.read()
        request = Request(http.method, http.path, dict(http.query), orjson.loads(body) if body else None)
        self.requests.append(request)
        self._wake()
        fault = next((f for f in self._faults if re.search(f.path, http.path) and f.met != f.times), None)
        if fault is not None:
            fault.met += 1
            if fault.code is None:
                await fault.lifted.wait()
            else:
                headers = {"Retry-After": str(fault.retry_after)} if fault.retry_after else {}
                return web.Response(status=fault.code, body=fault.body, headers=headers)
        try:
            return await self._serve(request)
        finally:
            self._wake()

    async def _serve(self, request: Request) -> web.StreamResponse:
        if (request.method, request.path) == ("GET", "/podStatuses") and self.ways.tells_changes:
            return await self._tell(int(request.query["since"]), float(request.query["wait"]))
        handlers: dict[tuple[str, str], Callable[[Request], web.Response]] = {
            ("POST", "/createPod"): self._create,
            ("DELETE", "/deletePod"): self._delete,
            ("GET", "/getPodStatus"): self._get_status,
            ("GET", "/getPods"): self._get_pods,
            ("GET", "/capacity"): lambda _: _json({"cpu": "20", "memory": "100Gi", "pods": "500"}),
            ("GET", "/nodeConditions"): lambda _: _json(
                [{"type": "Ready", "status": "True", "lastHeartbeatTime": NOW, "lastTransitionTime": NOW}]
            ),
            ("GET", "/nodeAddresses"): lambda _: _json([{"type": "InternalIP", "address": "127.0.0.1"}]),
            ("GET", "/getContainerLogs"): lambda _: web.Response(text="one\ntwo\n"),
        }
        if self.ways.has_get_pod:
            handlers["GET", "/getPod"] = self._get_pod
        if self.ways.takes_updates:
            handlers["PUT", "/updatePod"] = self._update
        handler = handlers.get((request.method, request.path))
        return handler(request) if handler else self._not_found()

    def _create(self, request: Request) -> web.Response:
        key = _key(request.body)
        self.pods[key], self.statuses[key] = request.body, running(request.body)
        self._change(key, request.body["metadata"]["uid"])
        return self._done()

    def _update(self, request: Request) -> web.Response:
        if _key(request.body) not in self.pods:
            return self._not_found()
        self.pods[_key(request.body)] = request.body
        return self._done()

    def _delete(self, request: Request) -> web.Response:
        if _key(request.body) not in self.pods:
            return self._not_found()
        if not self.ways.lets_go_slowly:
            self.end(_key(request.body))
        return self._done()

    def _get_pod(self, request: Request) -> web.Response:
        pod = self.pods.get(_named(request))
        return _json({**pod, "status": self.statuses[_named(request)]}) if pod else self._not_found()

    def _get_status(self, request: Request) -> web.Response:
        status = self.statuses.get(_named(request))
        return _json(status) if status else self._not_found()

    def _get_pods(self, _: Request) -> web.Response:
        return _json([{**pod, "status": self.statuses[key]} for key, pod in self.pods.items()])

    async def _tell(self, since: int, wait: float) -> web.Response:
        try:
            async with asyncio.timeout(wait):
                while since == self._revision:
                    await self._changed()
        except TimeoutError:
            pass
        news = {key: (uid, gone) for revision, key, uid, gone in self._changes if revision > since or not since}
        statuses = [
            {**_reference(key), "uid": uid, "status": self.statuses[key]}
            for key, (uid, gone) in news.items()
            if not gone
        ]
        deleted = [{**_reference(key), "uid": uid} for key, (uid, gone) in news.items() if gone]
        return _json({"revision": self._revision, "statuses": statuses, "deleted": deleted})

    def _change(self, key: str, uid: str, *, gone: bool = False) -> None:
        self._revision += 1
        self._changes.append((self._revision, key, uid, gone))
        self._wake()

    def _done(self) -> web.Response:
        return web.Response(body=self.ways.body_of_writes)

    def _not_found(self) -> web.Response:
        return web.Response(status=404, reason=self.ways.not_found)

    async def _changed(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)


@asynccontextmanager
async def providing(ways: Ways = WAYS["only the ten endpoints"]) -> AsyncIterator[StubProvider]:
    """Run a provider for the time of a block."""
    provider = StubProvider(ways)
    await provider.start()
    try:
        yield provider
    finally:
        await provider.stop()


def _key(pod: Object) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


def _named(request: Request) -> str:
    return f"{request.query['namespace']}/{request.query['name']}"


def _reference(key: str) -> dict[str, str]:
    namespace, _, name = key.partition("/")
    return {"namespace": namespace, "name": name}


def _json(value: Any) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type="application/json")
