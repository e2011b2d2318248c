"""An almost full disk: pods are refused, deletions and pruning succeed, the node has disk pressure."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import make_url, select

from app import create_app
from app.core.settings import Settings
from app.db.engine import Database
from app.db.migrate import upgrade
from app.db.models import AuditEvent
from tests.conftest import Clock, MakeApp
from tests.pods import a_container, a_pod

ON_SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
MORE_THAN_ANY_DISK = "8Ei"
SMALL_DISK = "12m"
ROOT = Path(__file__).parents[3]


def large_pod(name: str) -> dict[str, Any]:
    return a_pod(name, uid=name, containers=[a_container(args=["x" * 200_000])])


def disk_pressure(client: FlaskClient) -> dict[str, Any]:
    conditions = client.get("/nodeConditions").get_json()
    found: dict[str, Any] = next(c for c in conditions if c["type"] == "DiskPressure")
    return found


@ON_SQLITE
def test_only_deletions_use_the_reserve(make_app: MakeApp, database: Database) -> None:
    client = make_app().test_client()
    for name in ("stays", "goes"):
        assert client.post("/createPod", json=a_pod(name, uid=name)).status_code == 200
    assert client.get("/readyz").status_code == 200

    client = make_app(min_free_disk=MORE_THAN_ANY_DISK).test_client()
    changed = a_pod("stays", uid="stays", containers=[a_container(image="nginx:1.28")])
    refusals = [
        client.post("/createPod", json=a_pod("new")),
        client.put("/updatePod", json=changed),
        client.post("/createPod", json=a_pod("goes", uid="replaces")),
        client.get("/readyz"),
    ]
    for refusal in refusals:
        assert refusal.status == "503 Service Unavailable"
        assert int(refusal.headers["Retry-After"]) > 0
        assert refusal.get_json()["error"]["message"].startswith("the disk of the database has ")

    assert client.post("/createPod", json=a_pod("stays", uid="stays")).status_code == 200, "nothing changes"
    assert client.delete("/deletePod", json=a_pod("unknown")).status_code == 404
    assert client.delete("/deletePod", json=a_pod("goes", uid="goes")).status_code == 200
    assert [pod["metadata"]["name"] for pod in client.get("/getPods").get_json()] == ["stays"]
    with database.read() as connection:
        verbs = connection.execute(select(AuditEvent.verb, AuditEvent.code).order_by(AuditEvent.id)).all()
    assert [tuple(row) for row in verbs] == [
        ("create", 200), ("create", 200), ("delete", 404), ("delete", 200),
    ]  # fmt: skip


@ON_SQLITE
def test_the_node_reports_disk_pressure(make_app: MakeApp, clock: Clock) -> None:
    assert disk_pressure(make_app(min_free_disk="0").test_client())["status"] == "False"

    client = make_app(min_free_disk=MORE_THAN_ANY_DISK).test_client()
    clock.advance(60)
    first = disk_pressure(client)
    assert (first["status"], first["reason"]) == ("True", "ProviderHasDiskPressure")
    assert first["message"].startswith("the disk of the database has ")
    assert first["lastTransitionTime"] == "2026-11-22T08:47:38Z"
    clock.advance(60)
    assert disk_pressure(client) == {**first, "lastHeartbeatTime": "2026-11-22T08:48:38Z"}


def test_the_runtimes_directory_counts(make_app: MakeApp, tmp_path: Path, database_kind: str) -> None:
    settings = {
        "runtime": "app.runtimes.process:ProcessRuntime",
        "runtime_directory": tmp_path,
        "min_free_disk": MORE_THAN_ANY_DISK,
    }
    pressure = disk_pressure(make_app(**settings).test_client())
    assert pressure["status"] == "True"
    assert pressure["message"].startswith("the disk of the runtime directory has ")


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_the_disk_of_postgresql_is_not_measured(make_app: MakeApp) -> None:
    client = make_app(min_free_disk=MORE_THAN_ANY_DISK).test_client()
    assert client.post("/createPod", json=a_pod()).status_code == 200
    assert disk_pressure(client)["status"] == "False"


def test_a_small_disk_is_filled_emptied_and_used_again(tmp_path: Path) -> None:
    """Use a file system in memory, which a user can mount in a namespace of their own."""
    namespace = ("unshare", "--user", "--map-root-user", "--mount")
    mount = f'mount -t tmpfs -o size={SMALL_DISK} disk "$1"'
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run([*namespace, "sh", "-c", mount, "-", disk], capture_output=True, check=False).returncode:
        pytest.skip("user namespaces are not permitted")
    this = f"from {__name__} import fill_and_empty; fill_and_empty()"
    command = f'{mount} && cd "$1" && exec "$2" -c "$3"'
    result = subprocess.run(
        [*namespace, "sh", "-c", command, "-", disk, sys.executable, this],
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin:/usr/sbin:/sbin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def fill_and_empty() -> None:
    """Create pods until one is refused, delete and prune all, and create one more. The disk is the directory."""
    url = f"sqlite:///{Path.cwd()}/provider.db"
    upgrade(make_url(url))
    app = create_app(Settings.model_validate({"database_url": url}))
    client = app.test_client()
    created = 0
    while client.post("/createPod", json=large_pod(f"pod-{created}")).status_code == 200:
        created += 1
    assert created > 40, "most of the disk is used"
    assert client.post("/createPod", json=large_pod("one-more")).status_code == 503

    small = 0
    while client.post("/createPod", json=a_pod(f"small-{small}", uid=f"small-{small}")).status_code == 200:
        small += 1

    for number in range(created):
        assert client.delete("/deletePod", json=large_pod(f"pod-{number}")).status_code == 200
    for number in range(small):
        assert client.delete("/deletePod", json=a_pod(f"small-{number}", uid=f"small-{number}")).status_code == 200
    assert client.get("/getPods").get_json() == []
    assert client.get("/readyz").status_code == 503
    assert disk_pressure(client)["status"] == "True"

    exported = Path.cwd().parent / "exported.jsonl"
    command = ["audit", "prune", "--before", "0s", "--export", str(exported)]
    assert app.test_cli_runner().invoke(args=command).exit_code == 0
    assert client.get("/readyz").status_code == 200
    assert disk_pressure(client)["status"] == "False"
    assert client.post("/createPod", json=large_pod("one-more")).status_code == 200
