"""The runtime and the commands of `docs/writing-a-runtime.md` work as described."""

from pathlib import Path

import pytest
from sqlalchemy import select

from app.db.engine import Database
from app.db.models import Pod, PodStatus
from tests.conftest import Serve
from tests.documents import FILE, page
from tests.pods import a_pod
from tests.server import Client

PAGE = page("docs/writing-a-runtime.md")
((NAME, SOURCE),) = FILE.findall(PAGE)

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"])


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    (tmp_path / NAME).write_text(SOURCE)
    return {
        "PYTHONPATH": str(tmp_path),
        "RUNTIME": "queue_runtime:QueueRuntime",
        "RUNTIME_DIRECTORY": str(tmp_path / "data" / "queue"),
    }


def job(tmp_path: Path) -> Path:
    (directory,) = (tmp_path / "data" / "queue").iterdir()
    return directory


def phases(client: Client, database: Database) -> list[str]:
    client.get("/getPods")  # a read advances timelines
    with database.read() as connection:
        return list(connection.scalars(select(PodStatus.phase).join(Pod).order_by(PodStatus.effective_at)))


def test_a_job_cancelled_before_its_start_has_failed(
    serve: Serve, settings: dict[str, str], tmp_path: Path, database: Database
) -> None:
    pod = a_pod()
    with serve(**settings) as server:
        client = server.client()
        client.request("POST", "/createPod", pod)
        client.request("DELETE", "/deletePod", pod)
        assert (job(tmp_path) / "cancel").exists()
        assert phases(client, database) == ["Pending", "Failed"]
        client.close()


def test_a_running_job_keeps_its_own_exit(
    serve: Serve, settings: dict[str, str], tmp_path: Path, database: Database
) -> None:
    pod = a_pod()
    with serve(**settings) as server:
        client = server.client()
        client.request("POST", "/createPod", pod)
        (job(tmp_path) / "started").touch()
        client.request("DELETE", "/deletePod", pod)
        assert phases(client, database) == ["Pending", "Running"]
        (job(tmp_path) / "exit").write_text("3")
        assert phases(client, database) == ["Pending", "Running", "Failed"]
        client.close()


def test_a_pod_that_is_no_job_is_refused(serve: Serve, settings: dict[str, str]) -> None:
    two = a_pod(containers=[{"name": "one"}, {"name": "two"}])
    with serve(**settings) as server:
        client = server.client()
        answer = client.request("POST", "/createPod", two)
        assert (answer.code, answer.json()["error"]["message"]) == (
            400,
            "spec.containers: a job has one container",
        )
        client.close()
