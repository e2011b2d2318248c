"""Fields of a pod that processes support, and those that are refused."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest
import structlog

from app.core.errors import InvalidRequest
from app.kubernetes.env import expand
from app.runtimes.process import ProcessRuntime
from app.runtimes.process.shim.container import BackOff
from tests.app.runtimes.process import SECRET, Driven, settings, shell, the_shim
from tests.app.runtimes.process.conftest import Run

TOKEN = {"name": "kube-api-access-x", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}


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


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(A)$(B)", "1$(B)"),
        ("$A", "$A"),
        ("$(A", "$(A"),
        ("$()", "$()"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$", "$"),
        ("", ""),
    ],
)
def test_a_variable_is_replaced_as_kubernetes_does(text: str, expanded: str) -> None:
    assert expand(text, {"A": "1"}) == expanded


@pytest.mark.parametrize(
    ("container", "spec", "field"),
    [
        ({"command": None, "args": ["a"]}, {}, "spec.containers[0].command"),
        ({"name": "../web"}, {}, "spec.containers[0].name"),
        ({"command": ["a\0b"]}, {}, "spec.containers[0]"),
        ({"env": [{"name": "A=B", "value": SECRET}]}, {}, "spec.containers[0].env[0].name"),
        ({"env": [{"name": "A", "value": SECRET + "\0"}]}, {}, "spec.containers[0]"),
        (
            {"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]},
            {},
            "spec.containers[0].env[0].valueFrom",
        ),
        ({"volumeMounts": [TOKEN, {"name": "a", "mountPath": "/a"}]}, {}, "spec.containers[0].volumeMounts[1]"),
        (
            {"volumeMounts": [{"name": "a", "mountPath": "/a"}]},
            {"volumes": [{"name": "a", "persistentVolumeClaim": {"claimName": "b"}}]},
            "spec.containers[0].volumeMounts[0]",
        ),
        ({"volumeDevices": [{"name": "a", "devicePath": "/a"}]}, {}, "spec.containers[0].volumeDevices"),
        ({"securityContext": {"runAsUser": 12345}}, {}, "spec.containers[0].securityContext.runAsUser"),
        ({}, {"securityContext": {"runAsUser": 12345}}, "spec.containers[0].securityContext.runAsUser"),
        (
            {},
            {"ephemeralContainers": [shell("true", "debug", volumeMounts=[{"name": "a", "mountPath": "/a"}])]},
            "spec.ephemeralContainers[0].volumeMounts[0]",
        ),
        ({}, {"uid": "../../etc"}, "metadata.uid"),
        ({}, {"initContainers": [{"name": "init"}]}, "spec.initContainers[0].command"),
    ],
)
def test_an_unsupported_field_is_refused_by_name(
    runtime: ProcessRuntime, *, container: dict[str, Any], spec: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        Driven(runtime, {**shell("true"), **container}, **spec)
    assert refusal.value.field == field
    assert SECRET not in str(refusal.value)


@pytest.mark.parametrize(
    ("container", "spec"),
    [
        ({"volumeMounts": [TOKEN]}, {}),
        (
            {"volumeMounts": [{"name": "a", "mountPath": "/tmp"}]},
            {"volumes": [{"name": "a", "hostPath": {"path": "/tmp"}}]},
        ),
        *(
            (
                {"volumeMounts": [{"name": "a", "mountPath": "/a", "subPath": "b", "readOnly": True}]},
                {"volumes": [{"name": "a", kind: {}}]},
            )
            for kind in ("configMap", "secret", "projected", "downwardAPI", "emptyDir")
        ),
        ({"securityContext": {"runAsUser": os.geteuid()}}, {}),
    ],
)
def test_a_field_with_its_default_is_accepted(
    runtime: ProcessRuntime, container: dict[str, Any], spec: dict[str, Any]
) -> None:
    assert Driven(runtime, {**shell("true"), **container}, **spec).status.phase == "Pending"


@pytest.mark.parametrize(
    "spec",
    [
        {"containers": [shell("false")]},
        {"containers": [shell("true", workingDir="/tmp")]},
        {"containers": [shell("true"), shell("true", "other")]},
        {"restartPolicy": "Never"},
    ],
)
def test_a_running_command_cannot_be_changed(runtime: ProcessRuntime, spec: dict[str, Any]) -> None:
    pod = Driven(runtime, shell("true"))
    with pytest.raises(InvalidRequest):
        pod.change(**spec)


def test_an_environment_that_is_resolved_anew_changes_nothing(runtime: ProcessRuntime) -> None:
    pod = Driven(runtime, shell("true"))
    pod.change(containers=[shell("true", image="busybox:2", env=[{"name": "A", "value": "1"}])])


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


def test_back_off_doubles_and_resets_after_long_runs() -> None:
    back_off = BackOff(10, 300)
    pauses, now = [], 0.0
    for _ in range(8):
        pauses.append(back_off.pause(now))
        restarted = now + pauses[-1]
        back_off.restart(now, restarted)
        now = restarted + 1  # it runs for a second
    assert pauses == [0, 10, 20, 40, 80, 160, 300, 300]
    assert back_off.pause(now + 598) == 300
    assert back_off.pause(now + 600) == 0
    back_off.restart(now + 600, now + 600)
    assert back_off.pause(now + 601) == 10
