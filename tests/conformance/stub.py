"""A provider of the contract in memory, with every extension, for tests to break."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from conformance.checks.http import ENDPOINTS
from conformance.client import Target

TOKEN = "a-token-of-the-stub"
LARGEST = 2 * 1024 * 1024
LINES = [f"line {number}" for number in range(1, 6)]
SINCE = "2026-11-25T08:00:00Z"

PodJSON = dict[str, Any]


class Request(NamedTuple):
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def pod(self) -> PodJSON:
        """The pod in the body; an empty one where there is none."""
        try:
            pod: PodJSON = json.loads(self.body)
        except ValueError:
            return {}
        return pod


class Reply(NamedTuple):
    code: int
    body: bytes | Iterator[bytes] = b""
    headers: dict[str, str] = {}  # noqa: RUF012 - nobody changes it
    phrase: str | None = None

    @property
    def data(self) -> Any:
        """The JSON in the body."""
        assert isinstance(self.body, bytes)
        return json.loads(self.body)

    @property
    def text(self) -> str:
        assert isinstance(self.body, bytes)
        return self.body.decode()


class Refused(Exception):
    def __init__(self, code: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.code = code
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


def json_reply(value: object, code: int = 200, **headers: str) -> Reply:
    return Reply(code, json.dumps(value).encode(), {"Content-Type": "application/json", **headers})


class Stub:
    """The provider. Each pod is kept as it came, with the time and the revision from which it is so."""

    def __init__(self) -> None:
        self.pods: dict[tuple[str, str], PodJSON] = {}
        self.started: dict[str, str] = {}
        self.deleted: list[tuple[int, PodJSON]] = []
        self.revisions: dict[str, int] = {}
        self.revision = 0
        self.changed = threading.Condition()
        self.stopped = threading.Event()

    def answer(self, request: Request) -> Reply:
        """Answer a request as the contract says."""
        try:
            self._check_access(request)
            return self._route(request)
        except Refused as exc:
            error = {"error": {"code": exc.code, "message": str(exc)}}
            return json_reply(error, exc.code, **exc.headers)

    def status(self, pod: PodJSON) -> PodJSON:
        started = self.started[pod["metadata"]["uid"]]
        return {
            "phase": "Running",
            "startTime": started,
            "podIP": "198.18.0.7",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": started}],
            "containerStatuses": [
                {
                    "name": container["name"],
                    "image": container["image"],
                    "ready": True,
                    "restartCount": 0,
                    "state": {"running": {"startedAt": started}},
                }
                for container in pod["spec"]["containers"]
            ],
        }

    def put(self, pod: PodJSON) -> None:
        """Have a pod, and tell of it."""
        metadata = pod["metadata"]
        key, uid = (metadata["namespace"], metadata["name"]), metadata["uid"]
        with self.changed:
            old = self.pods.get(key)
            self.started.setdefault(uid, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
            self.pods[key] = pod
            if old != pod:
                self.revision += 1
                self.revisions[uid] = self.revision
                self.changed.notify_all()

    def remove(self, key: tuple[str, str]) -> None:
        with self.changed:
            self.revision += 1
            self.deleted.append((self.revision, self.pods.pop(key)))
            self.changed.notify_all()

    def _check_access(self, request: Request) -> None:
        if request.path in ("/", "/healthz", "/readyz"):
            return
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            raise Refused(401, "a token is needed", WWW_Authenticate="Bearer")
        if request.method == "POST" and "origin" in request.headers:
            raise Refused(403, "not from this page")

    def _route(self, request: Request) -> Reply:
        path = "/" + request.path.lstrip("/")
        verbs = {endpoint: verb for verb, endpoint in ENDPOINTS}
        if verbs.get(path, "GET") != request.method:
            raise Refused(405, "not with this verb", Allow=verbs[path])
        views: dict[str, Callable[[Request], Reply]] = {
            "/createPod": self._create,
            "/updatePod": self._update,
            "/deletePod": self._delete,
            "/getPod": lambda request: json_reply(self._read(self._find(request))),
            "/getPodStatus": lambda request: json_reply(self.status(self._find(request))),
            "/getPods": lambda _: json_reply([self._read(pod) for pod in [*self.pods.values()]]),
            "/getContainerLogs": self._logs,
            "/podStatuses": self._changes,
        }
        if path in views:
            return views[path](request)
        if path in FACTS:
            return json_reply(FACTS[path])
        raise Refused(404, "there is no such path")

    def _read(self, pod: PodJSON) -> PodJSON:
        return {**pod, "status": self.status(pod)}

    def _find(self, request: Request) -> PodJSON:
        namespace, name = (request.query.get(field) for field in ("namespace", "name"))
        if not namespace or not name:
            raise Refused(400, "namespace and name are needed")
        return self._known((namespace, name))

    def _known(self, key: tuple[str, str]) -> PodJSON:
        if key not in self.pods:
            raise Refused(404, "there is no such pod")
        return self.pods[key]

    def _create(self, request: Request) -> Reply:
        self.put(self._parse(request))
        return Reply(200)

    def _update(self, request: Request) -> Reply:
        pod = self._parse(request)
        self._known((pod["metadata"]["namespace"], pod["metadata"]["name"]))
        self.put(pod)
        return Reply(200)

    def _delete(self, request: Request) -> Reply:
        metadata = request.pod.get("metadata", {})
        key = metadata.get("namespace", ""), metadata.get("name", "")
        if self._known(key)["metadata"]["uid"] != metadata["uid"]:
            raise Refused(404, "there is another pod of this name")
        self.remove(key)
        return Reply(200)

    def _parse(self, request: Request) -> PodJSON:
        if len(request.body) > LARGEST:
            raise Refused(413, "too large")
        if not (pod := request.pod):
            raise Refused(400, "the body is no JSON")
        for part, field in (("metadata", "namespace"), ("metadata", "name"), ("spec", "containers")):
            if not pod[part].get(field):
                raise Refused(400, f"{part}.{field}: required")
        pod["metadata"].pop("managedFields", None)
        pod.pop("status", None)
        for container in pod["spec"]["containers"]:
            container.get("env", []).sort(key=lambda variable: variable["name"])
        return pod

    def _logs(self, request: Request) -> Reply:
        query = request.query
        pod = self._known((query.get("namespace", ""), query.get("podName", "")))
        if query.get("containerName") not in {container["name"] for container in pod["spec"]["containers"]}:
            raise Refused(404, "there is no such container")
        for name, pattern in (("tail", r"-?\d+"), ("limitBytes", r"[1-9]\d*"), ("sinceSeconds", r"[1-9]\d*")):
            if not re.fullmatch(pattern, query.get(name, "1")):
                raise Refused(400, f"{name}: not such a number")
        since = query.get("sinceTime", SINCE)
        if not since.endswith("Z") or {"sinceTime", "sinceSeconds"} <= set(query) or "previous" in query:
            raise Refused(400, "nothing can be given of that")
        lines = LINES if since <= SINCE else []
        tail = int(query.get("tail", "-1"))
        lines = lines[-tail:] if tail > 0 else lines if tail < 0 else []
        stamp = f"{SINCE} " if "timestamps" in query else ""
        text = "".join(f"{stamp}{line}\n" for line in lines).encode()
        plain = {"Content-Type": "text/plain; charset=utf-8"}
        if "follow" in query:
            return Reply(200, self._followed(text, pod), plain)
        return Reply(200, text[: int(query.get("limitBytes", LARGEST))], plain)

    def _followed(self, text: bytes, pod: PodJSON) -> Iterator[bytes]:
        yield text
        with self.changed:
            self.changed.wait_for(lambda: pod not in self.pods.values(), 30)

    def _changes(self, request: Request) -> Reply:
        since, wait = (request.query.get(name, "0") for name in ("since", "wait"))
        if not since.isdigit() or not wait.isdigit():
            raise Refused(400, "not a number")
        with self.changed:
            self.changed.wait_for(lambda: self.revision > int(since), int(wait))
            told = [pod for pod in self.pods.values() if self.revisions[pod["metadata"]["uid"]] > int(since)]
            gone = [pod for revision, pod in self.deleted if revision > int(since)]
            return json_reply(
                {
                    "revision": self.revision,
                    "statuses": [{**_identity(pod), "status": self.status(pod)} for pod in told],
                    "deleted": [_identity(pod) for pod in gone],
                }
            )


FACTS: dict[str, Any] = {
    "/": {},
    "/healthz": {},
    "/readyz": {},
    "/capacity": {"cpu": "4", "memory": "8Gi", "pods": "100"},
    "/nodeConditions": [
        {"type": "Ready", "status": "True", "lastHeartbeatTime": SINCE, "lastTransitionTime": SINCE}
    ],
    "/nodeAddresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
    "/openapi.json": {"openapi": "3.1.0", "paths": {path: {verb.lower(): {}} for verb, path in ENDPOINTS}},
}


def _identity(pod: PodJSON) -> dict[str, str]:
    return {name: pod["metadata"][name] for name in ("namespace", "name", "uid")}


@contextmanager
def serving(stub: Stub, answer: Callable[[Stub, Request], Reply] = Stub.answer) -> Iterator[Target]:
    """Serve a stub, or what answers in its place, on a port of its own for the time of a block."""

    class Handler(_Handler):
        def reply_to(self, request: Request) -> Reply:
            return answer(stub, request)

    server = _Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield Target("127.0.0.1", server.server_address[1], token=TOKEN)
    finally:
        stub.stopped.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def reply_to(self, request: Request) -> Reply:
        raise NotImplementedError

    def _serve(self) -> None:
        _, target, _ = self.requestline.split()
        query = parse_qs(urlsplit(f"http://stub{target}").query)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(
            self.command,
            target.partition("?")[0],
            {name: found[0] for name, found in query.items()},
            headers,
            body,
        )
        self._write(self.reply_to(request))

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815

    def _write(self, reply: Reply) -> None:
        self.send_response_only(reply.code, reply.phrase)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if isinstance(reply.body, bytes):
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in reply.body:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Write nothing."""
