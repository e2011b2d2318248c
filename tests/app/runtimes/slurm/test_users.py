"""Jobs of users by a table of namespaces: who may run them, and who sees their files."""

import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.core.errors import ConfigurationError, InvalidRequest
from app.kubernetes.pod import PodReference
from app.runtimes.process.pod_dir import microseconds
from app.runtimes.slurm import SlurmRuntime
from app.runtimes.slurm.users import as_owner_of, as_provider
from tests.app.runtimes.process import Driven, settings, shell
from tests.app.runtimes.process.volumes import files
from tests.app.runtimes.slurm.cluster import SlurmCluster
from tests.app.runtimes.slurm.conftest import QuickSlurmRuntime, annotated, output
from tests.waiting import eventually

NAME = "nobody"
USER = pwd.getpwnam(NAME)
SLEEP = shell("exec sleep 3600")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs jobs as other users")


@pytest.fixture
def shared() -> Iterator[Path]:
    """Yield a directory that other users can reach, as that of a test is not."""
    path = Path(tempfile.mkdtemp(prefix="slurm-shared-", dir="/tmp"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def users_runtime(shared: Path) -> SlurmRuntime:
    """Return a runtime whose pods run as a user of their namespace."""
    return QuickSlurmRuntime(settings(shared / "runtime", slurm_users={"default": [NAME], "both": ["root", NAME]}))


@pytest.fixture
def owned(users_runtime: SlurmRuntime, cluster: SlurmCluster) -> SlurmRuntime:
    """Return the runtime on a cluster, with a Python that other users can run."""
    python = shutil.which("python3", path=os.defpath)
    chosen = users_runtime.settings.model_copy(update={"slurm_python": python})
    return QuickSlurmRuntime(chosen)


def test_without_a_table_the_annotation_is_refused(tmp_path: Path) -> None:
    runtime = SlurmRuntime(settings(tmp_path))
    with pytest.raises(InvalidRequest, match="SLURM_USERS") as refused:
        Driven(runtime, SLEEP, metadata={"annotations": annotated(user=NAME)})
    assert refused.value.field == "metadata.annotations[slurm.virtual-kubelet.io/user]"


@needs_root
@pytest.mark.parametrize(
    ("namespace", "annotations"),
    [("elsewhere", {}), ("elsewhere", annotated(user=NAME)), ("default", annotated(user="root"))],
    ids=["no users", "no such namespace", "not of this namespace"],
)
def test_a_user_without_permission_is_refused(
    namespace: str, annotations: dict[str, str], users_runtime: SlurmRuntime
) -> None:
    with pytest.raises(InvalidRequest, match="SLURM_USERS") as refused:
        Driven(users_runtime, SLEEP, metadata={"namespace": namespace, "annotations": annotations})
    assert refused.value.field == "metadata.annotations[slurm.virtual-kubelet.io/user]"


@needs_root
def test_a_change_of_the_user_is_refused(users_runtime: SlurmRuntime) -> None:
    pod = Driven(users_runtime, SLEEP, metadata={"namespace": "both"})
    other = Driven(users_runtime, SLEEP, metadata={"namespace": "both", "annotations": annotated(user=NAME)})
    with pytest.raises(InvalidRequest, match="a job cannot be changed"):
        users_runtime.update(other.pod, before=pod.pod.manifest, current=pod.timeline[-1], now=pod.pod.accepted_at)


@needs_root
def test_an_unknown_user_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="SLURM_USERS: nobody-here: no such user"):
        SlurmRuntime(settings(tmp_path, slurm_users={"default": ["nobody-here"]}))


def test_only_root_may_have_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1001)
    with pytest.raises(ConfigurationError, match="SLURM_USERS: only a provider of root"):
        SlurmRuntime(settings(tmp_path, slurm_users={"default": [NAME]}))


@needs_root
def test_files_of_others_are_not_readable(shared: Path) -> None:
    secret, link = shared / "secret", shared / "theirs" / "log"
    secret.write_text("of root")
    secret.chmod(0o600)
    link.parent.mkdir()
    link.symlink_to(secret)
    os.chown(link.parent, USER.pw_uid, USER.pw_gid)
    with as_owner_of(link.parent):
        with pytest.raises(PermissionError):
            link.read_text()
        (link.parent / "new").touch()
        with as_provider():
            assert link.read_text() == "of root"
    assert link.read_text() == "of root"
    assert (link.parent / "new").stat().st_uid == USER.pw_uid


@needs_root
def test_a_job_runs_as_the_user_of_its_namespace(owned: SlurmRuntime, cluster: SlurmCluster) -> None:
    mount = {"name": "config", "mountPath": "/media"}
    pod = Driven(
        owned,
        shell(
            "id -un; echo $USER $LOGNAME $HOME; cat ${VOLUME_CONFIG:-/media}/greeting; exec sleep 3600",
            volumeMounts=[mount],
        ),
        volumes=[{"name": "config", "configMap": {"name": "config"}}],
        restartPolicy="Never",
    )
    owned.put_volumes(PodReference("default", "web-0", pod.uid), [files(greeting="hello\n")])
    pod.sync()
    pod.until_logged(b"hello")
    assert pod.log() == [NAME.encode(), f"{NAME} {NAME} {USER.pw_dir}".encode(), b"hello"]
    assert cluster.jobs("%u", "%T") == [[NAME, "RUNNING"]]
    for streams in ({"stdout": True}, {"stdout": True, "stdin": True, "tty": True}):
        session = pod.sh("id -un", **streams)
        assert output(session.terminal or session.stdout).strip() == NAME.encode()
        assert session.wait() == 0
    owned.put_volumes(PodReference("default", "web-0", pod.uid), [files(greeting="again\n")])
    everything = [pod.directory.path.parent, *pod.directory.path.parent.rglob("*")]
    assert {path.lstat().st_uid for path in everything} == {USER.pw_uid}
    assert not stat.S_IMODE(everything[0].stat().st_mode) & 0o077
    pod.delete(grace=0)
    assert pod.until_over().phase == "Failed"
    pod.read(after=timedelta(hours=1))
    assert not pod.directory.path.parent.exists()


@needs_root
def test_a_linked_log_shows_no_file_of_root(owned: SlurmRuntime, shared: Path, cluster: SlurmCluster) -> None:
    secret = shared / "secret"
    secret.write_text("2026-11-22T08:46:38.123456789Z stdout F of root\n")
    secret.chmod(0o600)
    at = datetime.now(UTC)
    log = shared / "runtime" / "6f1c" / str(microseconds(at)) / "web" / "0.0.log"
    script = f"echo up; until [ -e {log} ]; do sleep 0.01; done; ln -sf {secret} {log}; exec sleep 3600"
    pod = Driven(owned, shell(script), uid="6f1c", accepted_at=at, restartPolicy="Never")
    pod.sync()
    pod.until_running()
    eventually(log.is_symlink)
    with pytest.raises(PermissionError):
        pod.log()
