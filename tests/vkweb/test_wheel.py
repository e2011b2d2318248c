"""The wheel: what is in it, and the command that it installs, in a folder without the checkout."""

from pathlib import Path

import pytest

from tests.pods import a_container, a_pod
from tests.postgres import free_port
from tests.server import ROOT
from tests.vkweb.installed import PARTS, Installation, build_wheel, names_in, phase
from tests.waiting import eventually
from vkweb import __version__

USERS_RUNTIME = """
from app.runtimes.synthetic.runtime import SyntheticRuntime


class MyRuntime(SyntheticRuntime):
    def capacity(self):
        return {"pods": "7"}
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return Installation(wheel, tmp_path_factory.mktemp("environment"), tmp_path_factory.mktemp("empty"))


def test_it_takes_one_top_level_name(wheel: Path) -> None:
    names = names_in(wheel)
    assert {name.partition("/")[0] for name in names} == {
        "vkweb",
        f"virtual_kubelet_web-{__version__}.dist-info",
    }
    assert {name.split("/")[2] for name in names if name.startswith("vkweb/lib/")} == {
        *PARTS,
        "wsgi.py",
        "gunicorn.conf.py",
    }


def test_every_file_of_the_parts_is_in_it(wheel: Path) -> None:
    files = {
        str(path.relative_to(ROOT))
        for part in PARTS
        for path in (ROOT / part).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"migrations/script.py.mako", "app/web/api/openapi.yaml", "app/web/ui/static/css/tokens.css"} <= files
    assert {f"vkweb/lib/{file}" for file in files} <= names_in(wheel)


def test_the_command_knows_its_version(installed: Installation) -> None:
    assert installed.run("--version") == f"vkweb {__version__}\n"


def test_a_pod_runs_through_it(installed: Installation) -> None:
    assert "the database is at" in installed.run("migrate")
    pod = a_pod("through-the-wheel")
    port = str(free_port())
    with installed.provider(PORT=port) as client:
        assert client.request("POST", "/createPod", pod).code == 200
        assert phase(client, pod) == "Running"
        assert client.get("/openapi.json").json()["info"]
        assert client.get("/ui/").code == 200
        assert client.get("/ui/static/css/tokens.css").code == 200
        assert "through-the-wheel" in installed.run("pods", "list")
        assert "create" in installed.run("audit", "tail")
        installed.run("conformance", f"http://127.0.0.1:{port}")
    assert (installed.cwd / "data" / "provider.db").exists()


def test_a_runtime_of_the_user_is_found(installed: Installation) -> None:
    for name in ("wsgi", "cli", "server", "migrations"):  # modules of the user do not replace the product's
        (installed.cwd / f"{name}.py").write_text("raise AssertionError\n")
    (installed.cwd / "app").mkdir()
    (installed.cwd / "app" / "__init__.py").write_text("raise AssertionError\n")
    (installed.cwd / "my_runtime.py").write_text(USERS_RUNTIME)
    with installed.provider(RUNTIME="my_runtime:MyRuntime", DATABASE_URL="sqlite:///user.db") as client:
        assert client.get("/capacity").json() == {"pods": "7"}


def test_a_runtime_in_a_package_app_is_refused(installed: Installation) -> None:
    printed = installed.run("provider", code=1, RUNTIME="app.mine:Runtime")
    assert printed == "RUNTIME: No module named 'app.mine'; `app` is this product's package\n"


def test_processes_run_and_get_no_import_path(installed: Installation) -> None:
    container = a_container(command=["/bin/sh", "-c", "echo done; env"])
    pod = a_pod("process", containers=[container], restartPolicy="Never")
    settings = {"RUNTIME": "app.runtimes.process:ProcessRuntime", "DATABASE_URL": "sqlite:///processes.db"}
    with installed.provider(**settings) as client:
        assert client.request("POST", "/createPod", pod).code == 200
        eventually(lambda: phase(client, pod) == "Succeeded")
        log = client.get("/getContainerLogs", namespace="default", podName="process", containerName="web").body
    assert log.startswith(b"done\n")
    assert b"PYTHONPATH" not in log
