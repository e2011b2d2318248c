"""Requests that wait for their turn share a commit; each is acknowledged after it, and fails alone."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import orjson
import pytest
from sqlalchemy import event

from app.audit import Caller
from app.core.errors import DatabaseUnavailable, InvalidRequest, NotFound
from app.db.engine import Database
from app.db.models import AuditEvent, Fleet
from app.kubernetes.manifest import Manifest
from app.kubernetes.pod import PodReference
from app.pods import group_commit
from app.pods.service import PodService
from app.pods.transaction import FleetTransaction
from app.pods.writer import PodWriter
from app.services import Services
from tests.app.web.conftest import on_sqlite_alone, rows
from tests.pods import a_pod
from tests.waiting import eventually, write_under_way

CALLER = Caller(request_id="req-1", address="127.0.0.1", user_agent="tests")


@pytest.fixture
def pods(services: Services) -> PodService:
    """Return a service whose node has the pod `old`."""
    services.pods.create(manifest("old"), CALLER)
    return services.pods


def manifest(name: str, *, uid: str | None = None) -> Manifest:
    return Manifest.parse(orjson.dumps(a_pod(name, uid=uid or f"uid-of-{name}")))


def create(pods: PodService, name: str, *, uid: str | None = None) -> Callable[[], None]:
    return lambda: pods.create(manifest(name, uid=uid), CALLER)


def delete(pods: PodService, name: str) -> Callable[[], None]:
    return lambda: pods.delete(PodReference(namespace="default", name=name), CALLER)


def gathered(pods: PodService, database_url: str, *calls: Callable[[], None]) -> list[BaseException | None]:
    """Make calls in threads, in this order, while the node is locked; return what each raised."""
    queue = pods._writes._queue
    with ThreadPoolExecutor(len(calls)) as pool:
        with write_under_way(database_url):
            futures = []
            for call in calls:
                futures.append(pool.submit(call))
                eventually(lambda: len(queue) == len(futures))
        return [future.exception() for future in futures]


def names(pods: PodService) -> list[str]:
    return [pod["metadata"]["name"] for pod in orjson.loads("".join(pods.list()))]


def test_waiting_requests_are_one_commit(
    services: Services, pods: PodService, database_url: str, database: Database
) -> None:
    commits: list[object] = []
    event.listen(services.database.engine, "commit", commits.append)
    singles = [create(pods, f"web-{number}") for number in range(4)]

    def batch() -> None:
        pods.create_all([manifest("web-4"), manifest("web-5")], CALLER)

    assert gathered(pods, database_url, *singles, batch, delete(pods, "old")) == [None] * 6

    assert len(commits) == 1
    assert names(pods) == [f"web-{number}" for number in range(6)]
    assert [row["revision"] for row in rows(database, AuditEvent)] == list(range(1, 9))
    assert rows(database, Fleet)[0]["revision"] == 8


def test_a_request_of_a_group_fails_alone(pods: PodService, database_url: str) -> None:
    raised = gathered(
        pods,
        database_url,
        create(pods, "web-0"),
        delete(pods, "unknown"),
        create(pods, "web-1", uid="uid-of-web-0"),
        delete(pods, "web-0"),
        create(pods, "web-2"),
    )

    assert [type(error) for error in raised] == [type(None), NotFound, InvalidRequest, type(None), type(None)]
    assert names(pods) == ["old", "web-2"]


def test_a_fault_in_a_group_fails_alone(
    pods: PodService, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = PodWriter.create

    def fail(writer: PodWriter, pod: Manifest, **options: str | None) -> None:
        real(writer, pod, **options)
        if pod.pod.metadata.name == "web-1":
            raise RuntimeError("a bug")

    monkeypatch.setattr(PodWriter, "create", fail)

    raised = gathered(pods, database_url, *(create(pods, f"web-{number}") for number in range(3)))

    assert [str(error) for error in raised] == ["None", "a bug", "None"]
    assert names(pods) == ["old", "web-0", "web-2"]


def test_no_request_is_acknowledged_without_its_commit(
    pods: PodService, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: FleetTransaction) -> None:
        raise DatabaseUnavailable("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(FleetTransaction, "_finish", fail)
        raised = gathered(pods, database_url, *(create(pods, f"web-{number}") for number in range(3)))

    assert [str(error) for error in raised] == ["the disk is gone"] * 3
    assert len({id(error) for error in raised}) == 3
    create(pods, "web-3")()
    assert names(pods) == ["old", "web-3"]


@on_sqlite_alone
def test_a_group_is_limited(
    services: Services, pods: PodService, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "_LARGEST_GROUP", 3)
    commits: list[object] = []
    event.listen(services.database.engine, "commit", commits.append)

    assert gathered(pods, database_url, *(create(pods, f"web-{number}") for number in range(7))) == [None] * 7

    assert len(commits) == 3
    assert len(names(pods)) == 8


@on_sqlite_alone
def test_a_request_that_waits_too_long_is_refused(pods: PodService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "BUSY_TIMEOUT_SECONDS", 0.01)
    leads, goes_on = Event(), Event()
    real = PodWriter.create

    def block(writer: PodWriter, pod: Manifest, **options: str | None) -> None:
        leads.set()
        assert goes_on.wait(30)
        real(writer, pod, **options)

    monkeypatch.setattr(PodWriter, "create", block)
    with ThreadPoolExecutor(1) as pool:
        leader = pool.submit(create(pods, "web-0"))
        assert leads.wait(30)
        with pytest.raises(DatabaseUnavailable, match="the database is locked"):
            create(pods, "web-1")()
        goes_on.set()

    assert leader.exception() is None
    create(pods, "web-2")()
    assert names(pods) == ["old", "web-0", "web-2"]
