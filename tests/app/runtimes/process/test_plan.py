"""The environment and command of a process, the modes of files, and the capacity of the machine."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest
import structlog

from app.runtimes.process import ProcessRuntime
from tests.app.runtimes.process import SECRET, settings, shell, the_shim
from tests.app.runtimes.process.conftest import Run


def test_a_process_gets_its_environment_and_directory(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROVIDER_TOKEN", SECRET)
    env = [
        {"name": "GREETING", "value": "$(HELLO) all"},
        {"name": "EMPTY"},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}},
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
    ]
    pod = run(shell("env; pwd; umask", env=env, workingDir=str(tmp_path)), restartPolicy="Never")
    pod.until_over()
    *variables, directory, umask = [line.decode() for line in pod.log()]
    assert {"GREETING=$(HELLO) all", "EMPTY=", "NODE=127.0.0.1", "POD=127.0.0.1", "HOSTNAME=web-0"} <= set(
        variables
    )
    names = {variable.partition("=")[0] for variable in variables}
    assert names <= {
        *("GREETING", "EMPTY", "NODE", "POD", "HOSTNAME", "VIRTUAL_KUBELET_CONTAINER"),
        *("PATH", "HOME", "USER", "LANG", "TMPDIR", "TZ"),
        *("PWD", "SHLVL", "_", "OLDPWD"),
    }
    assert (directory, umask) == (str(tmp_path), "0022")


def test_a_variable_may_have_the_address_of_the_pod(run: Run) -> None:
    env = [
        {"name": "EARLY", "value": "$(IP)"},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "URL", "value": "http://$(IP):80/$(NOBODY)"},
        {"name": "TEXT", "value": "$$(IP) $$$(IP) $$ $(EARLY)"},
        {"name": "IP", "value": "hidden"},
        {"name": "LAST", "value": "$(IP)"},
    ]
    pod = run(shell('printf "%s\\n" "$EARLY" "$URL" "$TEXT" "$IP" "$LAST"', env=env), restartPolicy="Never")
    pod.until_over()
    assert [line.decode() for line in pod.log()] == [
        *("$(IP)", "http://127.0.0.1:80/$(NOBODY)", "$(IP) $127.0.0.1 $$ $(EARLY)", "hidden", "$(IP)")
    ]


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ({"hostname": "job-0"}, "job-0"),
        ({"hostname": "job-0", "hostnameOverride": "job.example.com"}, "job.example.com"),
        ({"hostnameOverride": f"{'a' * 60}.-.b"}, "a" * 60),
        ({"hostNetwork": True, "hostname": "job-0", "nodeName": "node-1"}, "node-1"),
    ],
)
def test_the_host_name_is_in_the_environment(run: Run, spec: dict[str, Any], name: str) -> None:
    pod = run(shell("echo $HOSTNAME"), restartPolicy="Never", **spec)
    pod.until_over()
    assert pod.log() == [name.encode()]


def test_variables_are_put_into_command_and_args(run: Run) -> None:
    pod = run(
        {
            "name": "web",
            "command": ["/bin/sh", "-c", 'printf "%s\\n" "$0" "$@"', "$(WHO)"],
            "args": ["$(WHO)'s", "$(NOBODY)", "$$(WHO)", "$$$$", "100%"],
            "env": [{"name": "WHO", "value": "world"}],
        },
        restartPolicy="Never",
    )
    pod.until_over()
    assert pod.log() == [b"world", b"world's", b"$(NOBODY)", b"$(WHO)", b"$$", b"100%"]


def test_environment_values_are_never_written_or_shown(run: Run, root: Path) -> None:
    with structlog.testing.capture_logs() as logged:
        pod = run(shell("exec sleep 3600", env=[{"name": "PASSWORD", "value": SECRET}]))
        pod.until_running()
        shim = the_shim(root)
        seen = [path.read_bytes() for path in root.rglob("*") if path.is_file()]
        seen += [Path(f"/proc/{shim}/{name}").read_bytes() for name in ("cmdline", "environ")]
        pod.delete()
        pod.until_over()
    seen += [path.read_bytes() for path in root.rglob("*") if path.is_file()]
    assert not any(SECRET.encode() in content for content in seen)
    assert SECRET not in repr(logged)


def test_files_are_private_to_their_owner(run: Run, root: Path) -> None:
    pod = run(shell("echo hello"), restartPolicy="Never", activeDeadlineSeconds=3600)
    pod.until_over()
    for path in (root, *root.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_node_has_what_the_machine_has(runtime: ProcessRuntime) -> None:
    capacity = runtime.capacity()
    assert capacity["cpu"] == str(len(os.sched_getaffinity(0)))
    memory = int(capacity["memory"].removesuffix("Ki"))
    assert f"{memory} kB" in Path("/proc/meminfo").read_text().splitlines()[0]


def test_capacity_is_the_setting_or_the_machine(root: Path) -> None:
    assert ProcessRuntime(settings(root, capacity={"cpu": "3"})).capacity() == {"cpu": "3"}
