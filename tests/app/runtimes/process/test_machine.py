"""The usage of the machine, beside what Python and the tools of the system tell of it."""

import os
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.core.errors import Unavailable
from app.runtimes.process import machine
from app.runtimes.process.machine import Machine


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
