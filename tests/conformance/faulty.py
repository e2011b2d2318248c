"""Ways to answer wrongly, each a stub's answer with something changed."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from conformance.checks.http import ENDPOINTS
from tests.conformance.stub import FACTS, PodJSON, Reply, Request, Stub, json_reply

Faulty = Callable[[Stub, Request], Reply]


def fact(path: str, value: object) -> Faulty:
    """Answer something else on a path."""
    return lambda stub, request: json_reply(value) if request.path == path else stub.answer(request)


def condition(**fields: str) -> Faulty:
    """Answer with other fields in the one condition of the node."""
    return fact("/nodeConditions", [FACTS["/nodeConditions"][0] | fields])


def refusing(code: int, when: Callable[[Request], object], phrase: str | None = None) -> Faulty:
    """Answer some requests with a code, 200 perhaps, and nothing else."""

    def answer(stub: Stub, request: Request) -> Reply:
        return Reply(code, phrase=phrase) if when(request) else stub.answer(request)

    return answer


def ignoring(*parameters: str) -> Faulty:
    """Take no notice of parameters."""

    def answer(stub: Stub, request: Request) -> Reply:
        query = {name: value for name, value in request.query.items() if name not in parameters}
        return stub.answer(request._replace(query=query))

    return answer


def changing(path: str, change: Callable[[Reply], Reply]) -> Faulty:
    """Answer otherwise on a path, where all went well."""

    def answer(stub: Stub, request: Request) -> Reply:
        reply = stub.answer(request)
        return change(reply) if request.path == path and reply.code == 200 else reply

    return answer


def refusing_with(change: Callable[[Request, Reply], Reply]) -> Faulty:
    """Refuse with another answer."""

    def answer(stub: Stub, request: Request) -> Reply:
        reply = stub.answer(request)
        return change(request, reply) if reply.code >= 400 else reply

    return answer


def saying(change: Callable[[str], str], parameter: str) -> Faulty:
    """Give another log where a parameter is given."""

    def answer(stub: Stub, request: Request) -> Reply:
        reply = stub.answer(request)
        if request.path != "/getContainerLogs" or reply.code != 200 or parameter not in request.query:
            return reply
        return reply._replace(body=change(reply.text).encode())

    return answer


def with_status(**fields: object) -> Faulty:
    """Tell other fields in every status; None leaves one out."""

    def change(status: PodJSON) -> None:
        status.update(fields)
        for field in [name for name, value in status.items() if value is None]:
            del status[field]

    return changing_status(change)


def with_started_at(time: Callable[[], str]) -> Faulty:
    """Tell another `startedAt` of every container."""

    def change(status: PodJSON) -> None:
        status["containerStatuses"][0]["state"]["running"]["startedAt"] = time()

    return changing_status(change)


def changing_status(change: Callable[[PodJSON], object]) -> Faulty:
    """Tell other statuses of pods."""

    def answer(stub: Stub, request: Request) -> Reply:
        reply = stub.answer(request)
        if reply.code != 200 or request.path not in ("/getPod", "/getPodStatus", "/getPods"):
            return reply
        found: Any = reply.data
        for each in found if isinstance(found, list) else [found]:
            change(each["status"] if "metadata" in each else each)
        return json_reply(found)

    return answer


def without_extensions(stub: Stub, request: Request) -> Reply:
    """Have the ten paths and their parameters alone, as older providers do."""
    if request.path not in {path for _, path in ENDPOINTS}:
        return Reply(404)
    known = ("namespace", "name", "podName", "containerName", "tail")
    query = {name: value for name, value in request.query.items() if name in known}
    return stub.answer(request._replace(query=query))


def keyed_by(name: Callable[[str, str], str]) -> Faulty:
    """Keep pods under keys of another kind."""

    class Renaming(dict[tuple[str, str], PodJSON]):
        def __setitem__(self, key: tuple[str, str], pod: PodJSON) -> None:
            super().__setitem__(("", name(*key)), pod)

        def __getitem__(self, key: tuple[str, str]) -> PodJSON:
            return super().__getitem__(("", name(*key)))

        def __contains__(self, key: object) -> bool:
            return isinstance(key, tuple) and super().__contains__(("", name(*key)))

        def pop(self, key: tuple[str, str], *_: object) -> PodJSON:
            return super().pop(("", name(*key)))

    def answer(stub: Stub, request: Request) -> Reply:
        if not isinstance(stub.pods, Renaming):
            stub.pods = Renaming()
        return stub.answer(request)

    return answer


def takes_a_plus_for_a_plus(stub: Stub, request: Request) -> Reply:
    query = {name: value.replace(" ", "+") for name, value in request.query.items()}
    return stub.answer(request._replace(query=query))


def keeps_managed_fields(stub: Stub, request: Request) -> Reply:
    sent = request.pod.get("metadata", {})
    reply = stub.answer(request)
    if "managedFields" in sent and reply.code == 200:
        stub.pods[key(request)]["metadata"]["managedFields"] = sent["managedFields"]
    return reply


def refuses_a_pod_that_is_there(stub: Stub, request: Request) -> Reply:
    return Reply(409) if request.path == "/createPod" and key(request) in stub.pods else stub.answer(request)


def keeps_the_old_pod(stub: Stub, request: Request) -> Reply:
    return Reply(200) if request.path == "/createPod" and key(request) in stub.pods else stub.answer(request)


def starts_again_at_every_update(stub: Stub, request: Request) -> Reply:
    if request.path == "/updatePod":
        del stub.started[request.pod["metadata"]["uid"]]
    return stub.answer(request)


def creates_with_an_update(stub: Stub, request: Request) -> Reply:
    if request.path == "/updatePod":
        request = request._replace(method="POST", path="/createPod")
    return stub.answer(request)


def deletes_a_whole_namespace(stub: Stub, request: Request) -> Reply:
    if request.path != "/deletePod":
        return stub.answer(request)
    for namespace, name in [*stub.pods]:
        if namespace == key(request)[0]:
            stub.remove((namespace, name))
    return Reply(200)


def deletes_by_name(stub: Stub, request: Request) -> Reply:
    if request.path != "/deletePod" or key(request) not in stub.pods:
        return stub.answer(request)
    stub.remove(key(request))
    return Reply(200)


def believes_an_update() -> Faulty:
    told: dict[tuple[str, ...], PodJSON] = {}

    def answer(stub: Stub, request: Request) -> Reply:
        if request.path == "/updatePod":
            told[key(request)] = request.pod["status"]
        if request.path == "/getPodStatus" and (status := told.get(tuple(request.query.values()))):
            return json_reply(status)
        return stub.answer(request)

    return answer


def follows_for_ever(stub: Stub, request: Request) -> Reply:
    reply = stub.answer(request)

    def body() -> Iterator[bytes]:
        assert not isinstance(reply.body, bytes)
        yield next(reply.body)
        stub.stopped.wait()

    return reply._replace(body=body()) if "follow" in request.query else reply


def lets_every_page_write(stub: Stub, request: Request) -> Reply:
    headers = {name: value for name, value in request.headers.items() if name != "origin"}
    return stub.answer(request._replace(headers=headers))


def moves_the_transition(stub: Stub, request: Request) -> Reply:
    return condition(lastTransitionTime=now())(stub, request)


def key(request: Request) -> tuple[str, str]:
    """Which pod is in the body."""
    metadata = request.pod["metadata"]
    return metadata["namespace"], metadata["name"]


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
