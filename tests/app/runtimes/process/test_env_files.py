"""Variables from files that an init container has written: `fileKeyRef`."""

import re
from pathlib import Path
from typing import Any

import pytest

from app.core.errors import InvalidRequest
from app.runtimes.process import ProcessRuntime
from app.runtimes.process.shim.env_files import parse
from tests.app.runtimes.process import Driven, QuickRuntime, settings, shell
from tests.app.runtimes.process.conftest import Run
from tests.app.runtimes.process.volumes import needs_namespaces

VOLUME = {"name": "shared", "emptyDir": {}}
MOUNT = {"name": "shared", "mountPath": "/shared-of-the-test"}


def from_file(name: str, key: str, **more: Any) -> dict[str, Any]:
    source = {"volumeName": "shared", "path": "app.env", "key": key, **more}
    return {"name": name, "valueFrom": {"fileKeyRef": source}}


def pod_of(
    runtime: ProcessRuntime,
    *env: dict[str, Any],
    script: str = "true",
    text: str = "PORT='80'",
    volume: dict[str, Any] = VOLUME,
    **fields: Any,
) -> Driven:
    """Return a pod that was started, with an init container that writes the file."""
    writer = shell(f'printf "%s\\n" "{text}" > ${{VOLUME_SHARED:-/shared-of-the-test}}/app.env', name="writer")
    pod = Driven(
        runtime,
        shell(script, env=list(env), **fields),
        initContainers=[{**writer, "volumeMounts": [MOUNT]}],
        volumes=[volume],
        restartPolicy="Never",
    )
    pod.sync()
    return pod


def why(pod: Driven) -> tuple[str | None, str | None] | None:
    """Return the reason and the message with which the container waits."""
    waiting = pod.container().state.waiting
    return (waiting.reason, waiting.message) if waiting else None


@pytest.mark.parametrize("mounts", ["environment", pytest.param("namespace", marks=needs_namespaces)])
@pytest.mark.parametrize("medium", ["", "Memory"])
def test_a_variable_is_read_from_a_file(root: Path, mounts: str, medium: str) -> None:
    pod = pod_of(
        QuickRuntime(settings(root, mounts=mounts)),
        from_file("A", "PORT"),
        {"name": "URL", "value": "http://web:$(A)/$$(A)/$(NONE)"},
        from_file("NONE", "NONE", optional=True),
        {"name": "ALSO", "value": "$(NONE)"},
        script='printf "%s\\n" "$A" "$URL" "$ALSO" "${NONE-unset}" "$@"',
        args=["-", "$(A)", "$(URL)", "$(NONE)", "$$(A)"],
        volume={"name": "shared", "emptyDir": {"medium": medium}},
    )
    pod.until_over()
    url = "http://web:80/$(A)/$(NONE)"
    lines = [line.decode() for line in pod.log()]
    assert lines == ["80", url, "$(NONE)", "unset", "80", url, "$(NONE)", "$(A)"]


@needs_namespaces
def test_a_sub_path_may_be_in_a_file(run: Run, runtime: ProcessRuntime) -> None:
    mount = {"name": "shared", "mountPath": "/sub-of-the-test", "subPathExpr": "dir-$(A)"}
    pod = pod_of(runtime, from_file("A", "PORT"), script="ls -d /sub-of-the-test", volumeMounts=[MOUNT, mount])
    pod.until_over()
    assert pod.log() == [b"/sub-of-the-test"]
    assert pod.ended() == (0, "Completed")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("PORT=80", "couldn't parse env file"),
        ("OTHER='1'", 'environment variable key "PORT" not found in file "app.env"'),
    ],
)
def test_a_container_waits_for_its_variable(root: Path, text: str, message: str) -> None:
    pod = pod_of(QuickRuntime(settings(root, mounts="environment")), from_file("A", "PORT"), text=text)
    pod.until(lambda _: why(pod) == ("CreateContainerConfigError", message))
    (file,) = (pod.directory.path / ".empty" / "shared").iterdir()
    file.write_text("PORT='80'")
    pod.until_over()
    assert pod.ended() == (0, "Completed")


def test_a_link_out_of_the_volume_is_not_followed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("PORT='80'")
    writer = shell(f"ln -s {tmp_path}/outside $VOLUME_SHARED/app.env", name="writer", volumeMounts=[MOUNT])
    pod = Driven(
        QuickRuntime(settings(root, mounts="environment")),
        shell("true", env=[from_file("A", "PORT")]),
        initContainers=[writer],
        volumes=[VOLUME],
    )
    pod.sync()
    pod.until(lambda _: why(pod) == ("CreateContainerConfigError", "couldn't parse env file"))


@pytest.mark.parametrize(
    ("source", "field"),
    [
        ({"volumeName": "other"}, "volumeName"),
        ({"volumeName": "config"}, "volumeName"),
        ({"path": "../app.env"}, "path"),
        ({"path": "/app.env"}, "path"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(runtime: ProcessRuntime, source: Any, field: str) -> None:
    where = re.escape(f"spec.containers[0].env[0].valueFrom.fileKeyRef.{field}")
    config = {"name": "config", "configMap": {"name": "app"}}
    container = shell("true", env=[from_file("A", "PORT", **source)])
    with pytest.raises(InvalidRequest, match=where):
        Driven(runtime, container, volumes=[VOLUME, config])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A='1'\nK='2'\nK='3'", "2"),
        ("# K='1'\n\n \tK='a b' # c\n", "a b"),
        ("K='a\nb\\n'\r\n", "a\nb\\n"),
        ("K='a=b'", "a=b"),
        ("K= 'a'\nK='b'", ""),
        ("A= 1\nK='b'", "b"),
        ("K=''", ""),
        ("", ""),
        ("K='1'\nnonsense", "1"),
    ],
)
def test_a_file_has_values_in_single_quotes(text: str, value: str) -> None:
    assert parse(text, "K") == value


@pytest.mark.parametrize("text", ["K", "K=1", "K ='1'", "='1'", "K='1", "K='1' 2", 'K="1"', "nonsense\nK='1'"])
def test_other_forms_of_a_file_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(text, "K")
