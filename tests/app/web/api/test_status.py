"""Statuses: those of the provider, with times that do not change."""

import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.app.web.conftest import Share, change, named, on_sqlite_alone, put_on
from tests.conftest import Clock, MakeApp
from tests.pods import a_container, a_pod
from tests.server import Client, Server
from tests.waiting import booted, eventually

LIES = {
    "phase": "Succeeded",
    "reason": "Evicted",
    "podIP": "203.0.113.7",
    "hostIP": "203.0.113.8",
    "startTime": "2001-01-01T00:00:00Z",
    "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": "2001-01-01T00:00:00Z"}],
    "containerStatuses": [
        {"name": "web", "ready": False, "restartCount": 99, "state": {"terminated": {"exitCode": 137}}}
    ],
    "qosClass": "Guaranteed",
    "aFieldOfTomorrow": "lies",
}


def times_in(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield every time in a document, by the field names of Kubernetes."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield from times_in(member, name)
    elif isinstance(value, list):
        for member in value:
            yield from times_in(member, key)
    elif value is not None and re.search(r"Time$|At$", key):
        yield key, value


@on_sqlite_alone
@pytest.mark.parametrize("lies", [LIES, {}, None, "Running", [1]], ids=["false", "empty", "null", "text", "list"])
def test_a_status_in_a_request_is_never_believed(make_app: MakeApp, lies: object) -> None:
    truthful, lied_to = make_app(node_name="one").test_client(), make_app(node_name="two").test_client()
    pod = a_pod()
    put_on(truthful, {**pod, "status": {"phase": "Pending"}})
    put_on(lied_to, {**pod, "status": lies})
    change(truthful, {**pod, "status": {"phase": "Running"}, "extra": 1})
    change(lied_to, {**pod, "status": lies, "extra": 1})

    assert lied_to.get("/getPods").data == truthful.get("/getPods").data


@on_sqlite_alone
def test_every_container_has_one_status(client: FlaskClient) -> None:
    pod = put_on(
        client,
        a_pod(containers=[a_container("web", image="nginx:1.27"), a_container("db", image="postgres:16")]),
    )

    [read] = client.get("/getPods").get_json()

    statuses = {status["name"]: status for status in read["status"]["containerStatuses"]}
    assert len(read["status"]["containerStatuses"]) == 2
    for container in pod["spec"]["containers"]:
        status = statuses[container["name"]]
        assert status["image"] == container["image"]
        assert status["ready"] is True
        assert status["restartCount"] == 0
        assert list(status["state"]) == ["running"]


@on_sqlite_alone
def test_times_are_rfc_3339_whole_seconds(client: FlaskClient) -> None:
    pod = put_on(client, a_pod(initContainers=[a_container("setup")]))

    times = [*times_in(client.get("/getPodStatus", query_string=named(pod)).get_json())]
    times += times_in(client.get("/nodeConditions").get_json())

    found = {name for name, _ in times}
    assert found == {"startTime", "startedAt", "finishedAt", "lastTransitionTime", "lastHeartbeatTime"}
    assert {time for _, time in times} == {"2026-11-22T08:46:38Z"}


def test_the_times_of_a_pod_stand_still(client: FlaskClient, clock: Clock) -> None:
    pod = put_on(client, a_pod())
    before = client.get("/getPodStatus", query_string=named(pod)).data

    for seconds in (1, 60, 3600, 86_400, 365 * 86_400):
        clock.advance(seconds)
        assert client.get("/getPodStatus", query_string=named(pod)).data == before


@pytest.mark.parametrize(
    "alter",
    [
        {"metadata": {"labels": {"app": "shop"}, "generation": 2}},
        {"ephemeralContainers": [], "activeDeadlineSeconds": 10**6},
    ],
    ids=["a label", "a deadline"],
)
def test_an_update_keeps_times(client: FlaskClient, clock: Clock, alter: dict[str, Any]) -> None:
    pod = put_on(client, a_pod())
    before = [*times_in(client.get("/getPodStatus", query_string=named(pod)).get_json())]
    clock.advance(90)

    change(client, a_pod(uid=pod["metadata"]["uid"], **alter))

    assert [*times_in(client.get("/getPodStatus", query_string=named(pod)).get_json())] == before


def test_the_start_delay_passes_without_anybody_doing_anything(make_app: MakeApp, clock: Clock) -> None:
    client = make_app(start_delay="5s").test_client()
    pod = put_on(client, a_pod())
    clock.advance(1)
    pending = client.get("/getPodStatus", query_string=named(pod)).get_json()
    clock.advance(3.999999)
    still_pending = client.get("/getPodStatus", query_string=named(pod)).get_json()
    clock.advance(0.000001)
    running = client.get("/getPodStatus", query_string=named(pod)).get_json()

    assert pending == still_pending
    assert (pending["phase"], running["phase"]) == ("Pending", "Running")
    assert pending["containerStatuses"][0]["state"] == {"waiting": {"reason": "ContainerCreating"}}
    assert running["containerStatuses"][0]["state"] == {"running": {"startedAt": "2026-11-22T08:46:43Z"}}
    assert pending["startTime"] == running["startTime"] == "2026-11-22T08:46:38Z"


def test_every_worker_gives_the_same_bytes(server: Server) -> None:
    pods = [a_pod(f"web-{number}") for number in range(4)]
    with connections(server) as clients:
        for client, pod in zip(clients, pods, strict=False):
            assert client.request("POST", "/createPod", pod).code == 200

        lists = {client.get("/getPods").body for client in clients}
        statuses = {client.get("/getPodStatus", **named(pods[0])).body for client in clients}

    assert len(lists) == len(statuses) == 1
    assert len(json.loads(lists.pop())) == len(pods)


def test_workers_share_the_transition_time(
    share: Share,
) -> None:
    with share(WORKERS="2") as server:
        with connections(server) as clients:
            [since] = {transitions(client) for client in clients}
            # Within a second, a new worker replaces the killed one.
            eventually(lambda: clients[0].get("/nodeConditions").json()[0]["lastHeartbeatTime"] > since[0])
        os.kill(booted(server, 2)[0], signal.SIGKILL)
        booted(server, 3)

        with connections(server) as clients:
            assert {transitions(client) for client in clients} == {since}


def transitions(client: Client) -> tuple[str, ...]:
    return tuple(condition["lastTransitionTime"] for condition in client.get("/nodeConditions").json())


@contextmanager
def connections(server: Server) -> Iterator[list[Client]]:
    """Yield enough connections that each worker has some: the kernel distributes them."""
    with ExitStack() as stack:
        yield [stack.enter_context(closing(server.client())) for _ in range(16)]
