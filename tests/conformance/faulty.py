"""Faulty responses: each function returns the stub provider's response with one change."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

from aiohttp import web

from conformance.checks.http import ENDPOINTS
from tests.stub_provider import Object, Reply, Request, StubProvider, json_reply, running
from tests.stub_provider.graceful import GracefulProvider
from tests.stub_provider.provider import NODE_STATE

Faulty = Callable[[StubProvider, Request], Awaitable[Reply]]


def returning(path: str, value: object) -> Faulty:
    """Return another value on a path."""

    async def answer(stub: StubProvider, request: Request) -> Reply:
        return json_reply(value) if request.path == path else await stub.answer(request)

    return answer


def condition(**fields: str) -> Faulty:
    """Return the node condition with other fields."""
    return returning("/nodeConditions", [NODE_STATE["/nodeConditions"][0] | fields])


def returning_status(code: int, when: Callable[[Request], object], phrase: str | None = None) -> Faulty:
    """Return an empty response with a status code to some requests."""

    async def answer(stub: StubProvider, request: Request) -> Reply:
        return Reply(code, phrase=phrase) if when(request) else await stub.answer(request)

    return answer


def ignoring(*parameters: str) -> Faulty:
    """Ignore query parameters."""

    async def answer(stub: StubProvider, request: Request) -> Reply:
        query = {name: value for name, value in request.query.items() if name not in parameters}
        return await stub.answer(request._replace(query=query))

    return answer


def changing(path: str, change: Callable[[Reply], Reply]) -> Faulty:
    """Change the successful responses on a path."""

    async def answer(stub: StubProvider, request: Request) -> Reply:
        reply = await stub.answer(request)
        return change(reply) if request.path == path and reply.code == 200 else reply

    return answer


def with_fields(path: str, **fields: object) -> Faulty:
    """Change fields of the object that is returned on a path."""
    return changing(path, lambda reply: json_reply({**reply.data, **fields}))


def changing_errors(change: Callable[[Request, Reply], Reply]) -> Faulty:
    """Change the error responses."""

    async def answer(stub: StubProvider, request: Request) -> Reply:
        reply = await stub.answer(request)
        return change(request, reply) if reply.code >= 400 else reply

    return answer


def changing_log(change: Callable[[str], str], parameter: str) -> Faulty:
    """Change the log that is returned for a parameter."""

    async def answer(stub: StubProvider, request: Request) -> Reply:
        reply = await stub.answer(request)
        if request.path != "/getContainerLogs" or reply.code != 200 or parameter not in request.query:
            return reply
        return reply._replace(body=change(reply.text).encode())

    return answer


def with_status(**fields: object) -> Faulty:
    """Change fields of every status; None removes the field."""

    def change(status: Object) -> None:
        status.update(fields)
        for field in [name for name, value in status.items() if value is None]:
            del status[field]

    return changing_status(change)


def with_started_at(time: Callable[[], str]) -> Faulty:
    """Change `startedAt` of every container."""

    def change(status: Object) -> None:
        status["containerStatuses"][0]["state"]["running"]["startedAt"] = time()

    return changing_status(change)


def changing_status(change: Callable[[Object], object]) -> Faulty:
    """Change every returned status."""

    async def answer(stub: StubProvider, request: Request) -> Reply:
        reply = await stub.answer(request)
        if reply.code != 200 or request.path not in ("/getPod", "/getPodStatus", "/getPods"):
            return reply
        found: Any = reply.data
        for each in found if isinstance(found, list) else [found]:
            change(each["status"] if "metadata" in each else each)
        return json_reply(found)

    return answer


def changing_usage(change: Callable[[Object], object]) -> Faulty:
    """Change every entry of `/podStats`."""

    def changed(reply: Reply) -> Reply:
        entries: Any = reply.data
        for entry in entries:
            change(entry)
        return json_reply(entries)

    return changing("/podStats", changed)


def changing_machine(change: Callable[[Object], object]) -> Faulty:
    """Change `/nodeStats`."""

    def changed(reply: Reply) -> Reply:
        found: Any = reply.data
        change(found)
        return json_reply(found)

    return changing("/nodeStats", changed)


async def keeps_usage(stub: StubProvider, request: Request) -> Reply:
    """Return the usage of pods that are gone."""
    reply = await stub.answer(request)
    return json_reply(list(stub.usage.values())) if request.path == "/podStats" else reply


async def runs_every_container(stub: StubProvider, request: Request) -> Reply:
    """Ignore references that are not resolved."""
    reply = await stub.answer(request)
    for key, pod in stub.pods.items():
        containers = [{**container, "env": []} for container in pod["spec"]["containers"]]
        stub.statuses[key] = running({"spec": {"containers": containers}})
    return reply


async def creates_only_the_first(stub: StubProvider, request: Request) -> Reply:
    """Create one pod of a batch."""
    if request.path != "/createPods":
        return await stub.answer(request)
    await stub.answer(request._replace(content=json.dumps(request.body[:1]).encode()))
    return json_reply([{"code": 200, "message": ""} for _ in request.body])


async def rejects_repeated_batch(stub: StubProvider, request: Request) -> Reply:
    """Reject a pod of a batch that exists."""
    known = set(stub.pods)
    reply = await stub.answer(request)
    if request.path != "/createPods" or reply.code != 200 or not known:
        return reply
    return json_reply([{"code": 409, "message": "the pod exists"} for _ in request.body])


async def without_extensions(stub: StubProvider, request: Request) -> Reply:
    """Implement the ten endpoints and their parameters only, as older providers do."""
    if request.path not in {path for _, path in ENDPOINTS}:
        return Reply(404)
    known = ("namespace", "name", "podName", "containerName", "tail")
    query = {name: value for name, value in request.query.items() if name in known}
    return await stub.answer(request._replace(query=query))


async def without_extensions_and_second_containers(stub: StubProvider, request: Request) -> Reply:
    """Implement the ten endpoints, and refuse a pod of two containers, as a queue of jobs may."""
    if request.path == "/createPod" and len(json.loads(request.content)["spec"]["containers"]) > 1:
        return json_reply({"error": {"code": 400, "message": "a job has one container"}}, 400)
    return await without_extensions(stub, request)


def starting_when_read() -> Faulty:
    """Start each pod at the second read of its status; all start when a pod `new` is created."""
    ready: dict[str, Object] = {}
    reads: list[str] = []

    async def answer(stub: StubProvider, request: Request) -> Reply:
        key = f"{request.query.get('namespace')}/{request.query.get('name')}"
        if request.path == "/getPodStatus":
            reads.append(key)
            if reads.count(key) == 2 and key in ready:
                stub.report(key, ready.pop(key))
        reply = await stub.answer(request)
        if request.path == "/createPod":
            metadata = json.loads(request.content)["metadata"]
            if metadata["name"] == "new":
                for other in stub.pods.keys() & ready.keys():
                    stub.report(other, ready.pop(other))
            key = f"{metadata['namespace']}/{metadata['name']}"
            ready[key] = stub.statuses[key]
            stub.statuses[key] = {"phase": "Pending", "startTime": ready[key]["startTime"]}
        return reply

    return answer


async def below_a_path(stub: StubProvider, request: Request) -> Reply:
    """Serve the endpoints below `/provider`."""
    return await stub.answer(request._replace(path=request.path.removeprefix("/provider")))


def keyed_by(name: Callable[[str, str], str]) -> Faulty:
    """Store pods under another key than namespace and name."""

    class Renaming(dict[str, Object]):
        def __setitem__(self, key: str, value: Object) -> None:
            super().__setitem__(name(*key.split("/")), value)

        def __getitem__(self, key: str) -> Object:
            return super().__getitem__(name(*key.split("/")) if "/" in key else key)

        def __contains__(self, key: object) -> bool:
            return isinstance(key, str) and super().__contains__(name(*key.split("/")))

        def pop(self, key: str, *default: Any) -> Any:
            return super().pop(name(*key.split("/")), *default)

    async def answer(stub: StubProvider, request: Request) -> Reply:
        if not isinstance(stub.pods, Renaming):
            stub.pods, stub.statuses = Renaming(), Renaming()
        return await stub.answer(request)

    return answer


async def reads_plus_literally(stub: StubProvider, request: Request) -> Reply:
    """Read `+` in a query literally."""
    query = {name: value.replace(" ", "+") for name, value in request.query.items()}
    return await stub.answer(request._replace(query=query))


async def keeps_managed_fields(stub: StubProvider, request: Request) -> Reply:
    """List pods with `managedFields`."""
    reply = await stub.answer(request)
    if request.path != "/getPods" or reply.code != 200:
        return reply
    return json_reply([{**pod, "status": stub.statuses[key]} for key, pod in stub.pods.items()])


async def rejects_repeated_create(stub: StubProvider, request: Request) -> Reply:
    """Reject the create of an existing pod."""
    return Reply(409) if _creates_an_existing_pod(stub, request) else await stub.answer(request)


async def ignores_repeated_create(stub: StubProvider, request: Request) -> Reply:
    """Ignore the create of an existing pod."""
    return Reply(200) if _creates_an_existing_pod(stub, request) else await stub.answer(request)


async def restarts_at_every_update(stub: StubProvider, request: Request) -> Reply:
    """Restart the containers at every update."""
    reply = await stub.answer(request)
    if request.path == "/updatePod" and reply.code == 200:
        stub.statuses[key(request)] = running(request.pod, now())
    return reply


async def creates_on_update(stub: StubProvider, request: Request) -> Reply:
    """Create the pod of an update."""
    if request.path == "/updatePod":
        request = request._replace(method="POST", path="/createPod")
    return await stub.answer(request)


async def deletes_the_namespace(stub: StubProvider, request: Request) -> Reply:
    """Delete all pods of the namespace."""
    if request.path != "/deletePod":
        return await stub.answer(request)
    for found in [*stub.pods]:
        if found.split("/")[0] == key(request).split("/")[0]:
            stub.remove(found)
    return Reply(200)


async def deletes_by_name(stub: StubProvider, request: Request) -> Reply:
    """Ignore the UID of a delete."""
    if request.path != "/deletePod" or key(request) not in stub.pods:
        return await stub.answer(request)
    stub.remove(key(request))
    return Reply(200)


async def ends_at_once(stub: StubProvider, request: Request) -> Reply:
    """Report a deleted pod as gone, whatever its container does."""
    reply = await stub.answer(request)
    assert isinstance(stub, GracefulProvider)
    stub.ending.clear()
    return reply


async def rejects_repeated_delete(stub: StubProvider, request: Request) -> Reply:
    """Reject the delete of a pod that is being deleted."""
    return Reply(409) if _is_ending(stub, request) else await stub.answer(request)


async def ignores_shorter_grace(stub: StubProvider, request: Request) -> Reply:
    """Ignore a delete of a pod that is being deleted."""
    return Reply(200) if _is_ending(stub, request) else await stub.answer(request)


async def starts_beside_the_ending_pod(stub: StubProvider, request: Request) -> Reply:
    """Start a pod although another of its name has not ended."""
    assert isinstance(stub, GracefulProvider)
    stub.starts_at_once = True
    return await stub.answer(request)


async def cancels_a_deletion(stub: StubProvider, request: Request) -> Reply:
    """Cancel a deletion by a create."""
    assert isinstance(stub, GracefulProvider)
    stub.cancels = True
    return await stub.answer(request)


async def stores_the_status_of_an_update(stub: StubProvider, request: Request) -> Reply:
    """Store the status of an update."""
    reply = await stub.answer(request)
    if request.path == "/updatePod" and reply.code == 200:
        stub.statuses[key(request)] = request.pod["status"]
    return reply


async def follows_forever(stub: StubProvider, request: Request) -> Reply:
    """Keep a followed log open after the deletion of the pod."""
    reply = await stub.answer(request)

    async def body() -> AsyncGenerator[bytes, None]:
        assert not isinstance(reply.body, bytes)
        yield await anext(reply.body)
        await asyncio.Event().wait()

    return reply._replace(body=body()) if "follow" in request.query else reply


async def accepts_every_origin(stub: StubProvider, request: Request) -> Reply:
    """Ignore the `Origin` of a write."""
    headers = {name: value for name, value in request.headers.items() if name != "origin"}
    return await stub.answer(request._replace(headers=headers))


async def changes_the_transition_time(stub: StubProvider, request: Request) -> Reply:
    """Return the current time as `lastTransitionTime` of the node condition."""
    return await condition(lastTransitionTime=now())(stub, request)


def key(request: Request) -> str:
    """Return namespace/name of the pod in the body."""
    metadata = request.pod["metadata"]
    return f"{metadata['namespace']}/{metadata['name']}"


def now() -> str:
    """Return the current time as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def no_chunks() -> AsyncGenerator[bytes, None]:
    """Yield nothing: a chunked body without content."""
    return
    yield b""


def _is_ending(stub: StubProvider, request: Request) -> bool:
    assert isinstance(stub, GracefulProvider)
    return request.path == "/deletePod" and request.pod["metadata"]["uid"] in stub.ending


def _creates_an_existing_pod(stub: StubProvider, request: Request) -> bool:
    return request.path == "/createPod" and key(request) in stub.pods


def changing_stream(change: Callable[[bytes], bytes | None]) -> Faulty:
    """Change every message of a stream; None drops it."""

    async def answer(stub: StubProvider, request: Request) -> Reply:
        reply = await stub.answer(request)
        if not (script := reply.script):
            return reply

        async def changed(socket: web.WebSocketResponse) -> None:
            send = socket.send_bytes

            async def send_changed(data: bytes) -> None:
                if (message := change(data)) is not None:
                    await send(message)

            with patch.object(socket, "send_bytes", send_changed):
                await script(socket)

        return reply._replace(script=changed)

    return answer
