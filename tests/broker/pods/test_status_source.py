"""When statuses are requested, with simulated time (looptime) and a scripted provider."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from broker.errors import ProviderError, ProviderUnavailable
from broker.kubernetes.objects import RawObject
from broker.pods.actions import UNKNOWN, PodVersion, ProviderPod
from broker.pods.provider_state import ProviderStates, Termination
from broker.pods.status_source import StatusSource
from broker.pods.store import PodStore
from broker.pods.workqueue import WorkQueue
from broker.provider import ProviderClient
from broker.provider.answer import Changes, DeletedPod, StatusChange
from tests.pods import a_pod

pytestmark = pytest.mark.looptime
KEY, UID = "default/web-0", "uid-1"
TAKEN_ON = PodVersion(UID, b"digest")
DOWN = ProviderUnavailable("down")


class Scripted(ProviderClient):
    """A provider with scripted responses, which blocks after the last one."""

    def __init__(
        self, *answers: Changes | ProviderError | None, status: bytes | ProviderError | None = b"{}"
    ) -> None:
        super().__init__("http://127.0.0.1:1")
        self.answers = list(answers)
        self.of_one = status
        self.requests: list[tuple[float, int | str, float]] = []
        self.asked_for_one: list[float] = []

    async def statuses_since(self, revision: int | str, *, wait: float) -> Changes | None:
        self.requests.append((round(asyncio.get_running_loop().time(), 3), revision, wait))
        if not self.answers:
            await asyncio.get_running_loop().create_future()
        match self.answers.pop(0):
            case ProviderError() as error:
                raise error
            case answer:
                return answer

    async def status(self, namespace: str, name: str) -> bytes | None:
        self.asked_for_one.append(round(asyncio.get_running_loop().time(), 3))
        if isinstance(self.of_one, ProviderError):
            raise self.of_one
        return self.of_one


class Followed:
    """A pod of a provider, with its source of statuses."""

    def __init__(self, provider: Scripted) -> None:
        self.store = PodStore()
        self.store.put(RawObject.parse(json.dumps(a_pod(uid=UID)).encode()))
        self.states = ProviderStates(self.store)
        self.states.get(KEY).record_written(TAKEN_ON)
        self.queue = WorkQueue()
        self.statuses = StatusSource(provider, self.states, self.queue, interval=5)

    def provider_pod(self) -> ProviderPod:
        """The pod that the provider has."""
        return self.states.get(KEY).pod

    @asynccontextmanager
    async def running(self, seconds: float) -> AsyncIterator[None]:
        task = asyncio.create_task(self.statuses.run())
        await asyncio.sleep(seconds)
        yield
        task.cancel()


def changes(revision: int, status: str | None = None, *, deleted: bool = False) -> Changes:
    statuses = [StatusChange("default", "web-0", UID, status=msgspec.Raw(status.encode()))] if status else []
    return Changes(revision, statuses, [DeletedPod("default", "web-0", UID)] if deleted else [])


async def test_pod_statuses_is_requested_from_the_last_revision() -> None:
    provider = Scripted(changes(7, '{"phase":"Pending"}'), changes(8, '{"phase":"Running"}'))
    followed = Followed(provider)
    async with followed.running(1):
        assert [request[1:] for request in provider.requests] == [(0, 0), (7, 50), (8, 50)]
        assert followed.states.get(KEY).status(UID) == b'{"phase":"Running"}'
        assert len(followed.queue) == 1
        assert followed.statuses.supports_push
    assert provider.asked_for_one == []


async def test_a_pod_is_not_waited_for_at_revision_0() -> None:
    provider = Scripted(changes(0), changes(0))
    followed = Followed(provider)
    followed.states.get(KEY).mark_absent()
    async with followed.running(0.01):
        followed.states.get(KEY).record_written(TAKEN_ON)  # the provider had no pod until now, and restarts
        await asyncio.sleep(1)
        assert [request[1:] for request in provider.requests[:2]] == [(0, 0), (0, 0)]
        assert followed.provider_pod() is UNKNOWN


async def test_immediate_empty_responses_are_polled_each_second() -> None:
    provider = Scripted(*[changes(0)] * 10)
    async with Followed(provider).running(4.5):
        assert [time for time, *_ in provider.requests] == [0, 0.02, 1.02, 2.02, 3.02, 4.02]
        assert [wait for *_, wait in provider.requests] == [0, 50, 50, 50, 50, 50]


async def test_a_provider_without_push_is_polled_per_pod() -> None:
    provider = Scripted(*[None] * 10)
    followed = Followed(provider)
    async with followed.running(12):
        assert provider.asked_for_one == [0, 5, 10]
        assert not followed.statuses.supports_push
        assert len(followed.queue) == 1, "the same status again is no news"


async def test_a_pod_missing_twice_is_lost() -> None:
    followed = Followed(Scripted(*[None] * 10, status=None))
    async with followed.running(1):
        assert followed.provider_pod() == TAKEN_ON
    async with followed.running(6):
        assert followed.provider_pod() is UNKNOWN
        assert len(followed.queue) == 1


async def test_a_pod_reported_as_deleted_is_lost() -> None:
    followed = Followed(Scripted(changes(7, "{}"), changes(8, deleted=True)))
    async with followed.running(1):
        assert followed.provider_pod() is UNKNOWN


async def test_a_pod_absent_from_the_list_is_lost() -> None:
    followed = Followed(Scripted(changes(7)))
    async with followed.running(1):
        assert followed.provider_pod() is UNKNOWN


async def test_the_last_status_of_an_absent_pod_is_read() -> None:
    left = Changes(3, [], [DeletedPod("default", "web-0", UID, status=msgspec.Raw(b'{"phase":"Failed"}'))])
    provider = Scripted(changes(0, "{}"), changes(3), left)  # the pod leaves while the provider is at revision 0
    followed = Followed(provider)
    followed.states.get(KEY).begin_termination(Termination(UID, 30))
    async with followed.running(2):
        assert [request[1:] for request in provider.requests] == [(0, 0), (0, 0), (1, 0), (3, 50)]
        assert followed.provider_pod() is None
        assert followed.states.get(KEY).status(UID) == b'{"phase":"Failed"}'


async def test_reading_the_last_statuses_of_absent_pods_records_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    both = Changes(7, [*changes(7, '{"phase":"Running"}').statuses], [DeletedPod("default", "web-1", "uid-2")])
    provider = Scripted(changes(6, '{"phase":"Pending"}'), both)  # the pod starts between the two answers
    followed = Followed(provider)
    followed.states.get("default/web-1").begin_termination(Termination("uid-2", 30))
    followed.store.put(RawObject.parse(json.dumps(a_pod("web-1", uid="uid-2")).encode()))
    recorded: list[bytes] = []
    monkeypatch.setattr(followed.states, "record_status", lambda key, uid, status: recorded.append(status))
    async with followed.running(2):
        assert [request[1:] for request in provider.requests] == [(0, 0), (1, 0), (6, 50)]
        assert recorded == [b'{"phase":"Pending"}']


async def test_a_lower_revision_causes_a_full_list() -> None:
    provider = Scripted(changes(7, "{}"), changes(2), changes(2))
    followed = Followed(provider)
    async with followed.running(2):
        assert [request[1] for request in provider.requests] == [0, 7, 0, 2]
        assert followed.provider_pod() is UNKNOWN


async def test_an_outage_causes_a_full_list_and_retries() -> None:
    provider = Scripted(changes(7, "{}"), DOWN, DOWN, DOWN, changes(10, '{"phase":"Running"}'))
    followed = Followed(provider)
    tried: list[float] = []

    async def fail(_: str) -> None:
        tried.append(asyncio.get_running_loop().time())
        raise DOWN

    working = asyncio.create_task(followed.queue.run(fail, workers=1))
    followed.queue.add("default/other")
    await asyncio.sleep(1000)  # the back-off has reached five minutes
    before = len(tried)
    async with followed.running(2):
        assert [request[1] for request in provider.requests] == [0, 7, 0, 0, 0, 10]
        pauses = [
            after[0] - one[0] for one, after in zip(provider.requests[1:], provider.requests[2:], strict=False)
        ]
        assert pauses[:3] == pytest.approx([0.1, 0.2, 0.4])
        assert len(tried) > before
    working.cancel()


async def test_an_outage_during_polling_is_backed_off() -> None:
    provider = Scripted(*[None] * 4, status=DOWN)
    followed = Followed(provider)
    async with followed.running(0.5):
        assert [time for time, *_ in provider.requests] == [0, 0.1, 0.3]
        assert followed.provider_pod() == TAKEN_ON


class Overtaken(Scripted):
    """A provider whose long poll after the complete answer ends when the test says so."""

    def __init__(self, *, status: bytes) -> None:
        super().__init__(changes(1), status=status)
        self.long_poll: asyncio.Future[Changes] = asyncio.get_running_loop().create_future()
        self.single: asyncio.Future[bytes] | None = None

    async def statuses_since(self, revision: int | str, *, wait: float) -> Changes | None:
        if revision == 1 and not self.answers:
            self.requests.append((round(asyncio.get_running_loop().time(), 3), revision, wait))
            return await self.long_poll
        return await super().statuses_since(revision, wait=wait)

    async def status(self, namespace: str, name: str) -> bytes | None:
        return await self.single if self.single else await super().status(namespace, name)


READY, NOT_READY = b'{"phase":"Running","ready":true}', b'{"phase":"Running","ready":false}'
FAILED = b'{"phase":"Failed"}'


@pytest.mark.parametrize(
    ("reported", "expected", "reads"), [(NOT_READY, READY, 2), (READY, READY, 1), (FAILED, FAILED, 1)]
)
async def test_a_status_read_during_a_long_poll_is_not_replaced_by_an_older_one(
    reported: bytes, expected: bytes, reads: int
) -> None:
    provider = Overtaken(status=READY)
    followed = Followed(provider)
    followed.states.get(KEY).mark_absent()  # the complete answer is without the pod, which is created afterwards
    async with followed.running(1):
        followed.states.get(KEY).record_written(TAKEN_ON)
        await followed.statuses.poll(KEY, UID)
        provider.long_poll.set_result(changes(2, reported.decode()))
        await asyncio.sleep(1)
        assert followed.states.get(KEY).status(UID) == expected
        assert len(provider.asked_for_one) == reads
        assert provider.requests[-1][1:] == (2, 50)


@pytest.mark.parametrize(("single", "expected"), [(NOT_READY, READY), (FAILED, FAILED)])
async def test_a_long_poll_answered_meanwhile_is_not_replaced_by_an_older_single_status(
    single: bytes, expected: bytes
) -> None:
    provider = Overtaken(status=b"")
    followed = Followed(provider)
    followed.states.get(KEY).mark_absent()
    async with followed.running(1):
        followed.states.get(KEY).record_written(TAKEN_ON)
        provider.single = asyncio.get_running_loop().create_future()
        poll = asyncio.create_task(followed.statuses.poll(KEY, UID))
        await asyncio.sleep(0)
        provider.long_poll.set_result(changes(2, READY.decode()))
        await asyncio.sleep(1)
        provider.single.set_result(single)
        assert (await poll).changed is (single is FAILED)
        assert followed.states.get(KEY).status(UID) == expected
