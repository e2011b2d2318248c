"""HTTP client of the provider under test, with the pods that one check creates."""

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
"""Seconds that a check waits for a container to start or for a pod to terminate."""

_COMMAND = ["sh", "-c", "for i in 1 2 3 4 5; do echo line $i; done; exec sleep 3600"]
_SWEEPS = 5


class Target(NamedTuple):
    """Address of the provider.

    Attributes:
        path: prefix of its paths; usually empty.
        token: bearer token to send; None for none.
    """

    host: str
    port: int
    path: str = ""
    token: str | None = None

    @classmethod
    def parse(cls, url: str, *, token: str | None = None) -> Self:
        """Parse a URL such as `http://127.0.0.1:3000`.

        Raises:
            ValueError: the URL is not a plain HTTP address; the message names the problem.
        """
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("expected a URL such as http://127.0.0.1:3000 (plain HTTP)")
        return cls(parts.hostname, parts.port or 80, parts.path.rstrip("/"), token)

    @property
    def url(self) -> str:
        """URL of the provider, without the token."""
        return f"http://{self.host}:{self.port}{self.path}"


class ProviderClient:
    """Client of the provider, with a namespace for the pods of one check.

    Every method that sends a request may raise `WireError` or `OSError`.

    Attributes:
        target: address of the provider.
        namespace: namespace of the pods of this check.
        last: the last response; None before the first request.
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
        """Return a Pod as the original broker sends it, with a new UID; :meth:`clean_up` deletes it.

        Args:
            name: name of the pod.
            namespace: namespace of the pod; the check's own if None.
            metadata: additional metadata.
            container: additional fields of its container, which is named `web`.
            spec: additional fields of its spec.
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
        """Send a GET request with a query."""
        return self.request("GET", f"{path}?{urlencode(query)}" if query else path)

    def create(self, pod: object) -> Answer:
        """Send `POST /createPod`."""
        return self.request("POST", "/createPod", pod)

    def update(self, pod: object) -> Answer:
        """Send `PUT /updatePod`."""
        return self.request("PUT", "/updatePod", pod)

    def delete(self, pod: object) -> Answer:
        """Send `DELETE /deletePod`."""
        return self.request("DELETE", "/deletePod", pod)

    def request(self, method: str, target: str, body: object = None, **headers: str) -> Answer:
        """Send a request and return the response; redirects are not followed.

        Args:
            method: such as `GET`.
            target: path and query.
            body: bytes, sent unchanged, or a value to encode as JSON; no body if None.
            headers: with underscores for hyphens; an `Authorization` replaces the token.
        """
        request = self.prepare(method, target, body, **headers)
        if self._connection is None or self._connection.has_answer():  # closed by the provider
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
        """Return a request for sending on another connection."""
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

    def clean_up(self) -> None:
        """Delete every pod of this check without a grace period, as far as the provider is able to."""
        for pod in self._pods:
            with suppress(OSError, WireError):
                self.delete({**pod, "metadata": {**pod["metadata"], "deletionGracePeriodSeconds": 0}})
        with suppress(
            OSError, WireError, ValueError, TypeError, KeyError, AttributeError
        ):  # the list has entries that are not pods
            for _ in range(_SWEEPS):
                if not (remaining := self._remaining()):
                    break
                for pod in remaining:
                    self.delete(pod)
        self._close()

    def _remaining(self) -> list[PodJSON]:
        """Return the remaining pods of this check, including duplicates and pods stored without a name."""
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
    """Return the query parameters that identify a pod."""
    return {"namespace": pod["metadata"]["namespace"], "name": pod["metadata"]["name"]}


def wait_until(condition: Callable[[], T | None]) -> T | None:
    """Poll a condition until it is true, and return its value; None if it is not within `PATIENCE_SECONDS`."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (value := condition()):
        if time.monotonic() > deadline:
            return None
        time.sleep(0.02)
    return value


def wait_a_second() -> None:
    """Wait until the current time in whole seconds has changed."""
    time.sleep(1.05)
