"""Queries of the present and of past times: numbers and pages of pods, the audit log."""

from collections import Counter
from datetime import datetime
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event

from app.core.errors import InvalidRequest, NotFound
from app.db.engine import Database
from app.db.statement import Row
from app.pods.queries import EventFilter, Page, PodFilter, PodQueries, Sort
from tests.app.web.conftest import change, put_on
from tests.conftest import Clock, MakeApp
from tests.pods import a_container, a_pod

SORTS: list[Sort] = ["name", "newest", "oldest"]


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app(start_delay="10s")


@pytest.fixture
def inventory(app: Flask) -> PodQueries:
    found: PodQueries = app.extensions["services"].queries
    return found


def names(page: Page) -> list[str]:
    return [f"{row.namespace}/{row.name}" for row in page.rows]


def phases(inventory: PodQueries, at: datetime | None = None) -> dict[str, int]:
    found: Counter[str] = Counter()
    for row in inventory.phases(at):
        found[row.phase] += row.pods
    return dict(found)


def a_pod_that_requests(cpu: str, memory: str, **fields: Any) -> dict[str, Any]:
    return a_pod(containers=[a_container(resources={"requests": {"cpu": cpu, "memory": memory}})], **fields)


def test_node_at_a_past_time(client: FlaskClient, inventory: PodQueries, clock: Clock) -> None:
    before = clock()
    clock.advance(1)
    first = put_on(client, a_pod_that_requests("250m", "64Mi", name="first"))
    came = clock()
    clock.advance(20)
    put_on(client, a_pod_that_requests("1", "1Gi", name="second"))
    both = clock()
    clock.advance(5)
    client.delete("/deletePod", json=first)
    gone = clock()
    clock.advance(3600)

    assert [phases(inventory, at) for at in (before, came, both, gone, None)] == [
        {},
        {"Pending": 1},
        {"Pending": 1, "Running": 1},
        {"Pending": 1},
        {"Running": 1},
    ]
    assert [inventory.usage(at).cpu_millicores for at in (before, came, both, gone, None)] == [
        0, 250, 1250, 1000, 1000,
    ]  # fmt: skip
    assert inventory.usage(both).memory_bytes == 2**30 + 64 * 2**20
    assert [names(inventory.pods(PodFilter(), at=at)) for at in (before, came, both, gone)] == [
        [],
        ["default/first"],
        ["default/first", "default/second"],
        ["default/second"],
    ]
    [row] = inventory.pods(PodFilter(), at=came).rows
    assert (row.phase, row.reason, row.effective_at) == ("Pending", "ContainerCreating", came)


class TestPages:
    @pytest.fixture(autouse=True)
    def pods(self, client: FlaskClient, clock: Clock) -> None:
        for number in range(12):
            put_on(client, a_pod(f"web-{number * 5 % 12:02}", namespace=("b", "a", "a_")[number % 3]))
            if number % 4:  # some are created at the same time
                clock.advance(1)

    @pytest.mark.parametrize("sort", SORTS)
    @pytest.mark.parametrize("limit", [1, 5, 12])
    @pytest.mark.parametrize("is_past", [False, True], ids=["now", "then"])
    def test_have_every_pod_once_in_the_order(
        self, inventory: PodQueries, clock: Clock, sort: Sort, limit: int, *, is_past: bool
    ) -> None:
        at = clock() if is_past else None
        rows: list[Row] = []
        after = None
        while True:
            page = inventory.pods(PodFilter(), at=at, sort=sort, after=after, limit=limit)
            assert 0 < len(page.rows) <= limit
            rows += page.rows
            after = page.after
            if after is None:
                break

        keys = [(row.namespace, row.name) if sort == "name" else (row.created_at, row.id) for row in rows]
        assert len(set(keys)) == 12
        assert keys == sorted(keys, reverse=sort == "newest")

    def test_have_only_what_is_wanted(self, client: FlaskClient, inventory: PodQueries, clock: Clock) -> None:
        def found(**wanted: str) -> list[str]:
            return names(inventory.pods(PodFilter(**wanted)))

        assert {name.partition("/")[0] for name in found(namespace="a")} == {"a"}
        assert [name.partition("/")[2] for name in found(name="-05")] == ["web-05"]
        assert [name.partition("/")[2] for name in found(name="EB-05")] == ["web-05"]
        assert found(name="%") == found(name="web_05") == found(namespace="c") == []
        clock.advance(60)
        put_on(client, a_pod("late"))
        assert found(phase="Pending") == ["default/late"]
        assert len(found(phase="Running")) == 12
        assert found(phase="Running", namespace="a", name="web-05") == [
            name for name in found(namespace="a") if name == "a/web-05"
        ]

    def test_page_continues_after_a_deleted_pod(self, client: FlaskClient, inventory: PodQueries) -> None:
        every = names(inventory.pods(PodFilter()))
        page = inventory.pods(PodFilter(), limit=4)
        namespace, name = names(page)[-1].split("/")
        client.delete("/deletePod", json={"metadata": {"namespace": namespace, "name": name}})

        assert names(inventory.pods(PodFilter(), after=page.after)) == every[4:]

    def test_begin_behind_nothing_else(self, inventory: PodQueries) -> None:
        with pytest.raises(InvalidRequest, match="after"):
            inventory.pods(PodFilter(), after=10**17)

    @pytest.mark.parametrize("sort", SORTS)
    @pytest.mark.parametrize("is_past", [False, True], ids=["now", "then"])
    @pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
    def test_are_read_in_the_order_of_an_index(
        self, inventory: PodQueries, database: Database, clock: Clock, sort: Sort, app: Flask, *, is_past: bool
    ) -> None:
        plans: list[str] = []

        @event.listens_for(app.extensions["services"].database.engine, "before_cursor_execute")
        def explain(connection: Any, cursor: Any, statement: str, parameters: Any, *_: object) -> None:
            if "ORDER BY pods" in statement and "LIMIT" in statement:
                plan = connection.connection.cursor().execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
                plans.append("\n".join(row[3] for row in plan))

        first = inventory.pods(PodFilter(), sort=sort, limit=3)
        inventory.pods(PodFilter(), at=clock() if is_past else None, sort=sort, after=first.after, limit=3)

        assert len(plans) == 2
        for plan in plans:
            assert "TEMP B-TREE" not in plan, plan
            assert plan.startswith("SEARCH pods USING"), plan


def test_deleted_pod_is_found_by_uid(client: FlaskClient, inventory: PodQueries, clock: Clock) -> None:
    first = put_on(client, a_pod("web"))
    clock.advance(20)
    second = put_on(client, a_pod("web"))  # replaces the first

    record = inventory.pod(first["metadata"]["uid"])

    assert record.deleted_at == clock()
    assert [interval.status["phase"] for interval in inventory.statuses(record)] == [
        "Pending",
        "Pending",
        "Running",
        "Succeeded",
    ]
    assert [other.uid for other in inventory.namesakes(record)] == [second["metadata"]["uid"]]
    with pytest.raises(NotFound, match="was ever"):
        inventory.pod("nobody")


class TestTheAudit:
    def test_is_told_from_the_newest_on(self, client: FlaskClient, inventory: PodQueries, clock: Clock) -> None:
        pod = put_on(client, a_pod("web"))
        clock.advance(1)
        change(client, {**pod, "metadata": {**pod["metadata"], "labels": {"app": "other"}}})
        later = clock()
        clock.advance(1)
        put_on(client, a_pod("other", namespace="b"))
        client.delete("/deletePod", json=a_pod("web"))
        client.delete("/deletePod", json=pod)

        def verbs(wanted: EventFilter = EventFilter(), **more: Any) -> list[str]:  # noqa: B008 - it does not change
            return [row.verb for row in inventory.events(wanted, **more).rows]

        assert verbs() == ["delete", "delete", "create", "update", "create"]
        assert verbs(at=later) == ["update", "create"]
        assert verbs(EventFilter(namespace="b")) == ["create"]
        assert verbs(EventFilter(verb="delete")) == ["delete", "delete"]
        assert verbs(EventFilter(verb="delete", refused=True)) == ["delete"]
        assert verbs(EventFilter(uid=pod["metadata"]["uid"])) == ["delete", "update", "create"]
        page = inventory.events(EventFilter(), limit=3)
        assert [row.verb for row in inventory.events(EventFilter(), after=page.after).rows] == ["update", "create"]
