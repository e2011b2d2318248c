"""The list columns of pods: those of the status that holds, after every kind of change."""

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import create_engine, select, update

from app.db.engine import Database
from app.db.migrate import downgrade, upgrade
from app.db.models import Pod, PodStatus
from app.pods.list_columns import OF_STATUS
from app.pods.pod_filter import PodFilter
from app.services import Services
from tests.app.runtimes.scripted import ScriptedRuntime
from tests.app.web.conftest import change, put_on
from tests.conftest import Clock, MakeApp, services_of
from tests.pods import a_container, a_pod

SHOWN = ("phase", "reason", "ready_containers", "containers", "restarts", "termination_reason")


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app(start_delay="10s")


def listed(services: Services) -> tuple[Any, ...]:
    """Return the list columns of the last pod, which are those of its current status."""
    services.pod_list.page(PodFilter())
    with services.database.read() as connection:
        pod = connection.execute(select(Pod.__table__).order_by(Pod.id.desc()).limit(1)).one()
        until = max(services.clock(), pod.updated_at)
        statuses = select(PodStatus.__table__).where(PodStatus.pod_id == pod.id, PodStatus.effective_at <= until)
        last = connection.execute(statuses.order_by(PodStatus.effective_at.desc()).limit(1)).one()
    assert pod.status_at == last.effective_at
    assert [getattr(pod, name) for name in OF_STATUS] == [getattr(last, name) for name in OF_STATUS]
    return tuple(getattr(pod, name) for name in SHOWN)


def test_follow_the_statuses_of_a_pod(client: FlaskClient, services: Services, clock: Clock) -> None:
    annotations = {
        "synthetic.virtual-kubelet.io/exit-code": "137",
        "synthetic.virtual-kubelet.io/run-duration": "5s",
    }
    pod = put_on(client, a_pod("web", metadata={"annotations": annotations}))
    seen = [listed(services)]
    for _ in range(4):
        clock.advance(10)
        seen.append(listed(services))

    assert seen[0] == ("Pending", "ContainerCreating", 0, 1, 0, None)
    assert ("Running", None, 1, 1, 0, None) in seen
    assert seen[-1][:4] == ("Running", "CrashLoopBackOff", 0, 1)
    assert seen[-1][5] == "Error"
    client.delete("/deletePod", json=pod)
    listed(services)


def test_follow_a_runtime_that_observes(make_app: MakeApp, clock: Clock) -> None:
    ScriptedRuntime.play("Running", "Succeeded")
    app = make_app(runtime="tests.app.runtimes.scripted:ScriptedRuntime")
    put_on(app.test_client(), a_pod("web"))

    assert listed(services_of(app))[0] == "Pending"
    clock.advance(1)
    assert listed(services_of(app))[0] == "Running"
    clock.advance(1)
    assert listed(services_of(app))[0] == "Succeeded"


def test_follow_updates_and_recreations(client: FlaskClient, services: Services, clock: Clock) -> None:
    pod = put_on(client, a_pod("web", uid="one"))
    clock.advance(20)
    pod["metadata"]["labels"] = {"app": "shop"}
    pod["metadata"]["ownerReferences"] = [{"kind": "ReplicaSet", "name": "shop-1", "uid": "u", "controller": True}]
    pod["spec"]["containers"] = [a_container(image="nginx:1.28"), a_container("b", image="nginx:1.28")]
    change(client, pod)
    columns = listed(services)

    with services.database.read() as connection:
        row = connection.execute(select(Pod.labels, Pod.images, Pod.owner)).one()
    assert row._asdict() == {"labels": '{"app":"shop"}', "images": "nginx:1.28", "owner": "ReplicaSet/shop-1"}
    assert columns[3] == 2
    client.delete("/deletePod", json=pod)
    clock.advance(60)
    put_on(client, a_pod("web", uid="one"))
    assert listed(services) == ("Pending", "ContainerCreating", 0, 1, 0, None)


def test_of_older_databases_are_computed(
    client: FlaskClient, services: Services, database: Database, clock: Clock
) -> None:
    put_on(client, a_pod("evicted", metadata={"annotations": {"synthetic.virtual-kubelet.io/fail": "Evicted"}}))
    put_on(client, a_pod("web", initContainers=[a_container("proxy", restartPolicy="Always")]))
    clock.advance(60)
    before = listed(services)
    table = select(Pod.__table__).order_by(Pod.id)
    with database.read() as connection:
        rows = connection.execute(table).all()
    downgrade(database.engine.url, "0011")
    older = create_engine(database.engine.url)
    with older.begin() as connection:
        connection.execute(update(PodStatus).where(PodStatus.phase == "Failed").values(reason="Evicted"))
    older.dispose()
    upgrade(database.engine.url)

    with database.read() as connection:
        assert connection.execute(table).all() == rows
    assert rows[0].reason == "ContainerStatusUnknown"
    assert rows[0].termination_reason == "Evicted"
    assert listed(services) == before
