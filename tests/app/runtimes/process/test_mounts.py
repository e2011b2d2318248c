"""Volumes in the containers of a pod of processes: files, directories, and paths of the machine."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from app.runtimes import Volume
from app.runtimes.process import ProcessRuntime
from tests.app.runtimes.process import Driven, QuickRuntime, settings, shell
from tests.app.runtimes.process.volumes import UID, directory, files, needs_namespaces, put
from tests.sessions import finish
from tests.waiting import eventually

SLEEP = "exec sleep 3600"
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"
CONFIG = {"name": "config", "configMap": {"name": "app"}}
EMPTY = {"name": "cache", "emptyDir": {}}


def mount(path: str, name: str = "config", **more: Any) -> dict[str, Any]:
    return {"name": name, "mountPath": path, **more}


class Pod:
    """A pod with volumes that were sent before it was created."""

    def __init__(
        self, runtime: ProcessRuntime, script: str = SLEEP, *, volumes: list[dict[str, Any]], **more: Any
    ) -> None:
        self.runtime = runtime
        self.put(*more.pop("sent", []))
        spec = more.pop("spec", {})
        self.driven = Driven(runtime, shell(script, **more), uid=UID, volumes=volumes, **spec)
        self.driven.sync()

    def put(self, *volumes: Volume) -> None:
        put(self.runtime, *volumes)

    def sh(self, script: str) -> str:
        return finish(self.driven.sh(script)).stdout.decode()


@needs_namespaces
def test_volumes_are_mounted_where_the_container_wants(
    runtime: ProcessRuntime, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "host").mkdir()
    (tmp_path / "host" / "file").write_text("of the machine")
    host = {"name": "host", "hostPath": {"path": f"{tmp_path}/host", "type": "Directory"}}
    pod = Pod(
        runtime,
        volumes=[CONFIG, EMPTY, host],
        sent=[files(key="value", a__b="nested")],
        env=[{"name": "POD", "value": "web-0"}],
        workingDir="/data-of-the-test",
        volumeMounts=[
            mount("/etc/of-the-test/config"),
            mount("/etc/of-the-test/one.txt", subPath="a/b"),
            mount("/data-of-the-test", "cache", subPathExpr="logs/$(POD)"),
            mount(f"{TOKEN}", readOnly=True),
            mount("/host-of-the-test", "host", readOnly=True),
        ],
    )
    pod.driven.until_running()

    assert pod.sh("cat /etc/of-the-test/config/key /etc/of-the-test/one.txt") == "valuenested"
    assert pod.sh(f"stat -c %a /etc/of-the-test {TOKEN}/..") == "755\n755\n"
    assert pod.sh(f"cat {TOKEN}/key /host-of-the-test/file") == "valueof the machine"
    assert pod.sh("pwd; echo hello > greeting; cat greeting") == "/data-of-the-test\nhello\n"
    readonly = pod.sh(
        "for d in etc/of-the-test/config host-of-the-test; do touch /$d/x 2>/dev/null || echo no; done"
    )
    assert readonly == "no\nno\n"
    for path in ("/etc/of-the-test", "/data-of-the-test", "/host-of-the-test"):
        assert not os.path.exists(path)
    pod.put(files(key="changed"))
    assert pod.sh("cat /etc/of-the-test/config/key; ls /etc/of-the-test/config") == "changedkey\n"
    assert (pod.driven.directory.path / ".empty/cache/logs/web-0/greeting").read_text() == "hello\n"

    pod.driven.delete(grace=0)
    pod.driven.until_over()
    assert not (pod.driven.directory.path / ".empty").exists()
    assert not directory(root).exists()


@needs_namespaces
def test_an_update_reaches_volumes_with_others_inside(runtime: ProcessRuntime, root: Path) -> None:
    pod = Pod(
        runtime,
        volumes=[CONFIG, EMPTY, {"name": "secret", "secret": {"secretName": "app"}}],
        sent=[files(key="value"), files("secret", password="hidden")],
        volumeMounts=[
            mount("/of-the-test"),
            mount("/of-the-test/cache/deep", "cache"),
            mount("/of-the-test/one.txt", "secret", subPath="password"),
        ],
    )
    pod.driven.until_running()
    pod.put(files(key="changed", new="file"))
    assert (
        pod.sh("cd /of-the-test; cat key new one.txt; touch cache/deep/x && echo yes") == "changedfilehiddenyes\n"
    )
    pod.put(files(key="changed"))
    assert pod.sh("ls /of-the-test") == "cache\nkey\none.txt\n"


@needs_namespaces
def test_a_sub_path_may_be_in_memory(runtime: ProcessRuntime) -> None:
    memory = {"name": "cache", "emptyDir": {"medium": "Memory"}}
    mounts = [mount("/of-the-test", "cache", subPath="a/b"), mount("/all-of-the-test", "cache")]
    pod = Pod(runtime, volumes=[memory], volumeMounts=mounts)
    pod.driven.until_running()
    assert pod.sh("echo shared > /of-the-test/file; cat /all-of-the-test/a/b/file") == "shared\n"


@needs_namespaces
def test_directories_of_a_sub_path_have_the_volumes_mode(runtime: ProcessRuntime) -> None:
    mounts = [mount("/of-the-test", "cache", subPath="a/b"), mount("/all-of-the-test", "cache")]
    pod = Pod(runtime, volumes=[EMPTY], volumeMounts=mounts, spec={"securityContext": {"fsGroup": os.getegid()}})
    pod.driven.until_running()
    assert pod.sh("cd /all-of-the-test; stat -c %a . a a/b") == "2777\n" * 3


@needs_namespaces
def test_a_mount_hides_neither_files_nor_mounts(runtime: ProcessRuntime, root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("of the machine")
    host = {"name": "host", "hostPath": {"path": f"{tmp_path}/file"}}
    above = os.path.commonpath([root, tmp_path])
    pod = Pod(
        runtime,
        volumes=[CONFIG, EMPTY, host],
        sent=[files(key="value")],
        volumeMounts=[
            mount(f"{tmp_path}/file", "host"),
            mount("/of-the-test/inner", "cache"),
            mount("/of-the-test//"),
            mount(f"{above}/", "cache"),
        ],
    )
    pod.driven.until_running()
    assert (
        pod.sh(f"cat {tmp_path}/file /of-the-test/key; ls -d /of-the-test/inner")
        == "of the machinevalue/of-the-test/inner\n"
    )


@needs_namespaces
def test_an_ephemeral_container_mounts_another_volume(runtime: ProcessRuntime) -> None:
    late = {"name": "late", "configMap": {"name": "app"}}
    memory = {"name": "memory", "emptyDir": {"medium": "Memory"}}
    pod = Pod(runtime, volumes=[EMPTY, late, memory], volumeMounts=[mount("/x-of-the-test", "cache")])
    pod.driven.until_running()
    pod.put(files("late", key="value"))
    mounts = [mount("/of-the-test", "late"), mount("/memory-of-the-test", "memory")]
    debug = shell("cat /of-the-test/key; df /memory-of-the-test | tail -1", "debug", volumeMounts=mounts)
    pod.driven.change(ephemeralContainers=[debug])
    pod.driven.until(lambda _: pod.driven.container("debug").state.terminated)
    log = b"".join(pod.driven.log("debug"))
    assert log.startswith(b"valuetmpfs")


@needs_namespaces
def test_a_restarted_provider_updates_the_same_files(runtime: ProcessRuntime, root: Path) -> None:
    pod = Pod(
        runtime, "cat /etc/of-the-test/key; sleep 0.05", volumes=[CONFIG], sent=[files(key="one\n")],
        volumeMounts=[mount("/etc/of-the-test")],
    )  # fmt: skip
    pod.driven.until_logged(b"one")
    pod.driven.runtime = pod.runtime = QuickRuntime(settings(root))
    pod.put(files(key="two\n"))
    pod.driven.until(lambda status: status.container_statuses[0].restart_count > 1)
    pod.driven.until_logged(b"two")


@needs_namespaces
def test_nothing_else_changes_for_the_container(runtime: ProcessRuntime) -> None:
    script = "ls / /etc /usr; id; pwd; cat /etc/passwd; ls -d /proc/$$; ulimit -a"
    pod = Pod(runtime, volumes=[CONFIG], sent=[files(key="value")], volumeMounts=[mount("/etc/of-the-test")])
    pod.driven.until_running()
    plain = Driven(runtime, shell(SLEEP))
    plain.sync()
    plain.until_running()
    inside, outside = pod.sh(script).splitlines(), finish(plain.sh(script)).stdout.decode().splitlines()
    differences = {line for line in set(inside) ^ set(outside) if not line.startswith("/proc/")}
    assert differences == {"of-the-test"}


@needs_namespaces
def test_containers_share_an_empty_dir_in_memory(runtime: ProcessRuntime) -> None:
    memory = {"name": "cache", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}
    put(runtime)
    pod = Driven(
        runtime,
        shell("echo shared > /of-the-test/file; " + SLEEP, volumeMounts=[mount("/of-the-test", "cache")]),
        shell(SLEEP, "other", volumeMounts=[mount("/elsewhere-of-the-test", "cache")]),
        uid=UID,
        volumes=[memory],
    )
    pod.sync()
    pod.until_running()
    read = (
        "/bin/sh",
        "-c",
        "cat /elsewhere-of-the-test/file; df /elsewhere-of-the-test | tail -1 | cut -d' ' -f1",
    )
    eventually(lambda: finish(pod.exec(*read, container="other")).stdout == b"shared\ntmpfs\n")
    full = finish(pod.sh("head -c 2M /dev/zero > /of-the-test/large || echo full"))
    assert full.stdout == b"full\n"


def test_without_namespaces_variables_have_the_paths(root: Path) -> None:
    runtime = QuickRuntime(settings(root, mounts="environment"))
    pod = Pod(
        runtime,
        "cat $VOLUME_CONFIG/key; " + SLEEP,
        volumes=[CONFIG, EMPTY],
        sent=[files(key="value\n")],
        volumeMounts=[mount("/etc/of-the-test"), mount("/data-of-the-test", "cache")],
    )
    pod.driven.until_running()
    pod.driven.until_logged(b"value")
    assert pod.sh("echo $VOLUME_CACHE") == f"{pod.driven.directory.path}/.empty/cache\n"
    assert pod.driven.status.message == (
        "the volumes are not mounted (MOUNTS=environment); $VOLUME_NAME has the directory of each"
    )


def test_a_pod_waits_for_its_files(runtime: ProcessRuntime) -> None:
    pod = Pod(runtime, volumes=[CONFIG], volumeMounts=[mount("/etc/of-the-test")])
    pod.driven.until(lambda _: _message(pod.driven))
    waiting = pod.driven.container().state.waiting
    assert waiting
    assert waiting.reason == "ContainerCreating"
    assert waiting.message == 'MountVolume.SetUp failed for volume "config" : its files have not been sent'
    pod.put(files(key="value"))
    pod.driven.until_running()


def test_a_token_that_nobody_sends_is_ignored(runtime: ProcessRuntime) -> None:
    token = {"name": "kube-api-access-x", "projected": {"sources": []}}
    pod = Pod(runtime, volumes=[token], volumeMounts=[mount(TOKEN, "kube-api-access-x")])
    pod.driven.until_running()


@pytest.mark.parametrize(
    ("type_", "name"),
    [("Directory", "directory"), ("File", "file"), ("Socket", "socket file"), ("CharDevice", "character device")],
)
def test_a_host_path_of_another_type_waits(runtime: ProcessRuntime, tmp_path: Path, type_: str, name: str) -> None:
    path = f"{tmp_path}/missing"
    host = {"name": "host", "hostPath": {"path": path, "type": type_}}
    pod = Pod(runtime, volumes=[host], volumeMounts=[mount(path, "host")])
    pod.driven.until(lambda _: _message(pod.driven))
    assert _message(pod.driven) == (
        f'MountVolume.SetUp failed for volume "host" : hostPath type check failed: {path} is not a {name}'
    )


def test_host_paths_are_created_where_wanted(runtime: ProcessRuntime, tmp_path: Path) -> None:
    kinds = {"DirectoryOrCreate": "directory", "FileOrCreate": "file", "": "unset"}
    volumes = [{"name": n, "hostPath": {"path": f"{tmp_path}/{n}", "type": t}} for t, n in kinds.items()]
    pod = Pod(runtime, volumes=volumes, volumeMounts=[mount(f"{tmp_path}/{n}", n) for n in kinds.values()])
    pod.driven.until_running()
    assert [(tmp_path / name).is_dir() for name in kinds.values()] == [True, False, True]
    assert (tmp_path / "file").is_file()
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in kinds.values()]
    assert modes == [0o755, 0o644, 0o755]


def test_a_full_empty_dir_evicts_the_pod(root: Path) -> None:
    runtime = QuickRuntime(settings(root, mounts="environment"))
    cache = {"name": "cache", "emptyDir": {"sizeLimit": "64Ki"}}
    mounts = [mount("/cache-of-the-test", "cache")]
    fill = shell("head -c 200K /dev/zero > $VOLUME_CACHE/large", "init", volumeMounts=mounts)
    # Measured when a container is started, and every ten seconds.
    pod = Pod(runtime, volumes=[cache], volumeMounts=mounts, spec={"initContainers": [fill]})
    status = pod.driven.until_over()
    assert (status.phase, status.reason) == ("Failed", "Evicted")
    assert status.message == 'Usage of EmptyDir volume "cache" exceeds the limit "64Ki". '


@needs_namespaces
def test_a_sub_path_out_of_its_volume_is_refused(runtime: ProcessRuntime) -> None:
    pod = Driven(
        runtime,
        shell(SLEEP, volumeMounts=[mount("/of-the-test", "cache", subPath="link")]),
        initContainers=[
            shell("ln -s /etc /of-the-test/link", "init", volumeMounts=[mount("/of-the-test", "cache")])
        ],
        uid=UID,
        volumes=[EMPTY],
    )
    pod.sync()
    pod.until(lambda _: _message(pod))
    waiting = pod.container().state.waiting
    assert waiting
    assert (waiting.reason, waiting.message) == (
        "CreateContainerConfigError",
        'failed to prepare subPath for volumeMount "cache" of container "web"',
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to any group")
def test_files_belong_to_the_group_of_the_pod(runtime: ProcessRuntime, root: Path) -> None:
    pod = Pod(
        runtime,
        volumes=[CONFIG, EMPTY],
        sent=[files(key="value")],
        volumeMounts=[mount("/etc/of-the-test"), mount("/data-of-the-test", "cache")],
        spec={"securityContext": {"fsGroup": 4242}},
    )
    pod.driven.until_running()
    assert (directory(root) / "key").stat().st_gid == 4242
    assert (pod.driven.directory.path / ".empty/cache").stat().st_mode & 0o7777 == 0o2777
    pod.put(files(key="changed"))
    assert (directory(root) / "key").stat().st_gid == 4242


def _message(pod: Driven) -> str | None:
    waiting = pod.container().state.waiting
    return waiting.message if waiting else None


ALIASES = {"hostAliases": [{"ip": "192.0.2.7", "hostnames": ["db.of-the-test", "db"]}, {"ip": "192.0.2.8"}]}


@needs_namespaces
def test_host_aliases_are_in_the_hosts_file(runtime: ProcessRuntime) -> None:
    before = Path("/etc/hosts").read_bytes()
    pod = Pod(runtime, volumes=[], spec=ALIASES)
    pod.driven.until_running()
    lines = pod.sh("cat /etc/hosts; stat -c %a /etc/hosts").splitlines()
    aliases = ["# Entries added by HostAliases.", "192.0.2.7\tdb.of-the-test\tdb", "192.0.2.8"]
    assert lines[0] == "# Kubernetes-managed hosts file (host network)."
    assert lines[1:-5] == before.decode().splitlines()
    assert lines[-5:] == ["", *aliases, "644"]
    assert pod.sh("getent hosts db.of-the-test").split() == ["192.0.2.7", "db.of-the-test", "db"]
    assert Path("/etc/hosts").read_bytes() == before


@needs_namespaces
def test_a_volume_may_hide_the_hosts_file(runtime: ProcessRuntime) -> None:
    mounts = [mount("/etc/hosts", subPath="key")]
    pod = Pod(runtime, volumes=[CONFIG], sent=[files(key="own")], volumeMounts=mounts, spec=ALIASES)
    pod.driven.until_running()
    assert pod.sh("cat /etc/hosts") == "own"


def test_without_mounts_host_aliases_have_no_effect(root: Path) -> None:
    pod = Pod(QuickRuntime(settings(root, mounts="environment")), volumes=[], spec=ALIASES)
    pod.driven.until_running()
    assert pod.sh("cat /etc/hosts") == Path("/etc/hosts").read_text()
