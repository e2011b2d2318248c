"""Containers in images, with a script in the place of Apptainer that prints its arguments."""

import os
from pathlib import Path

import pytest

from app.core.errors import InvalidRequest
from tests.app.runtimes.process import Driven, shell
from tests.app.runtimes.slurm.conftest import MakeRuntime


@pytest.fixture
def template(tmp_path: Path) -> str:
    """Return a template that records the words before the command, one a line, and runs the command."""
    program = tmp_path / "apptainer"
    program.write_text(
        f'#!/bin/sh\nfor word; do echo "$word" >> {tmp_path}/words; done\n'
        'while [ "$1" != -- ]; do shift; done; shift; exec "$@"\n'
    )
    program.chmod(0o755)
    return f"{program} exec --bind={{mounts}} --pwd={{workdir}} docker://{{image}} --"


def words(tmp_path: Path) -> list[str]:
    return (tmp_path / "words").read_text().splitlines()


def test_a_container_runs_in_its_image(make_runtime: MakeRuntime, template: str, tmp_path: Path) -> None:
    pod = Driven(
        make_runtime(container_command=template),
        shell(
            "echo in $PWD",
            image="ghcr.io/lab/tool:1.2",
            workingDir="/only/in/the/image",
            volumeMounts=[{"name": "data", "mountPath": str(tmp_path)}],
        ),
        volumes=[{"name": "data", "hostPath": {"path": str(tmp_path)}}],
        restartPolicy="Never",
    )
    pod.sync()
    assert pod.until_over().phase == "Succeeded"
    bind, pwd, image = f"--bind={tmp_path}", "--pwd=/only/in/the/image", "docker://ghcr.io/lab/tool:1.2"
    assert words(tmp_path) == ["exec", bind, pwd, image, "--", "/bin/sh", "-c", "echo in $PWD"]


def test_a_command_of_exec_runs_in_the_image(make_runtime: MakeRuntime, template: str, tmp_path: Path) -> None:
    pod = Driven(make_runtime(container_command=template), shell("exec sleep 3600"))
    pod.sync()
    pod.until_running()
    session = pod.exec("/bin/echo", "$(reboot)")
    assert session.wait() == 0
    for fd in (session.stdout, session.stderr):
        assert fd is not None
        os.close(fd)
    assert words(tmp_path)[-2:] == ["/bin/echo", "$(reboot)"]
    assert not any(word.startswith("--bind") for word in words(tmp_path))


def test_the_message_of_an_image_is_the_log(make_runtime: MakeRuntime, template: str) -> None:
    path = "/run/of-the-test"
    container = shell(
        f"echo failed; test -e {path} || exit 3",
        terminationMessagePath=path,
        terminationMessagePolicy="FallbackToLogsOnError",
    )
    pod = Driven(make_runtime(container_command=template), container, restartPolicy="Never")
    pod.sync()
    pod.until_over()
    ended = pod.container().state.terminated
    assert ended
    assert (ended.exit_code, ended.message) == (3, "failed\n")


def test_an_image_that_is_an_option_is_refused(make_runtime: MakeRuntime, template: str) -> None:
    with pytest.raises(InvalidRequest, match="image that CONTAINER_COMMAND"):
        Driven(make_runtime(container_command=template), shell("true", image="--writable"))
