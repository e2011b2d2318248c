"""EventRecorder on pods."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from broker.kubernetes.client import Client
from broker.node_info import NodeInfo
from broker.pods import events as pod_events
from broker.pods.events import EventRecorder
from tests.broker.apiserver import ApiServer
from tests.broker.nodes import dependencies_of
from tests.broker.pods.conftest import Object, bound, events
from tests.conftest import Clock


@pytest.fixture
async def recorder(client: Client, clock: Clock) -> AsyncIterator[EventRecorder]:
    """Recorder that writes events."""
    recorder = EventRecorder(dependencies_of(client, NodeInfo("web"), clock=clock))
    task = asyncio.create_task(recorder.run())
    yield recorder
    task.cancel()


@pytest.fixture
def pod(api: ApiServer) -> Object:
    return api.store.create("pods", bound())


async def test_an_event_contains_pod_reason_and_source(
    api: ApiServer, recorder: EventRecorder, pod: Object
) -> None:
    recorder.record(pod, "Warning", "ProviderCreateFailed", "the pod is not created")
    (event,) = await api.until(lambda: events(api, "ProviderCreateFailed"))
    assert event["metadata"]["namespace"] == "default"
    assert event["involvedObject"] == {
        "apiVersion": "v1",
        "kind": "Pod",
        "namespace": "default",
        "name": "web-0",
        "uid": pod["metadata"]["uid"],
    }
    assert (event["type"], event["message"], event["count"]) == ("Warning", "the pod is not created", 1)
    assert event["source"] == {"component": "virtual-kubelet-web", "host": "web"}
    assert event["firstTimestamp"] == event["lastTimestamp"] == "2026-11-22T08:46:38Z"


async def test_events_on_two_containers_are_two(api: ApiServer, recorder: EventRecorder, pod: Object) -> None:
    for name in ("web", "log", "web"):
        recorder.record(pod, "Normal", "Started", "Container started", field_path=f"spec.containers{{{name}}}")
    written = await api.until(lambda: found if len(found := events(api, "Started")) == 2 else None)
    paths = {event["involvedObject"]["fieldPath"]: event["count"] for event in written}
    assert paths == {"spec.containers{web}": 2, "spec.containers{log}": 1}


async def test_repeated_events_are_counted_and_written_each_minute(
    api: ApiServer, recorder: EventRecorder, pod: Object, clock: Clock
) -> None:
    recorder.record(pod, "Normal", "Again", "it happens")
    await api.until(lambda: events(api, "Again"))
    for _ in range(6):
        clock.advance(10)
        recorder.record(pod, "Normal", "Again", "it happens")
    (event,) = await api.until(lambda: [event for event in events(api, "Again") if event["count"] > 1])
    assert event["count"] == 7
    assert event["firstTimestamp"] == "2026-11-22T08:46:38Z"
    assert event["lastTimestamp"] == "2026-11-22T08:47:38Z"
    assert len(api.requests_to("PATCH", "/events/")) == 1


async def test_a_late_repetition_does_not_shorten_the_minute(
    api: ApiServer, recorder: EventRecorder, pod: Object, clock: Clock
) -> None:
    def record(reason: str) -> None:
        recorder.record(pod, "Normal", reason, "it happens")

    record("Again")
    await api.until(lambda: events(api, "Again"))
    clock.advance(1)
    record("Again")
    clock.advance(60)
    record("Other")
    await api.until(lambda: events(api, "Again")[0]["count"] == 2)
    clock.advance(1)
    record("Again")
    record("Last")
    await api.until(lambda: events(api, "Last"))
    assert len(api.requests_to("PATCH", "/events/")) == 1


async def test_the_last_repetition_is_written_after_a_minute(
    api: ApiServer, client: Client, pod: Object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pod_events, "_WRITE_INTERVAL", timedelta(seconds=0.1))
    recorder = EventRecorder(dependencies_of(client, NodeInfo("web")))
    task = asyncio.create_task(recorder.run())
    recorder.record(pod, "Normal", "Again", "it happens")
    await api.until(lambda: events(api, "Again"))
    recorder.record(pod, "Normal", "Again", "it happens")
    recorder.record(pod, "Normal", "Again", "it happens")
    await api.until(lambda: events(api, "Again")[0]["count"] == 3)
    task.cancel()


async def test_an_expired_event_is_recreated(
    api: ApiServer, recorder: EventRecorder, pod: Object, clock: Clock
) -> None:
    recorder.record(pod, "Normal", "Again", "it happens")
    (event,) = await api.until(lambda: events(api, "Again"))
    api.store.delete("events", event["metadata"]["name"], "default")
    clock.advance(3600)
    recorder.record(pod, "Normal", "Again", "it happens")
    (event,) = await api.until(lambda: events(api, "Again"))
    assert event["count"] == 1


@pytest.mark.parametrize(("status", "reason"), [(403, "Forbidden"), (500, "InternalError")])
async def test_an_event_that_cannot_be_written_is_dropped(
    api: ApiServer, recorder: EventRecorder, pod: Object, status: int, reason: str
) -> None:
    """500 is the answer where an admission webhook fails: the events of other namespaces do not wait for it."""
    with api.failing(status, reason=reason, path="/events"):
        recorder.record(pod, "Normal", "First", "one")
        await api.until(lambda: api.requests_to("POST", "/events"))
    recorder.record(pod, "Normal", "Second", "two")
    await api.until(lambda: events(api, "Second"))
    assert not events(api, "First")


async def test_events_of_a_deleted_namespace_are_dropped(api: ApiServer, client: Client, pod: Object) -> None:
    recorder = EventRecorder(dependencies_of(client, NodeInfo("web")))
    for number in range(3):
        recorder.record(pod, "Normal", "Gone", str(number))
    recorder.record({"metadata": {"name": "web-1", "namespace": "other"}}, "Normal", "Kept", "one")
    with api.failing(404, reason="NotFound", path="/namespaces/default/events"):
        task = asyncio.create_task(recorder.run())
        await api.until(lambda: events(api, "Kept"))
        task.cancel()
    assert len(api.requests_to("POST", "/namespaces/default/events")) == 1


@pytest.mark.parametrize("is_carried_out", [False, True])
async def test_an_event_without_answer_is_resent(
    api: ApiServer, recorder: EventRecorder, pod: Object, is_carried_out: bool
) -> None:
    with api.failing(503, path="/events", times=1, lost=is_carried_out):
        recorder.record(pod, "Normal", "Created", "one")
        await api.until(lambda: len(api.requests_to("POST", "/events")) == 2)
    recorder.record(pod, "Normal", "Second", "two")
    await api.until(lambda: events(api, "Second"))
    assert len(events(api, "Created")) == 1


async def test_an_event_is_resent_after_a_reset(api: ApiServer, recorder: EventRecorder, pod: Object) -> None:
    with api.hanging(path="/events"):
        recorder.record(pod, "Normal", "Created", "one")
        await api.until(lambda: api.requests_to("POST", "/events"))
        await api.stop()
    await api.start()
    assert len(await api.until(lambda: events(api, "Created"))) == 1


async def test_an_event_is_resent_for_two_minutes(
    api: ApiServer, recorder: EventRecorder, pod: Object, clock: Clock
) -> None:
    def reasons() -> list[str]:
        return [request.body["reason"] for request in api.requests_to("POST", "/events")]

    with api.failing(503, path="/events"):
        recorder.record(pod, "Normal", "Created", "one")
        await api.until(lambda: reasons().count("Created") == 2)
        clock.advance(120)
        recorder.record(pod, "Normal", "Second", "two")
        await api.until(lambda: reasons().count("Second") == 1)
    await api.until(lambda: events(api, "Second"))
    assert not events(api, "Created")


async def test_events_wait_for_statuses(
    api: ApiServer, client: Client, pod: Object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pod_events, "_INTERVAL", 0)
    counts: list[int] = []

    def is_busy() -> bool:
        counts.append(len(events(api, "Created")))
        return len(counts) < 4

    recorder = EventRecorder(dependencies_of(client, NodeInfo("web")), is_busy=is_busy)
    recorder.record(pod, "Normal", "Created", "one")
    task = asyncio.create_task(recorder.run())
    await api.until(lambda: events(api, "Created"))
    task.cancel()
    assert counts == [0] * 4


async def test_normal_events_displace_no_warning(
    api: ApiServer, client: Client, pod: Object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pod_events, "_WAITING_LIMIT", 2)
    dropped: list[str] = []
    recorder = EventRecorder(dependencies_of(client, NodeInfo("web")), on_drop=dropped.append)
    recorder.record(pod, "Normal", "Created", "1")
    recorder.record(pod, "Warning", "Failed", "1")
    for number in (2, 3):
        recorder.record(pod, "Normal", "Created", str(number))
    task = asyncio.create_task(recorder.run())
    await api.until(lambda: len(events(api, "Created")) == 2)
    task.cancel()
    assert dropped == ["Normal"]
    written = [request.body for request in api.requests_to("POST", "/events")]
    assert [(event["type"], event["message"]) for event in written] == [
        ("Warning", "1"),
        ("Normal", "2"),
        ("Normal", "3"),
    ]
