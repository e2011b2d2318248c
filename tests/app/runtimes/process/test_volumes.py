"""Files of volumes, as a kubelet writes them."""

import fcntl
import os
import stat
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.core.errors import InvalidRequest, Unavailable
from app.runtimes import Volume, VolumeFile
from app.runtimes.process import ProcessRuntime
from app.runtimes.process import volumes as module
from tests.app.runtimes.process import QuickRuntime, settings
from tests.app.runtimes.process.volumes import UID, directory, files, put
from tests.waiting import together


def contents(path: Path) -> dict[str, str]:
    """Return the files that a container sees."""
    return {
        str(found.relative_to(path)): found.read_text()
        for entry in path.iterdir()
        if not entry.name.startswith("..")
        for found in ([entry] if entry.is_file() else entry.rglob("*"))
        if found.is_file()
    }


def test_files_are_links_into_one_version(runtime: ProcessRuntime, root: Path) -> None:
    put(runtime, files(key="value", a__b="nested"))

    found = directory(root)
    version = os.readlink(found / "..data")
    assert os.readlink(found / "key") == "..data/key"
    assert os.readlink(found / "a") == "..data/a"
    assert contents(found) == {"key": "value", "a/b": "nested"}
    assert sorted(os.listdir(found)) == sorted(["..data", version, "a", "key"])
    assert stat.S_IMODE((found / "key").stat().st_mode) == 0o640
    assert stat.S_IMODE((root / UID).stat().st_mode) == 0o700


def test_a_change_replaces_all_files_at_once(runtime: ProcessRuntime, root: Path) -> None:
    put(runtime, files(key="one", old="removed"), files("other", kept="as it was"))
    before = os.readlink(directory(root) / "..data")
    held = os.open(directory(root) / "..data", os.O_RDONLY)
    put(runtime, files(key="two", new="added"))
    try:
        assert contents(directory(root)) == {"key": "two", "new": "added"}
        assert contents(directory(root, "other")) == {"kept": "as it was"}
        assert before not in os.listdir(directory(root))
    finally:
        os.close(held)


def test_the_same_files_are_not_written_again(runtime: ProcessRuntime, root: Path) -> None:
    put(runtime, files(key="value"))
    version = os.readlink(directory(root) / "..data")
    put(runtime, files(key="value"))
    assert os.readlink(directory(root) / "..data") == version
    put(runtime, Volume(name="config", files=[VolumeFile(path="key", mode=0o600, data=b"value")]))
    assert os.readlink(directory(root) / "..data") != version


def test_a_version_of_a_killed_writer_is_replaced(runtime: ProcessRuntime, root: Path) -> None:
    put(runtime, files(key="one"))
    (directory(root) / "..2026_11_27_00_00_00.1").mkdir()
    (directory(root) / "..data_tmp").symlink_to("..2026_11_27_00_00_00.1")
    put(runtime, files(key="two"))
    assert contents(directory(root)) == {"key": "two"}
    assert len(os.listdir(directory(root))) == 3


def test_many_writers_leave_one_version(runtime: ProcessRuntime, root: Path) -> None:
    def write(number: int) -> None:
        put(runtime, files(a=str(number), b=str(number)))

    together(8, write)
    found = contents(directory(root))
    assert found["a"] == found["b"]
    assert len(os.listdir(directory(root))) == 4


def test_a_long_write_holds_up_no_other_request(
    runtime: ProcessRuntime, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOCK_SECONDS", 0.1)
    put(runtime, files(key="value"))
    writer = os.open(module.volumes_of(root / UID), os.O_RDONLY)
    fcntl.flock(writer, fcntl.LOCK_EX)
    with pytest.raises(Unavailable, match="are being written by another request"):
        put(runtime, files(key="changed"))
    os.close(writer)
    put(runtime, files(key="changed"))
    assert (directory(root) / "key").read_text() == "changed"


def test_a_file_that_nobody_may_read_is_replaced(runtime: ProcessRuntime, root: Path) -> None:
    for text in ("one", "one", "two"):
        put(runtime, Volume(name="config", files=[VolumeFile(path="key", mode=0, data=text.encode())]))
    (directory(root) / "key").chmod(0o400)
    assert (directory(root) / "key").read_text() == "two"


def test_a_uid_that_is_no_name_is_refused(runtime: ProcessRuntime) -> None:
    with pytest.raises(InvalidRequest, match=r"metadata\.uid"):
        put(runtime, files(key="value"), uid="../other")


def test_files_of_unknown_pods_are_removed(runtime: ProcessRuntime, root: Path) -> None:
    for uid in ("never", "created", "new"):
        put(runtime, files(key="value"), uid=uid)
    (root / "created" / "lock").touch()
    for uid in ("never", "created"):
        os.utime(root / uid / "volumes", (0, time.time() - 601))
    QuickRuntime(settings(root))  # the provider starts again
    assert sorted(os.listdir(root)) == ["created", "new"]


def test_reports_of_the_node_remove_old_files(
    runtime: ProcessRuntime, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(runtime, files(key="value"))
    os.utime(root / UID / "volumes", (0, time.time() - 601))
    monkeypatch.setattr("app.runtimes.process.runtime._SWEEP_SECONDS", 0)
    runtime.conditions(now=datetime.now(UTC), since=datetime.now(UTC))
    assert os.listdir(root) == []
