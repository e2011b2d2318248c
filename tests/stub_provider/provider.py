"""Provider of the contract, with its pods in memory."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import orjson

from conformance.checks.http import ENDPOINTS
from tests.faults import Fault, Faults
from tests.stub_provider import logs
from tests.stub_provider.server import ProviderServer, Reply, Request, json_reply
from tests.stub_provider.statuses import NOW, Object, ended, node_stats, pod_stats, running
from tests.stub_provider.streams import echo, print_and_exit
from tests.stub_provider.ways import WAYS, Ways

T = TypeVar("T")
LARGEST_BODY = 2 * 1024 * 1024


NODE_STATE: dict[str, Any] = {
    "/": {},
    "/healthz": {},
    "/readyz": {},
    "/capacity": {"cpu": "20", "memory": "100Gi", "pods": "500"},
    "/nodeConditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": NOW, "lastTransitionTime": NOW}],
    "/nodeAddresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
    "/openapi.json": {"openapi": "3.1.0", "paths": {path: {verb.lower(): {}} for verb, path in ENDPOINTS}},
}
"""Constant responses: path → JSON value."""
NODE = {
    "labels": {"zone": "a"},
    "taints": [{"key": "spot", "effect": "NoSchedule"}],
    "allocatable": {"cpu": "19"},
}
"""The response of `/node`, for every node."""


BATCHES = {"/createPods": "/createPod", "/deletePods": "/deletePod"}
"""Path of a batch → path of the single request."""


class Refused(Exception):
    """The request is rejected with an error response."""

    def __init__(self, code: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.headers = headers


class StubProvider(ProviderServer):
    """Provider; its pods are those created and not yet deleted.

    Attributes:
        pods: namespace/name → pod as sent.
        statuses: namespace/name → reported status.
        volumes: UID → name → volume, as sent.
        log: log of every container.
        usage: UID → last entry of `/podStats`.
        override: returns the response instead of :meth:`answer`; None for no override.
    """

    def __init__(self, ways: Ways = WAYS["only the ten endpoints"]) -> None:
        super().__init__()
        self.ways = ways
        self.pods: dict[str, Object] = {}
        self.statuses: dict[str, Object] = {}
        self.volumes: dict[str, dict[str, Object]] = {}
        self.log = "one\ntwo\n"
        self.usage: dict[str, Object] = {}
        self.override: Callable[[StubProvider, Request], Awaitable[Reply]] | None = None
        self._faults = Faults[Reply]()
        self._waiting: list[asyncio.Future[None]] = []
        self._revision = 0
        self._seconds = 0
        self._changes: list[tuple[int, str, str, bool]] = []
        self._last_statuses: dict[str, Object] = {}

    def forget(self) -> None:
        """Drop all pods, as a restart of a provider without storage does."""
        self.pods.clear()
        self.statuses.clear()
        self._changes.clear()
        self._revision = 0
        self._wake()

    def report(self, key: str, status: Object) -> None:
        """Set the status of a pod."""
        self.statuses[key] = status
        self._change(key, self.pods[key]["metadata"]["uid"])

    def end(self, key: str, exit_code: int = 143) -> None:
        """End all containers of a pod that is being deleted, and remove the pod."""
        self.report(key, ended(self.statuses[key], exit_code))
        self.remove(key)

    def remove(self, key: str) -> None:
        """Remove a pod."""
        uid = self.pods.pop(key)["metadata"].get("uid", "")
        self._last_statuses[uid] = self.statuses.pop(key)
        self._change(key, uid, gone=True)

    def failing(
        self, path: str, code: int, *, body: bytes = b"", times: int | None = None, retry_after: int | None = None
    ) -> AbstractContextManager[Fault[Reply]]:
        """Return an error for requests whose path matches."""
        headers = {"Retry-After": str(retry_after)} if retry_after else {}
        return self._faults.inject(Fault(path=path, error=Reply(code, body, headers), times=times))

    def hanging(self, path: str, *, times: int | None = None) -> AbstractContextManager[Fault[Reply]]:
        """Hold requests whose path matches until the end of the block."""
        return self._faults.inject(Fault(path=path, times=times))

    def requests_to(self, path: str) -> list[Request]:
        """Return the received requests for a path."""
        return [request for request in self.requests if request.path == path]

    async def until(self, condition: Callable[[], T | None], *, seconds: float = 30) -> T:
        """Wait until a condition is true, checked at each request and change; return its value."""
        try:
            async with asyncio.timeout(seconds):
                while not (found := condition()):
                    await self._changed()
        except TimeoutError:
            raise AssertionError(f"not within {seconds:g} s: {condition.__qualname__}") from None
        return found

    async def respond(self, request: Request) -> Reply:
        """Return a scripted failure, the response of `override`, or that of :meth:`answer`."""
        self._wake()
        if fault := self._faults.meet(request.method, request.path):
            if fault.error is not None:
                return fault.error
            await fault.lifted.wait()
        try:
            return await (self.override(self, request) if self.override else self.answer(request))
        finally:
            self._wake()

    async def answer(self, request: Request) -> Reply:
        """Return the response that the contract prescribes."""
        try:
            self._check_access(request)
            if request.path in BATCHES and "batch" in self.ways.extensions:
                return await self._batch(request)
            return await self._route(request)
        except Refused as exc:
            reply = json_reply({"error": {"code": exc.code, "message": str(exc)}}, exc.code, exc.headers)
            return reply._replace(phrase=self.ways.not_found) if exc.code == 404 else reply

    def _check_access(self, request: Request) -> None:
        if self.ways.token is None or request.path in ("/", "/healthz", "/readyz"):
            return
        if request.headers.get("authorization") != f"Bearer {self.ways.token}":
            raise Refused(401, "a token is required", {"WWW-Authenticate": "Bearer"})
        if request.method == "POST" and "origin" in request.headers:
            raise Refused(403, "the origin is not allowed")

    async def _route(self, request: Request) -> Reply:
        path = "/" + request.path.lstrip("/")
        if path == "/podStatuses" and self.ways.reports_changes:
            return await self._pod_statuses(request.query)
        handlers: dict[str, Callable[[Request], Reply]] = {
            "/createPod": self._create,
            "/deletePod": self._delete,
            "/getPodStatus": lambda request: json_reply(self.statuses[self._named(request)]),
            "/getPods": lambda _: json_reply([self._read(key) for key in self.pods]),
            "/getContainerLogs": self._logs,
        }
        if self.ways.has_get_pod:
            handlers["/getPod"] = lambda request: json_reply(self._read(self._named(request)))
        if self.ways.takes_updates:
            handlers["/updatePod"] = self._update
        if self.ways.extensions:
            handlers["/extensions"] = lambda _: json_reply(dict.fromkeys(self.ways.extensions, 1))
        if "podStats" in self.ways.extensions:
            handlers["/podStats"] = self._pod_stats
        if "podVolumes" in self.ways.extensions:
            handlers["/podVolumes"] = self._put_volumes
        if "nodeStats" in self.ways.extensions:
            handlers["/nodeStats"] = self._node_stats
        if "nodes" in self.ways.extensions:
            handlers["/node"] = lambda _: json_reply(NODE)
        if "streams" in self.ways.extensions:
            handlers["/exec"] = self._exec
        if path in NODE_STATE:
            handlers[path] = lambda _: json_reply(NODE_STATE[path])
        if path not in handlers:
            raise Refused(404, "unknown path")
        methods = {endpoint: method for method, endpoint in ENDPOINTS} | {"/podVolumes": "PUT"}
        method = methods.get(path, "GET")
        if request.method != method:
            raise Refused(405, "wrong method", {"Allow": method})
        return handlers[path](request)

    async def _batch(self, request: Request) -> Reply:
        try:
            items = orjson.loads(request.content)
        except ValueError:
            items = None
        if not isinstance(items, list):
            raise Refused(400, "the body is not an array")
        single = request._replace(path=BATCHES[request.path])
        replies = [await self.answer(single._replace(content=orjson.dumps(item))) for item in items]
        return json_reply(
            [
                {"code": reply.code, "message": reply.data["error"]["message"] if reply.code >= 400 else ""}
                for reply in replies
            ]
        )

    def _exec(self, request: Request) -> Reply:
        """Echo standard input for `cat`; write `out` and end with 3 for any other command."""
        self._known(f"{request.query.get('namespace')}/{request.query.get('podName')}")
        if "command" not in request.query:
            raise Refused(400, "command: required")
        return Reply(101, script=echo if request.query["command"] == "cat" else partial(print_and_exit, code=3))

    def _create(self, request: Request) -> Reply:
        pod = _parsed(request)
        key, uid = _key(pod), pod["metadata"]["uid"]
        if key in self.pods and self.pods[key]["metadata"].get("uid") != uid:
            self.remove(key)
        self.pods[key], self.statuses[key] = pod, running(pod)
        self._change(key, uid)
        return Reply(200, self.ways.body_of_writes)

    def _update(self, request: Request) -> Reply:
        pod = _parsed(request)
        key = self._known(_key(pod))
        self.pods[key] = pod
        if self.statuses[key]["phase"] == "Pending":
            self.report(key, running(pod))
        return Reply(200, self.ways.body_of_writes)

    def _delete(self, request: Request) -> Reply:
        pod = request.pod
        key = self._known(_key(pod))
        stored, sent = (found["metadata"].get("uid") for found in (self.pods[key], pod))
        if stored and stored != sent:
            raise Refused(404, "the pod has another UID")
        is_graceful = "gracefulDelete" in self.ways.extensions
        has_ended = self.statuses[key]["phase"] in ("Succeeded", "Failed")
        if not self.ways.deletes_slowly and (has_ended or not is_graceful):
            self.remove(key)
        return Reply(200, self.ways.body_of_writes)

    def _read(self, key: str) -> Object:
        pod = self.pods[key]
        metadata = {name: value for name, value in pod["metadata"].items() if name != "managedFields"}
        return {**pod, "metadata": metadata, "status": self.statuses[key]}

    def _named(self, request: Request) -> str:
        namespace, name = (request.query.get(field) for field in ("namespace", "name"))
        if not namespace or not name:
            raise Refused(400, "namespace and name are required")
        return self._known(f"{namespace}/{name}")

    def _known(self, key: str) -> str:
        if key not in self.pods:
            raise Refused(404, "unknown pod")
        return key

    def _logs(self, request: Request) -> Reply:
        query = request.query
        if not self.ways.log_options:
            return Reply(200, "".join(logs.last_lines(self.log, query.get("tail"))).encode(), logs.PLAIN_TEXT)
        key = self._known(f"{query.get('namespace')}/{query.get('podName')}")
        if query.get("containerName") not in {c["name"] for c in self.pods[key]["spec"]["containers"]}:
            raise Refused(404, "unknown container")
        if message := logs.invalid_option(query):
            raise Refused(400, message)
        text = logs.selected_log(self.log, query)
        return Reply(200, self._followed(text, key) if "follow" in query else text, logs.PLAIN_TEXT)

    def _put_volumes(self, request: Request) -> Reply:
        """Check the volumes, and keep the last version of each."""
        sent = request.pod
        names = [volume["name"] for volume in sent["volumes"]]
        paths = [(volume["name"], file["path"]) for volume in sent["volumes"] for file in volume["files"]]
        files = [file for volume in sent["volumes"] for file in volume["files"]]
        if (
            not sent["metadata"].get("uid")
            or len({*names}) < len(names)
            or len({*paths}) < len(paths)
            or not all(re.fullmatch("[a-z0-9-]+", name) for name in names)
            or not all(re.fullmatch(r"(?!\.\.|/).+", file["path"]) for file in files)
            or not all(0 <= file["mode"] <= 0o777 and " " not in file["data"] for file in files)
        ):
            raise Refused(400, "the volumes are not valid")
        there = self.volumes.setdefault(sent["metadata"]["uid"], {})
        there.update({volume["name"]: volume for volume in sent["volumes"]})
        return Reply(200, self.ways.body_of_writes)

    def _pod_stats(self, _: Request) -> Reply:
        self._seconds += 1
        entries = [pod_stats(self.pods[key], self.statuses[key], self._seconds) for key in self.pods]
        self.usage.update({entry["podRef"]["uid"]: entry for entry in entries})
        return json_reply([entry for entry in entries if entry["containers"]])

    def _node_stats(self, _: Request) -> Reply:
        self._seconds += 1
        return json_reply(node_stats(self._seconds))

    async def _followed(self, text: bytes, key: str) -> AsyncGenerator[bytes, None]:
        yield text
        while key in self.pods:
            await self._changed()

    async def _pod_statuses(self, query: dict[str, str]) -> Reply:
        since, wait = query.get("since", "0"), query.get("wait", "0")
        if not since.isdigit() or not re.fullmatch(r"\d+(\.\d+)?", wait):
            raise Refused(400, "since, wait: not a number")
        try:
            async with asyncio.timeout(float(wait)):
                while int(since) == self._revision:
                    await self._changed()
        except TimeoutError:
            pass
        news = {(key, uid): gone for revision, key, uid, gone in self._changes if revision > int(since)}
        statuses = [
            {**_reference(key), "uid": uid, "status": self.statuses[key]}
            for (key, uid), gone in news.items()
            if not gone
        ]
        deleted = [self._deleted(key, uid) for (key, uid), gone in news.items() if gone and int(since)]
        return json_reply({"revision": self._revision, "statuses": statuses, "deleted": deleted})

    def _deleted(self, key: str, uid: str) -> Object:
        reference: Object = {**_reference(key), "uid": uid}
        is_graceful = "gracefulDelete" in self.ways.extensions
        return {**reference, "status": self._last_statuses[uid]} if is_graceful else reference

    def _change(self, key: str, uid: str, *, gone: bool = False) -> None:
        self._revision += 1
        self._changes.append((self._revision, key, uid, gone))
        self._wake()

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
    """Serve a provider for the duration of the block."""
    provider = StubProvider(ways)
    await provider.start()
    try:
        yield provider
    finally:
        await provider.stop()


def _parsed(request: Request) -> Object:
    if len(request.content) > LARGEST_BODY:
        raise Refused(413, "the body is too large")
    if not (pod := request.pod):
        raise Refused(400, "the body is not JSON")
    for part, field in (("metadata", "namespace"), ("metadata", "name"), ("spec", "containers")):
        if not pod[part].get(field):
            raise Refused(400, f"{part}.{field}: required")
    return pod


def _key(pod: Object) -> str:
    metadata = pod.get("metadata", {})
    return f"{metadata.get('namespace')}/{metadata.get('name')}"


def _reference(key: str) -> dict[str, str]:
    namespace, _, name = key.partition("/")
    return {"namespace": namespace, "name": name}
