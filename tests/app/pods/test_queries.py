"""Queries of the present and of past times: numbers of pods, and the rows of one."""

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.audit.service import AuditFilter
from app.core.errors import NotFound
from app.pods.queries import NodePods, PodQueries
from tests.app.web.conftest import put_on
from tests.conftest import Clock, MakeApp, services_of
from tests.pods import a_container, a_pod
from tests.query_plans import query_plans

MEBIBYTE = 2**20


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app(start_delay="10s")


@pytest.fixture
def inventory(app: Flask) -> PodQueries:
    return services_of(app).queries


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

    assert [list(inventory.nodes(at).values()) for at in (before, came, both, gone, None)] == [
        [],
        [NodePods({"Pending": 1}, active=1, cpu_millicores=250, memory_bytes=64 * MEBIBYTE)],
        [NodePods({"Pending": 1, "Running": 1}, active=2, cpu_millicores=1250, memory_bytes=1088 * MEBIBYTE)],
        [NodePods({"Pending": 1}, active=1, cpu_millicores=1000, memory_bytes=1024 * MEBIBYTE)],
        [NodePods({"Running": 1}, active=1, cpu_millicores=1000, memory_bytes=1024 * MEBIBYTE)],
    ]


def test_deleted_pod_is_found_by_uid(client: FlaskClient, app: Flask, inventory: PodQueries, clock: Clock) -> None:
    first = put_on(client, a_pod("web"))
    clock.advance(20)
    second = put_on(client, a_pod("web"))  # replaces the first

    history = services_of(app).history
    record = history.pod(uid=first["metadata"]["uid"])

    assert record.deleted_at == clock()
    assert [interval.status["phase"] for interval in record.history.statuses] == [
        "Pending",
        "Pending",
        "Running",
        "Succeeded",
    ]
    assert [other.uid for other in inventory.namesakes("default", "web", uid=record.uid)] == [
        second["metadata"]["uid"]
    ]
    [last] = history.pod(uid=record.uid, limit=1).history.statuses
    assert last.status["phase"] == "Succeeded"
    with pytest.raises(NotFound, match="no pod with the UID nobody is recorded"):
        history.pod(uid="nobody")


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_the_page_of_a_pod_reads_no_others(client: FlaskClient, app: Flask, inventory: PodQueries) -> None:
    pod = put_on(client, a_pod("web"))["metadata"]
    with query_plans(services_of(app).database) as queries:
        services_of(app).history.pod(uid=pod["uid"])
        inventory.namesakes("default", "web", uid=pod["uid"])
        services_of(app).audit.page(AuditFilter(namespace="default", name="web", uid=pod["uid"]))

    plans = "\n".join(plan for _, plan in queries)
    assert "pods USING INDEX ix_pods_name (fleet=? AND namespace=? AND name=?)" in plans
    assert "audit_events USING INDEX ix_audit_events_pod (fleet=? AND namespace=? AND name=?)" in plans
    assert "TEMP B-TREE" not in plans
