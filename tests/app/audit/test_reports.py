"""The reports of the audit log, run on the recorded history."""

import re
from datetime import datetime
from typing import Any

import orjson
import pytest
from flask import Flask
from sqlalchemy import inspect

from app.audit.reports import REPORTS
from app.db.engine import Database
from tests.app.audit.recorded import BROKER, CURL, RUNTIME, at, record_history
from tests.conftest import SharedApp, services_of
from tests.pods import a_container, a_pod
from tests.server import ROOT

START, END = at(0), at(201)
ALL: dict[str, Any] = {"since": START, "until": END}
MI = 2**20
NODE = "virtual-kubelet-web"
NOBODY = 'pod "nobody" is not in namespace "shop"'

ANSWERS: list[tuple[str, dict[str, Any], list[tuple[Any, ...]]]] = [
    (
        "ran",
        {"since": at(50), "until": at(120)},
        [
            ("shop", "web-0", "web-0-a", at(2), at(120), NODE),
            ("shop", "slow-0", "slow-0", at(38), None, NODE),
            ("shop", "worker-0", "worker-0", at(48), None, NODE),
        ],
    ),
    ("ran", {"since": at(0), "until": at(2)}, []),
    ("status", {"namespace": "shop", "name": "web-0", "at": at(1)}, [("web-0-a", "Pending", "ContainerCreating")]),
    ("status", {"namespace": "shop", "name": "web-0", "at": at(119)}, [("web-0-a", "Running", None)]),
    (
        "status",
        {"namespace": "shop", "name": "web-0", "at": at(120)},
        [("web-0-b", "Pending", "ContainerCreating")],
    ),
    ("status", {"namespace": "lab", "name": "job-0", "at": at(180)}, []),
    (
        "node",
        {"at": at(100)},
        [
            ("lab", "job-0", "job-0", "Pending", "ImagePullBackOff", at(23), NODE),
            ("shop", "slow-0", "slow-0", "Running", None, at(38), NODE),
            ("shop", "web-0", "web-0-a", "Running", None, at(60), NODE),
            ("shop", "worker-0", "worker-0", "Running", None, at(48), NODE),
        ],
    ),
    ("promised", {"at": at(-1)}, []),
    ("promised", {"at": at(45)}, [(NODE, 4, 500 + 1000 + 250 + 100, (256 + 1024 + 128 + 64) * MI)]),
    ("promised", {"at": at(61)}, [(NODE, 4, 750 + 1000 + 250 + 100, (256 + 1024 + 128 + 64) * MI)]),
    ("promised", {"at": at(190)}, [(NODE, 3, 750 + 1000 + 100, (256 + 1024 + 64) * MI)]),
    ("time-to-ready", ALL, [("shop", 4, 2.0, 8.0)]),
    (
        "never-ready",
        {"at": END},
        [("lab", "job-0", "job-0", at(20), at(180), NODE), ("lab", "tool-0", "tool-0", at(200), None, NODE)],
    ),
    ("restarts", ALL, [("crash:1", 2, 1)]),
    ("restarts", {"since": at(0), "until": at(20)}, []),
    ("failures", ALL, [("crash:1", 137, 2)]),
    ("failures", {"since": at(0), "until": at(20)}, [("crash:1", 137, 1)]),
    ("oom-kills", ALL, []),
    (
        "who-deleted",
        {"namespace": "shop", "name": "web-0"},
        [(at(120), "create", "web-0-a", BROKER, "127.0.0.1", "create-120", NODE)],
    ),
    (
        "who-deleted",
        {"namespace": "lab", "name": "job-0"},
        [(at(180), "delete", "job-0", CURL, "127.0.0.1", "delete-180", NODE)],
    ),
    (
        "what-changed",
        {"namespace": "shop", "name": "web-0"},
        [
            (at(60), "spec.containers[web].image", "nginx:1.27", "nginx:1.28", CURL, "update-60", NODE),
            (at(60), "spec.containers[web].resources.requests.cpu", "500m", "750m", CURL, "update-60", NODE),
        ],
    ),
    (
        "refused",
        ALL,
        [
            (at(90), "delete", "shop", "nobody", 404, NOBODY, CURL, "delete-90", NODE),
            (at(95), "create", "shop", "odd", 400, "spec.containers: required", BROKER, "create-95", NODE),
        ],
    ),
    ("streams", {"namespace": "shop", "name": "web-0"}, []),
    ("mounts", {"namespace": "shop", "name": "web-0"}, []),
    ("writers", ALL, [(BROKER, "127.0.0.1", 7, 0, 0, 1), (CURL, "127.0.0.1", 0, 1, 2, 1)]),
    ("to-come", {"at": END}, [(at(202), "lab", "tool-0", "Running", None, NODE)]),
]


@pytest.fixture
def shared(shared_app: SharedApp, database_kind: str) -> Flask:
    """Return an application with the recorded history."""
    return shared_app(database_kind, record_history, runtime=RUNTIME, audit_hash_chain=True)


@pytest.mark.parametrize(("report", "values", "expected"), ANSWERS)
def test_a_question_has_its_answer(
    shared: Flask, report: str, values: dict[str, Any], expected: list[tuple[Any, ...]]
) -> None:
    services = services_of(shared)

    found = services.audit.run_report(report, **values)

    rows = found.rows
    if report == "status":  # `since`, `until` and the JSON have their own test
        rows = [row[:3] for row in rows]
    assert rows == expected


def test_the_status_at_a_time_is_complete(shared: Flask) -> None:
    services = services_of(shared)

    answer = services.audit.run_report("status", namespace="shop", name="worker-0", at=at(16))

    [row] = [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]
    status = orjson.loads(row.pop("status"))
    assert row == {
        "uid": "worker-0",
        "phase": "Running",
        "reason": "CrashLoopBackOff",
        "since": at(15),
        "until": at(25),
        "node_name": NODE,
    }
    assert status["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff"


def test_every_question_is_asked() -> None:
    assert {name for name, _, _ in ANSWERS} == set(REPORTS)


def test_the_docs_tell_every_question_with_its_sql() -> None:
    docs = (ROOT / "docs" / "audit.md").read_text()
    documented = re.findall(r"^### `(.*?)`: (.*)\n(?:.*\n)*?```sql\n((?:.*\n)*?)```$", docs, re.MULTILINE)
    assert documented == [(name, report.asks, f"{report.sql};\n") for name, report in REPORTS.items()]


def test_the_docs_say_what_every_column_means(database: Database) -> None:
    docs = (ROOT / "docs" / "audit.md").read_text()
    documented = {}
    for name, table in re.findall(r"^\| `(\w+)` \|.*\|\n\|---\|---\|\n((?:\|.*\n)+)", docs, re.MULTILINE):
        documented[name] = {
            column for row in table.splitlines() for column in re.findall(r"`(\w+)`", row.split("|")[1])
        }
    inspector = inspect(database.engine)
    names = {*inspector.get_table_names(), *inspector.get_view_names()} - {"alembic_version"}
    assert documented == {name: {column["name"] for column in inspector.get_columns(name)} for name in names}


def test_a_resize_without_status_change_is_recorded(recorded: Flask) -> None:
    client, services = recorded.test_client(), services_of(recorded)
    [tool] = [pod for pod in client.get("/getPods").get_json() if pod["metadata"]["name"] == "tool-0"]
    tool["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "3"

    assert client.put("/updatePod", json=tool).status_code == 200

    before, after = (services.audit.run_report("promised", at=at(seconds)).rows[0][2] for seconds in (200.5, 201))
    assert after - before == 3000 - 50


def test_a_nul_in_an_image_breaks_no_view(recorded: Flask) -> None:
    client, services = recorded.test_client(), services_of(recorded)
    strange = a_pod("strange", containers=[a_container(image="a\u0000b")])
    assert client.post("/createPod", json=strange).status_code == 200
    strange["spec"]["containers"][0]["image"] = "\\u0000"
    assert client.put("/updatePod", json=strange).status_code == 200

    for report, answer in (("failures", [("crash:1", 137, 2)]), ("restarts", [("crash:1", 2, 1)])):
        assert services.audit.run_report(report, **ALL).rows == answer
    [change] = services.audit.run_report("what-changed", namespace="default", name="strange").rows
    assert change[1] == "spec.containers[web].image"


def test_a_recreated_pod_is_absent_in_between(recorded: Flask, clock: Any) -> None:
    client, services = recorded.test_client(), services_of(recorded)
    [tool] = [pod for pod in client.get("/getPods").get_json() if pod["metadata"]["name"] == "tool-0"]
    clock.now = at(300)
    client.delete("/deletePod", json=tool)
    clock.now = at(400)
    client.post("/createPod", json=tool)

    def phases(time: datetime) -> list[str]:
        return [
            row[1] for row in services.audit.run_report("status", namespace="lab", name="tool-0", at=time).rows
        ]

    assert [phases(at(seconds)) for seconds in (299, 300, 399, 400, 402)] == [
        ["Running"], [], [], ["Pending"], ["Running"],
    ]  # fmt: skip
