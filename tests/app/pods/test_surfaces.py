"""The dashboard, the command line, the shell, the reports and the views agree on a node at any time."""

import re
from collections.abc import Callable
from functools import cache
from typing import Any

import orjson
import pytest
from flask import Flask
from sqlalchemy import text, update

from app.cli.shell import ShellHelpers
from app.core.clock import utc_now
from app.db.engine import Database
from app.db.models import Pod, PodStatus
from app.pods.pod_filter import PodFilter
from app.pods.queries import NodePods
from app.services import Services
from tests.app.audit.recorded import RUNTIME, at, record_history
from tests.conftest import Clock, MakeApp, SharedApp, services_of
from tests.pods import a_container, a_pod

GRACE = 30
TIMES = [-1, 2, 119, 120, 190, 299, 300, 315, 345, 400]


def send(app: Flask, clock: Clock, seconds: float, method: str, path: str, pod: object) -> None:
    clock.now = at(seconds)
    assert app.test_client().open(path, method=method, json=pod).status_code == 200


def record(app: Flask, clock: Clock) -> Flask:
    """Record the history, and a pod deleted at 300 s and recreated at 400 s."""
    record_history(app, clock)
    resources = {"requests": {"cpu": "2", "memory": "1Gi"}}
    pod = a_pod("back-0", namespace="lab", uid="back-0", containers=[a_container(resources=resources)])
    pod["spec"]["terminationGracePeriodSeconds"] = GRACE
    send(app, clock, 210, "POST", "/createPod", pod)
    send(app, clock, 300, "DELETE", "/deletePod", pod)
    send(app, clock, 400, "POST", "/createPod", pod)
    clock.now = at(500)
    return app


@pytest.fixture(params=[RUNTIME, "app.runtimes.synthetic:SyntheticRuntime"], ids=["recorded", "synthetic"])
def runtime(request: pytest.FixtureRequest) -> str:
    """Return the runtime of the recorded pods."""
    runtime: str = request.param
    return runtime


@pytest.fixture
def phase() -> str:
    """Return the phase of pods that run: in some tests it is replaced."""
    return "Running"


@cache
def recording(phase: str) -> Callable[[Flask, Clock], None]:
    """Return a function that records the history, and sets the phase of pods that run."""

    def prepare(app: Flask, clock: Clock) -> None:
        record(app, clock)
        end_runs(services_of(app).database, phase)

    return prepare


@pytest.fixture
def recorded(shared_app: SharedApp, database_kind: str, runtime: str, phase: str) -> Flask:
    """Return an application with the recorded history."""
    return shared_app(database_kind, recording(phase), runtime=runtime, audit_hash_chain=True)


def end_runs(database: Database, phase: str) -> None:
    """Replace the phase Running by another."""
    with database.write() as connection:
        for table in (PodStatus, Pod):
            connection.execute(update(table).where(table.phase == "Running").values(phase=phase))


def command(app: Flask, *arguments: str) -> list[dict[str, Any]]:
    result = app.test_cli_runner().invoke(args=[*arguments, "--json"])
    assert result.exit_code == 0, result.output
    return [orjson.loads(line) for line in result.stdout.splitlines()]


def dashboard(app: Flask, path: str, **query: str) -> str:
    response = app.test_client().get(path, query_string=query)
    assert response.status_code == 200, response.text
    return response.text


@pytest.mark.parametrize("seconds", TIMES)
def test_every_surface_lists_the_same_pods(recorded: Flask, seconds: float) -> None:
    services = services_of(recorded)
    shell, time = ShellHelpers(services), at(seconds)
    expected = {pod.uid: pod.phase for pod in services.history.pods(at=time)}

    report = services.audit.run_report("node", at=time).rows
    statuses = {
        uid: status.phase for uid in all_uids(services) if (status := shell.status_at(uid, time)) is not None
    }
    page = dashboard(recorded, "/ui/pods", at=time.isoformat()) if seconds >= 0 else ""
    shell.session.close()

    assert {row.uid: row.phase for row in services.pod_list.page(PodFilter(), at=time).rows} == expected
    assert {row[2]: row[3] for row in report} == expected
    assert statuses == expected
    listed = command(recorded, "pods", "list", "--at", time.isoformat())
    assert {pod["uid"]: pod["phase"] for pod in listed} == expected
    assert set(re.findall(r'href="/ui/pod\?[^"]*uid=([\w-]+)', page)) == set(expected)


@pytest.mark.parametrize("phase", ["Running", "Unknown", "Failed"])
@pytest.mark.parametrize("seconds", [61, 190, 315, 500])
def test_every_surface_counts_the_same_pods(recorded: Flask, seconds: float) -> None:
    services = services_of(recorded)
    time = at(seconds)

    pods = services.queries.nodes(time).get(services.settings.node_name, NodePods.of([]))
    promised = [row[1:] for row in services.audit.run_report("promised", at=time).rows]
    [shown] = command(recorded, "node", "show", "--at", time.isoformat())

    assert (promised or [(0, 0, 0)]) == [(pods.active, pods.cpu_millicores, pods.memory_bytes)]
    assert shown["requested"] == {
        "cpu": f"{pods.cpu_millicores}m", "memory": str(pods.memory_bytes), "pods": str(pods.active)
    }  # fmt: skip
    assert shown["pods"] == pods.by_phase
    ended = sum(count for phase, count in pods.by_phase.items() if phase in ("Succeeded", "Failed"))
    assert pods.active == sum(pods.by_phase.values()) - ended
    assert requested_pods(dashboard(recorded, "/ui/", at=time.isoformat())) == pods.active


@pytest.mark.parametrize("seconds", [300, 315, 399])
def test_a_pod_is_deleted_until_its_return(recorded: Flask, seconds: float) -> None:
    services = services_of(recorded)
    time = at(seconds)
    sentence = f"It was deleted at {at(300):%Y-%m-%dT%H:%M:%SZ}."

    assert sentence in services.history.explain(services.history.find("back-0"), at=time)
    page = dashboard(recorded, "/ui/pod", uid="back-0", at=time.isoformat())
    assert f'<time class="num" datetime="{at(300):%Y-%m-%dT%H:%M:%SZ}">' in page
    assert '<span class="badge unknown">Deleted</span>' in page
    [snapshot] = [pod for pod in services.history.pods(at=time, deleted=True) if pod.uid == "back-0"]
    assert snapshot.deleted_at is not None
    assert snapshot.deleted_at <= time
    assert services.audit.run_report("status", namespace="lab", name="back-0", at=time).rows == []


def test_the_present_is_that_of_current_pods(
    make_app: MakeApp, runtime: str, database: Database, clock: Clock
) -> None:
    recorded = record(make_app(runtime=runtime), clock)
    clock.now = utc_now()
    services = services_of(recorded)

    with database.read() as connection:
        view = connection.execute(text("SELECT uid, phase FROM current_pods")).all()

    expected = {row.uid: row.phase for row in view}
    assert {pod.uid: pod.phase for pod in services.history.pods()} == expected
    assert {row.uid: row.phase for row in services.pod_list.page(PodFilter()).rows} == expected
    pods = recorded.test_client().get("/getPods").get_json()
    assert {pod["metadata"]["uid"]: pod["status"]["phase"] for pod in pods} == expected
    changes = recorded.test_client().get("/podStatuses").get_json()
    assert {change["uid"]: change["status"]["phase"] for change in changes["statuses"]} == expected


def all_uids(services: Services) -> set[str]:
    return {pod.uid for pod in services.history.pods(deleted=True)}


def requested_pods(page: str) -> int:
    match = re.search(r"<dt>pods</dt>\s*<dd><b>(\d+)</b> of", page)
    assert match
    return int(match[1])
