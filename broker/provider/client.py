"""Requests of the contract, and of its extensions.

Only the status code of an answer to a write is used, and the outcomes of a batch: reason phrases, bodies and
content types differ between providers.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from http import HTTPStatus
from typing import Any

import msgspec

from broker.errors import ProviderUnavailable
from broker.provider.answer import (
    NO_SUCH_PATH,
    NOT_NOW,
    Answer,
    Changes,
    NodeDetails,
    check,
    decode,
    is_outage,
    is_success,
)
from broker.provider.batch import BatchSender
from broker.provider.connections import ProviderConnections
from broker.single_flight import SingleFlight
from broker.streaming.websocket import WebSocketProvider
from broker.types import Object

_BATCH, _VOLUMES = "batch", "podVolumes"
_WITH_POD_STATUSES = ("podStatuses", "logs")
"""The extensions that a provider with `/podStatuses` has, where it has no `/extensions`."""


class ProviderClient:
    """Client of one provider.

    Every method may raise :class:`ProviderUnavailable` or :class:`ProviderRefused`; none retries.

    Args:
        url: URL of the provider, such as `http://127.0.0.1:3000`, with an optional path.
        token: bearer token; None for none.
        timeout: seconds for a complete answer.
        observe: is called after each request with its path, the status of the answer (0: no answer) and its
            duration in seconds; not for logs, whose duration is that of the reader.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout: float = 30,
        observe: Callable[[str, int, float], None] = lambda *_: None,
    ) -> None:
        self._http = ProviderConnections(url, token=token, timeout=timeout, observe=self._observed)
        self._timeout = timeout
        self._observe = observe
        self._extensions: Mapping[str, Any] | None = None
        self._extensions_read = SingleFlight(self._read_extensions)
        self._has_pod_statuses: bool | None = None
        self._creates = self._batch_sender("POST", "/createPod")
        self._deletes = self._batch_sender("DELETE", "/deletePod")

    async def create(self, pod: Object) -> None:
        """Create a pod, together with others where the provider has the extension `batch`."""
        check(await self._creates.send(msgspec.json.encode(pod)), sent=pod)

    async def update(self, pod: Object) -> None:
        """Update a pod."""
        check(await self._http.request("PUT", "/updatePod", body=msgspec.json.encode(pod)), sent=pod)

    async def delete(self, pod: Object) -> bool:
        """Delete a pod, together with others where the provider has the extension `batch`.

        A pod may have grown past the provider's limit since its create. It is then deleted by its metadata alone.

        Returns:
            False where the provider has no such pod.
        """
        answer = await self._deletes.send(msgspec.json.encode(pod))
        if answer.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            answer = await self._deletes.send(msgspec.json.encode(_reference(pod)))
        if answer.status == HTTPStatus.NOT_FOUND:
            return False
        check(answer, sent=pod)
        return True

    async def put_volumes(self, pod: Object, volumes: Sequence[msgspec.Struct]) -> bool:
        """Send volumes of a pod, each with all of its files; one by one where all are too large for a request.

        Errors are without the provider's message, which may quote the files.

        Args:
            pod: the pod.
            volumes: the volumes, as in the extension `podVolumes`.

        Returns:
            False where the provider does not have the extension.
        """
        if not await self.supports(_VOLUMES):
            return False
        metadata = {name: pod["metadata"][name] for name in ("namespace", "name", "uid")}
        spec = {"nodeName": pod["spec"]["nodeName"]}
        body = msgspec.json.encode({"metadata": metadata, "spec": spec, "volumes": volumes})
        answer = await self._http.request("PUT", "/podVolumes", body=body)
        if answer.status in NO_SUCH_PATH:
            self._forget(_VOLUMES)
            return False
        if answer.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE and len(volumes) > 1:
            return all([await self.put_volumes(pod, [volume]) for volume in volumes])
        check(answer._replace(body=b""))
        return True

    async def get(self, namespace: str, name: str) -> Object | None:
        """Read a pod; None where the provider has no such pod, or no such path."""
        body = await self._find("/getPod", namespace, name)
        if body is None:
            return None
        pod = decode(body, dict[str, Any], "/getPod")
        if not _is_pod(pod):
            raise ProviderUnavailable("the provider's answer to /getPod is not a pod")
        return pod

    async def status(self, namespace: str, name: str) -> bytes | None:
        """Read the status of a pod, in JSON; None where the provider has no such pod."""
        body = await self._find("/getPodStatus", namespace, name)
        if body is not None:
            decode(body, dict[str, msgspec.Raw], "/getPodStatus")
        return body

    async def pods(self) -> list[Object]:
        """Read every pod."""
        return [pod for pod in await self._list("/getPods") if _is_pod(pod)]

    async def capacity(self, node: str | None = None) -> dict[str, str]:
        """Read the capacity of a node, by default of the provider's own: resource name → quantity."""
        return decode(await self._get("/capacity", node=node), dict[str, str], "/capacity")

    async def conditions(self, node: str | None = None) -> list[Object]:
        """Read the conditions of a node, by default of the provider's own, each a `NodeCondition`."""
        return await self._list("/nodeConditions", node)

    async def addresses(self, node: str | None = None) -> list[Object]:
        """Read the addresses of a node, by default of the provider's own, each a `NodeAddress`."""
        return await self._list("/nodeAddresses", node)

    async def node(self, name: str) -> NodeDetails:
        """Read what only a provider with the extension `nodes` says of a node."""
        return decode(await self._get("/node", node=name), NodeDetails, "/node")

    async def pod_stats(self) -> bytes | None:
        """Read the usage of every pod, in JSON; None where the provider does not have the extension `podStats`.

        The sums over the containers of a pod are not asked for: a third of the answer.
        """
        return await self._get("/podStats", sums="false") if await self.supports("podStats") else None

    async def node_stats(self) -> bytes | None:
        """Read the usage of the provider's machine, in JSON; None where it lacks the extension `nodeStats`."""
        return await self._get("/nodeStats") if await self.supports("nodeStats") else None

    async def statuses_since(self, revision: int | str, *, wait: float) -> Changes | None:
        """Wait until the status of any pod changes.

        Args:
            revision: revision of the last answer; 0 for the status of every pod, at once.
            wait: seconds after which the provider answers without a change; at most 60.

        Returns:
            None where the provider does not have `/podStatuses`, which is not among the contract's ten paths.
        """
        query = {"since": str(revision), "wait": f"{wait:g}"}
        answer = await self._http.request("GET", "/podStatuses", query=query, timeout=self._timeout + wait)
        changes = None
        if answer.status not in NO_SUCH_PATH:
            check(answer)
            with suppress(ProviderUnavailable):  # a server that answers every path with some page
                changes = decode(answer.body, Changes, "/podStatuses")
        self._has_pod_statuses = changes is not None
        return changes

    async def supports(self, extension: str) -> bool:
        """Return whether the provider has an extension of the contract, such as `gracefulDelete`.

        The provider is asked at the first use, and again after each outage: it may be another version since. Those
        who want to know at the same time share one request.
        """
        if self._extensions is None:
            self._extensions = await self._extensions_read.result()
        if self._extensions or extension not in _WITH_POD_STATUSES:
            return extension in self._extensions
        if self._has_pod_statuses is None:
            await self.statuses_since(0, wait=0)
        return bool(self._has_pod_statuses)

    def logs(
        self, namespace: str, pod: str, container: str, **query: str
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Read the log of a container in chunks, until the provider ends the answer.

        Args:
            namespace: namespace of the pod.
            pod: name of the pod.
            container: name of the container.
            query: `tail`, and further parameters where the provider supports them.

        Raises:
            ProviderError: also while reading.
        """
        where = {"namespace": namespace, "podName": pod, "containerName": container, **query}
        return self._http.read("/getContainerLogs", where)

    async def stream(self, path: str, query: Sequence[tuple[str, str]]) -> WebSocketProvider:
        """Open a WebSocket for a session.

        Args:
            path: `/exec`, `/attach` or `/portForward`.
            query: parameters, repeated ones in their order.

        Raises:
            ProviderRefused: the provider answers anything but an upgrade, with its status and message.
            ProviderUnavailable: no answer.
        """
        return await self._http.connect(path, query)

    async def close(self) -> None:
        """Close every connection."""
        await self._http.close()

    async def _read_extensions(self) -> Mapping[str, Any]:
        """Read `/extensions`: name → version; empty where the provider has no such path."""
        answer = await self._http.request("GET", "/extensions")
        if answer.status in NOT_NOW or is_outage(answer.status):
            check(answer)
        if is_success(answer.status):
            with suppress(ProviderUnavailable):  # a server that answers every path with some page
                return decode(answer.body, dict[str, Any], "/extensions")
        return {}

    def _batch_sender(self, method: str, path: str) -> BatchSender:
        async def send(path: str, body: bytes) -> Answer:
            return await self._http.request(method, path, body=body)

        return BatchSender(
            send,
            path,
            is_supported=partial(self.supports, _BATCH),
            mark_unsupported=partial(self._forget, _BATCH),
        )

    def _forget(self, extension: str) -> None:
        known = self._extensions or {}
        self._extensions = {name: version for name, version in known.items() if name != extension}

    async def _find(self, path: str, namespace: str, name: str) -> bytes | None:
        """Read an object of a pod; None for 404, and for a success with an empty body, as from some providers."""
        answer = await self._http.request("GET", path, query={"namespace": namespace, "name": name})
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        check(answer)
        return answer.body if answer.body.strip() not in (b"", b"null") else None

    async def _get(self, path: str, **query: str | None) -> bytes:
        given = {name: value for name, value in query.items() if value}
        answer = await self._http.request("GET", path, query=given)
        check(answer)
        return answer.body

    async def _list(self, path: str, node: str | None = None) -> list[Object]:
        body = await self._get(path, node=node)
        # Go encodes a nil slice as `null`.
        return decode(body, list[dict[str, Any]], path) if body.strip() != b"null" else []

    def _observed(self, path: str, status: int, seconds: float) -> None:
        if status == 0 or is_outage(status):
            self._extensions = self._has_pod_statuses = None
        self._observe(path, status, seconds)


def _reference(pod: Object) -> Object:
    """Return a pod that has only what a delete needs: identity and grace period."""
    names = ("namespace", "name", "uid", "deletionTimestamp", "deletionGracePeriodSeconds")
    metadata = {name: value for name, value in pod["metadata"].items() if name in names}
    containers = [{"name": container["name"]} for container in pod["spec"]["containers"]]
    return {"metadata": metadata, "spec": {"containers": containers}}


def _is_pod(pod: Object) -> bool:
    metadata = pod.get("metadata")
    return isinstance(metadata, dict) and bool(metadata.get("name") and metadata.get("namespace"))
