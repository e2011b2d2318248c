"""`vkweb pods logs`."""

from collections.abc import Callable

import pytest
from click.testing import Result
from flask import Flask
from flask.testing import FlaskClient

from app.cli import pod_logs
from tests.app.web.conftest import put_on
from tests.conftest import Clock, MakeApp
from tests.pods import a_container, a_pod

Logs = Callable[..., Result]


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app()


@pytest.fixture
def logs(app: Flask) -> Logs:
    def run(*arguments: str, code: int = 0) -> Result:
        result = app.test_cli_runner().invoke(args=["pods", "logs", *arguments])
        assert result.exit_code == code, result.output
        return result

    return run


def test_the_first_container_is_the_default(client: FlaskClient, logs: Logs) -> None:
    put_on(client, a_pod("two", uid="of-two", containers=[a_container("web"), a_container("sidecar")]))

    assert "container web" in logs("default/two").stdout
    assert 'Defaulted container "web" out of: web, sidecar' in logs("of-two").stderr
    sidecar = logs("default/two", "-c", "sidecar")
    assert ("container sidecar" in sidecar.stdout, sidecar.stderr) == (True, "")


def test_an_annotation_names_the_default_container(client: FlaskClient, logs: Logs) -> None:
    metadata = {"annotations": {"kubectl.kubernetes.io/default-container": "web"}}
    put_on(client, a_pod("two", containers=[a_container("proxy"), a_container("web")], metadata=metadata))

    assert "container web" in logs("default/two").stdout
    assert logs("default/two").stderr == ""


def test_options_are_those_of_kubectl(client: FlaskClient, logs: Logs, clock: Clock) -> None:
    put_on(client, a_pod("web"))
    whole = logs("default/web").stdout.splitlines()
    assert len(whole) > 1
    assert logs("default/web", "--tail", "1").stdout.splitlines() == whole[-1:]
    assert logs("default/web", "--tail=-1").stdout.splitlines() == whole
    assert logs("default/web", "--timestamps").stdout.startswith("2026-11-22T08:46:38.")
    clock.advance(3600)
    assert whole[0] not in logs("default/web", "--since", "30m").stdout
    assert 'previous terminated container "web"' in logs("default/web", "-p", code=1).stderr


def test_a_followed_log_ends_with_its_reader(
    client: FlaskClient, logs: Logs, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_on(client, a_pod("web"))
    waits: list[float] = []

    def wait(seconds: float, fd: int | None = None) -> bool:
        waits.append(seconds)
        clock.advance(60)
        return len(waits) < 5

    monkeypatch.setattr(pod_logs, "wait_for_reader", wait)
    followed = logs("default/web", "-f").stdout.splitlines()
    assert len(waits) == 5
    assert len(followed) > len(logs("default/web", "--since", "4m").stdout.splitlines())


def test_a_deleted_pod_has_its_last_log(client: FlaskClient, logs: Logs, clock: Clock) -> None:
    pod = put_on(client, a_pod("web"))
    clock.advance(60)
    client.delete("/deletePod", json=pod)
    clock.advance(60)

    assert "exited with code 0" in logs("default/web").stdout
    assert "no pod default/nobody is recorded" in logs("default/nobody", code=1).stderr
    put_on(client, a_pod("other"))
    assert 'container "x" is not in pod "other"' in logs("default/other", "-c", "x", code=1).stderr
