"""Overdue statuses: many pods are advanced in one transaction, whatever happened to them meanwhile."""

from datetime import datetime

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import delete, event, select

from app.db.engine import Database
from app.db.models import Pod, PodStatus
from app.kubernetes.status import Transition
from app.runtimes import AcceptedPod
from app.runtimes.base import Timeline
from app.runtimes.synthetic.runtime import SyntheticRuntime
from tests.app.web.conftest import on_sqlite_alone, put_on
from tests.conftest import Clock, services_of
from tests.pods import a_pod

ANNOTATIONS = {
    f"synthetic.virtual-kubelet.io/{name}": value for name, value in {"run-for": "1s", "exit-code": "1"}.items()
}


def put_restarting_pods(client: FlaskClient, names: list[str]) -> None:
    for name in names:
        put_on(client, a_pod(name, uid=name, metadata={"annotations": ANNOTATIONS}))


def restarts(client: FlaskClient) -> dict[str, int]:
    return {
        pod["metadata"]["name"]: pod["status"]["containerStatuses"][0]["restartCount"]
        for pod in client.get("/getPods").get_json()
    }


@on_sqlite_alone
def test_many_pods_are_advanced_by_few_queries(app: Flask, client: FlaskClient, clock: Clock) -> None:
    database = services_of(app).database
    pods = [f"web-{number}" for number in range(30)]
    put_restarting_pods(client, pods)
    clock.advance(86400)
    queries: list[str] = []
    database.dispose()
    event.listen(database.engine, "connect", lambda connection, _: connection.set_trace_callback(queries.append))
    assert restarts(client).keys() == set(pods)
    assert len([query for query in queries if query.startswith("SELECT")]) < len(pods)


def test_a_pruned_pod_does_not_stop_the_others(
    client: FlaskClient, clock: Clock, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance = SyntheticRuntime.advance

    def advance_and_prune(
        self: SyntheticRuntime, pod: AcceptedPod, *, current: Transition, now: datetime
    ) -> Timeline | None:
        with database.write() as connection:
            pod_id = connection.scalar(select(Pod.id).where(Pod.uid == "web-0"))
            connection.execute(delete(PodStatus).where(PodStatus.pod_id == pod_id))
            connection.execute(delete(Pod).where(Pod.id == pod_id))
        return advance(self, pod, current=current, now=now)

    put_restarting_pods(client, ["web-0", "web-1"])
    clock.advance(86400)
    monkeypatch.setattr(SyntheticRuntime, "advance", advance_and_prune)
    assert restarts(client).keys() == {"web-1"}
