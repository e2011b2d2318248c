"""The usage of processes: what the shim measures when it is asked."""

import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.kubernetes.stats import ContainerStats
from app.runtimes.process import ProcessRuntime
from app.runtimes.process import usage as usage_module
from app.runtimes.usage import RunningContainer
from tests.app.runtimes.process import Driven, shell
from tests.app.runtimes.process.conftest import Run
from tests.sessions import finish
from tests.waiting import eventually

BURN = "import os, time\nwhile time.process_time() < 0.3: pass\n"
A_CHILD = f"import os, time\nif os.fork() == 0:\n    exec({BURN!r})\n    os._exit(0)\nos.wait()\ntime.sleep(60)"
AN_ORPHAN = (
    "import os, time\n"
    f"if os.fork() == 0:\n    if os.fork() == 0:\n        exec({BURN!r})\n    os._exit(0)\n"
    "os.wait()\ntime.sleep(60)"
)
ONE_SECOND = 10**9


def python(name: str, code: str) -> dict[str, Any]:
    return {"name": name, "image": "python", "command": [sys.executable, "-S", "-c", code]}


def usage(pod: Driven) -> dict[str, ContainerStats]:
    """Return the usage of the containers, as one request of the provider reads it."""
    reader = pod.runtime.usage(pod.pod)
    reader.prepare()
    found = reader.containers(RunningContainer.of(pod.read()), at=datetime.now(UTC), history=None)
    return {container.name: container for container in found}


def measured(pod: Driven, name: str = "web", *, core_seconds: float = 0) -> ContainerStats:
    """Wait until a container has used a number of core-seconds; return its usage."""

    def found() -> ContainerStats | None:
        container = usage(pod).get(name)
        is_enough = container and container.cpu.usage_core_nano_seconds >= core_seconds * ONE_SECOND
        return container if is_enough else None

    return eventually(found)


def test_all_processes_of_a_container_count(run: Run) -> None:
    """Its process, those of its children that have ended, and orphans that have ended."""
    large = "import time; x = b'x' * 64_000_000; time.sleep(60)"
    pod = run(
        python("busy", f"{BURN}time.sleep(60)"),
        python("child", A_CHILD),
        python("orphan", AN_ORPHAN),
        python("large", large),
    )
    busy, _, _ = (measured(pod, name, core_seconds=0.25) for name in ("busy", "child", "orphan"))
    assert busy.cpu.usage_core_nano_seconds < 2 * ONE_SECOND
    assert measured(pod, "large").memory.working_set_bytes > 64_000_000 > busy.memory.working_set_bytes


def test_a_daemon_that_has_ended_counts(run: Run, tmp_path: Path) -> None:
    """It has a session of its own and has lost its parent; the only container that runs is its container."""
    code = (
        "import os, time\nread, write = os.pipe()\n"
        f"if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        exec({BURN!r})\n    os._exit(0)\n"
        f"os.close(write)\nos.read(read, 1)\nopen('{tmp_path}/ended', 'w')\ntime.sleep(60)"
    )
    pod = run(python("web", code), initContainers=[shell("exit 0", "setup")])
    eventually((tmp_path / "ended").exists)
    assert measured(pod, core_seconds=0.25).cpu.usage_core_nano_seconds < 2 * ONE_SECOND


def test_an_ended_container_adds_to_no_other(run: Run) -> None:
    pod = run(python("busy", BURN), shell("exec sleep 60"), restartPolicy="Never")
    pod.until(lambda _: pod.container("busy").state.terminated)
    assert measured(pod).cpu.usage_core_nano_seconds < 0.25 * ONE_SECOND


def test_commands_and_hooks_count_for_their_container(run: Run) -> None:
    """Also those that have ended before the first measurement."""
    hook = {"postStart": {"exec": {"command": [sys.executable, "-S", "-c", BURN]}}}
    pod = run(
        shell("exec sleep 60"), shell("exec sleep 60", "hooked", lifecycle=hook), shell("exec sleep 60", "other")
    )
    pod.until_running()
    assert finish(pod.exec(sys.executable, "-S", "-c", BURN)).code == 0
    used = {name: measured(pod, name).cpu.usage_core_nano_seconds for name in ("web", "hooked", "other")}
    assert min(used["web"], used["hooked"]) > 0.25 * ONE_SECOND > used["other"]


def test_a_container_that_only_waits_has_used_something(run: Run) -> None:
    """metrics-server leaves out a pod with a container whose total is zero."""
    pod = run(shell("exec sleep 60"))
    pod.until_running()
    assert usage(pod)["web"].cpu.usage_core_nano_seconds > 0


def test_nothing_is_measured_while_nobody_asks(run: Run) -> None:
    pod = run(shell("exec sleep 60"))
    pod.until_running()
    assert not (pod.directory.path / "usage.json").exists()
    first = usage(pod)["web"]  # by the first request
    second = eventually(lambda: found if (found := measured(pod)).cpu.time > first.cpu.time else None)
    assert second.cpu.usage_core_nano_seconds >= first.cpu.usage_core_nano_seconds


def test_usage_that_is_not_measured_is_not_waited_for(
    runtime: ProcessRuntime, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of a pod without a shim, and that at a past time: otherwise it takes as long as a shim may take."""
    monkeypatch.setattr(usage_module, "_WAIT_SECONDS", 60)
    began = time.monotonic()
    assert not usage(Driven(runtime, shell("exec sleep 60")))
    short = shell(f"while [ ! -e {tmp_path}/go ]; do sleep 0.05; done", "short")
    pod = run(shell("exec sleep 60"), short, restartPolicy="Never")
    pod.until_running()
    past, reader = RunningContainer.of(pod.read()), pod.runtime.usage(pod.pod)
    (tmp_path / "go").touch()
    pod.until(lambda _: pod.container("short").state.terminated)
    reader.prepare()
    assert not reader.containers(past, at=datetime.now(UTC) - timedelta(hours=1), history=None)
    assert time.monotonic() - began < 30


def test_a_restart_begins_at_zero(run: Run, tmp_path: Path) -> None:
    script = (
        f"[ -e {tmp_path}/go ] || while [ ! -e {tmp_path}/go ]; do :; done; [ -e {tmp_path}/ran ] && exec sleep 60"
    )
    pod = run(shell(f"{script}; touch {tmp_path}/ran; exit 1"))
    before = measured(pod, core_seconds=0.5)
    (tmp_path / "go").touch()
    pod.until(lambda _: pod.container().restart_count == 1 and pod.container().state.running)
    after = measured(pod)
    assert after.start_time > before.start_time
    assert after.cpu.usage_core_nano_seconds < before.cpu.usage_core_nano_seconds


def test_the_directory_of_a_pod_is_its_storage(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pod = run(shell("head -c 300000 /dev/zero | tr '\\0' '\\n'; exec sleep 60"))
    reader = pod.runtime.usage(pod.pod)
    pod.until(lambda _: sum(path.stat().st_size for path in pod.directory.path.glob("web/*.log")) >= 300_000)
    found = reader.ephemeral_storage()
    assert found
    assert 300_000 <= found.used_bytes <= found.capacity_bytes
    (pod.directory.path / "more").write_bytes(b"x" * 500_000)
    assert reader.ephemeral_storage() == found  # measured a moment ago
    monkeypatch.setattr(usage_module, "_STORAGE_SECONDS", 0)
    later = pod.runtime.usage(pod.pod).ephemeral_storage()
    assert later
    assert later.used_bytes >= found.used_bytes + 500_000
    pod.delete(grace=0)


def test_the_processes_of_a_pod_are_unknown_with_a_shim_of_an_earlier_version(run: Run) -> None:
    """Such a shim writes no number of processes; the rest of its measurement counts."""
    pod = run(shell("exec sleep 60"))
    pod.until_running()
    measured(pod)
    reader, path = pod.runtime.usage(pod.pod), pod.directory.path / "usage.json"
    running, at = RunningContainer.of(pod.read()), datetime.now(UTC)
    reader.prepare()
    assert reader.containers(running, at=at, history=None)
    assert reader.process_count() == 1
    path.write_bytes(path.read_bytes().replace(b"processes", b"unknown"))
    assert reader.containers(running, at=at, history=None)
    assert reader.process_count() is None
