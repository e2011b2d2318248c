"""The provider under test, as one check sees it, and what the check has left there."""

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, Self, TypeVar
from urllib.parse import urlencode, urlsplit
from uuid import uuid4

from conformance.wire import Answer, Connection, Request, WireError

T = TypeVar("T")

PodJSON = dict[str, Any]

PATIENCE_SECONDS = 30
"""How long a check waits for what a provider may take its time for: a container that starts, a pod that ends."""

_COMMAND = ["sh", "-c", "for i in 1 2 3 4 5; do echo line $i; done; exec sleep 3600"]
_SWEEPS = 5


class Target(NamedTuple):
    """Where the provider is.

    Attributes:
        path: what its paths begin with; empty for most.
        token: the bearer token that it wants.
    """

    host: str
    port: int
    path: str = ""
    token: str | None = None

    @classmethod
    def parse(cls, url: str, *, token: str | None = None) -> Self:
        """Read an address such as `http://127.0.0.1:3000`.

        Raises:
            ValueError: it is no such address; the message says what is wrong.
        """
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("an address is such as http://127.0.0.1:3000; the contract is plain HTTP")
        return cls(parts.hostname, parts.port or 80, parts.path.rstrip("/"), token)

    @property
    def url(self) -> str:
        """The address, without the token."""
        return f"http://{self.host}:{self.port}{self.path}"


class Provider:
    """The provider, and a namespace in it that is one check's own.

    Every method that asks it may raise `WireError` or `OSError`.

    Attributes:
        target: where it is.
        namespace: where the pods of this check are.
        last: the last answer that came back.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.namespace = f"conformance-{uuid4().hex[:12]}"
        self.last: Answer | None = None
        self._connection: Connection | None = None
        self._pods: list[PodJSON] = []

    def pod(
        self,
        name: str = "web",
        *,
        namespace: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        container: Mapping[str, Any] | None = None,
        **spec: Any,
    ) -> PodJSON:
        """Make a Pod as the original broker sends it, with another UID each time; it is let go in the end.

        Args:
            name: its name.
            namespace: its namespace; the check's own where None.
            metadata: more of its metadata.
            container: more of its container, whose name is `web`.
            spec: more of its spec.
        """
        pod: PodJSON = {
            "metadata": {
                "name": name,
                "namespace": namespace or self.namespace,
                "uid": str(uuid4()),
                "resourceVersion": "611",
                "creationTimestamp": "2026-11-22T08:46:38Z",
                "labels": {"app": "web"},
                **(metadata or {}),
            },
            "spec": {
                "containers": [
                    {
                        "name": "web",
                        "image": "busybox:1.37",
                        "command": _COMMAND,
                        "env": [{"name": "FIRST", "value": "1"}, {"name": "SECOND", "value": "2"}],
                        "resources": {},
                        **(container or {}),
                    }
                ],
                "restartPolicy": "Always",
                "terminationGracePeriodSeconds": 1,
                **spec,
            },
            "status": {"phase": "Pending"},
        }
        self._pods.append(pod)
        return pod

    def get(self, path: str, **query: object) -> Answer:
        """GET with a query."""
        return self.request("GET", f"{path}?{urlencode(query)}" if query else path)

    def create(self, pod: object) -> Answer:
        """`POST /createPod`."""
        return self.request("POST", "/createPod", pod)

    def update(self, pod: object) -> Answer:
        """`PUT /updatePod`."""
        return self.request("PUT", "/updatePod", pod)

    def delete(self, pod: object) -> Answer:
        """`DELETE /deletePod`."""
        return self.request("DELETE", "/deletePod", pod)

    def request(self, method: str, target: str, body: object = None, **headers: str) -> Answer:
        """Send a request and read the answer.

        Args:
            method: such as `GET`.
            target: path and query; no redirect is followed.
            body: bytes, sent as they are, or what becomes JSON; none where None.
            headers: with underscores for hyphens; an `Authorization` takes the place of the token.
        """
        request = self.prepare(method, target, body, **headers)
        if self._connection is None or self._connection.has_answer():  # it has been closed meanwhile
            self._close()
            self._connection = self.connect()
        try:
            self.last = self._connection.exchange(request)
        except (OSError, WireError) as exc:
            self.last = Answer("", [], str(exc).encode(), request)
            self._close()
            raise
        if self.last.ends_connection:
            self._close()
        return self.last

    def prepare(self, method: str, target: str, body: object = None, **headers: str) -> Request:
        """Make a request, to send on another connection."""
        sent = {"Authorization": f"Bearer {self.target.token}"} if self.target.token else {}
        if body is not None:
            sent["Content-Type"] = "application/json"
            body = body if isinstance(body, bytes) else json.dumps(body, separators=(",", ":")).encode()
        sent.update((name.replace("_", "-"), value) for name, value in headers.items())
        sent = {name: value for name, value in sent.items() if value}
        return Request(method, self.target.path + target, sent, body)

    def connect(self) -> Connection:
        """Open another connection."""
        return Connection(self.target.port, self.target.host, timeout=PATIENCE_SECONDS)

    def leave(self) -> None:
        """Let every pod of this check go, as well as this provider can do that."""
        for pod in self._pods:
            with suppress(OSError, WireError):
                self.delete(pod)
        with suppress(
            OSError, WireError, ValueError, TypeError, KeyError, AttributeError
        ):  # a list of what are no pods
            for _ in range(_SWEEPS):
                if not (left := self._left()):
                    break
                for pod in left:
                    self.delete(pod)
        self._close()

    def _left(self) -> list[PodJSON]:
        """Find pods of this check that are still there: doubles, and nameless ones that a broken body became."""
        marks = (self.namespace, *(pod["metadata"]["uid"] for pod in self._pods))
        return [
            pod
            for pod in json.loads(self.get("/getPods").body)
            if not pod["metadata"].get("name") or any(mark in str(pod["metadata"]) for mark in marks)
        ]

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def named(pod: PodJSON) -> dict[str, str]:
    """The query that asks for a pod."""
    return {"namespace": pod["metadata"]["namespace"], "name": pod["metadata"]["name"]}


def patiently(question: Callable[[], T | None]) -> T | None:
    """Ask until the answer is true, and give it; None where it is not within `PATIENCE_SECONDS`."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (answer := question()):
        if time.monotonic() > deadline:
            return None
        time.sleep(0.02)
    return answer


def let_a_second_pass() -> None:
    """Wait until a time in whole seconds that is taken anew is another one."""
    time.sleep(1.05)
