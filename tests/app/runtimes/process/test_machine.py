"""The usage of the machine, beside what Python and the tools of the system tell of it."""

import os
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.core.errors import Unavailable
from app.runtimes.process import machine
from app.runtimes.process.machine import Machine, occupied


def test_memory_disk_and_tasks_are_within_their_limits(tmp_path: Path) -> None:
    found = Machine(tmp_path).usage("node-1")
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    memory, disk = found.memory, shutil.disk_usage(tmp_path)
    assert memory.working_set_bytes + memory.available_bytes == pytest.approx(total, rel=0.01)
    assert 0 < memory.rss_bytes <= memory.usage_bytes <= total
    assert found.fs.capacity_bytes == disk.total
    assert 0 < found.rlimit.tasks < found.rlimit.max_pid
    assert found.node_name == "node-1"
    assert datetime.fromisoformat(found.start_time) < datetime.now(UTC)


def test_the_total_grows_by_the_work_of_processes(tmp_path: Path) -> None:
    measured = Machine(tmp_path)
    before, began = measured.usage("node-1").cpu, time.process_time()
    while time.process_time() < began + 0.2:
        pass
    after = measured.usage("node-1").cpu
    assert after.usage_core_nano_seconds - before.usage_core_nano_seconds > 0.1 * 10**9
    assert 0 < after.usage_nano_cores <= (os.cpu_count() or 1) * 1.2 * 10**9


def test_a_machine_that_cannot_be_read_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = Machine(tmp_path)
    monkeypatch.setattr(machine, "_PROC", tmp_path)
    with pytest.raises(Unavailable, match="No such file"):
        measured.usage("node-1")


def test_a_file_with_two_names_occupies_once(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "one").write_bytes(b"x" * 100_000)
    size, inodes = occupied(tmp_path)
    assert size >= 100_000
    assert inodes == 3
    (tmp_path / "other").hardlink_to(tmp_path / "folder" / "one")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    assert occupied(tmp_path)[1] == 4
    assert occupied(tmp_path)[0] < size + 100_000


def test_a_file_that_cannot_be_read_hides_no_others(tmp_path: Path) -> None:
    """As one whose path is longer than the system allows: a container can create it."""
    (tmp_path / "large").write_bytes(b"x" * 100_000)
    before = os.open(tmp_path, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=before)
        inner = os.open("d" * 250, os.O_RDONLY, dir_fd=before)
        os.close(before)
        before = inner
    os.close(before)
    assert occupied(tmp_path)[0] >= 100_000
