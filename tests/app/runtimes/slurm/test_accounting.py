"""Jobs that have left the queue: what sacct prints, how often it is asked, and the statuses of their pods."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.runtimes.slurm import accounting as module
from app.runtimes.slurm.accounting import Accounting, AnswerPending, parse_accounting
from app.runtimes.slurm.job_queue import Job, JobKey
from tests.app.runtimes.process import Driven, shell, the_shim
from tests.app.runtimes.slurm.cluster import SlurmCluster
from tests.app.runtimes.slurm.conftest import Run
from tests.waiting import eventually

KEY = JobKey("uid", 5, 1001)
END = 1795802681
OFF = "echo Slurm accounting storage is disabled >&2; exit 1"
"""What sacct does with AccountingStorageType=accounting_storage/none."""
DOWN = "echo sacct: error: Problem talking to the database: Connection refused >&2; exit 1"


def a_line(
    number: int | str, state: str, code: str = "0:0", *, name: str = "web.uid.5", user: int = 1001, submit: int = 1
) -> str:
    return f"{number}|{user}|{submit}|{state}|{code}|{END}|n1|{name}\n"


def a_job(number: int, state: str, exit_code: int | None = None) -> Job:
    return Job(number, state, 0, None, END, "n1", "", exit_code)


Fake = Callable[..., Path]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Return a function that puts a script in the place of a program, and returns the file with its calls."""
    programs = tmp_path / "bin"
    programs.mkdir()

    def fake(name: str, script: str = "", *, prints: str = "") -> Path:
        calls, output = tmp_path / f"{name}.calls", tmp_path / f"{name}.output"
        calls.touch()
        output.write_text(prints)
        program = programs / name
        program.write_text(f'#!/bin/sh\necho "$*" >> {calls}\n{script or f"cat {output}"}\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
        return calls

    return fake


class Clock:
    """A clock that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock))
    return clock


def answer(accounting: Accounting, clock: Clock, *, number: int = 7) -> Job | None:
    """Call as often as it takes, a minute apart."""
    while True:
        try:
            return accounting.job(KEY, number)
        except AnswerPending:
            clock.now += 60


def test_the_end_of_a_job_is_parsed() -> None:
    found = parse_accounting(
        a_line(1, "CANCELLED by 1001", name="a|b.one.1")
        + a_line(2, "FAILED", "7:0", name="a.two.2")
        + a_line(3, "FAILED", "0:9", name="a.three.3")
        + a_line(4, "OUT_OF_MEMORY", "0:125", name="a.four.4")
        + a_line(5, "COMPLETED", name="simulation")
        + a_line("6+0", "COMPLETED", name="a.six.6")
    )
    assert list(found.values()) == [
        a_job(1, "CANCELLED"),
        a_job(2, "FAILED", 7),
        a_job(3, "FAILED", 137),
        a_job(4, "OUT_OF_MEMORY"),
    ]


def test_the_last_record_of_a_requeued_job_counts() -> None:
    lines = [a_line(7, "NODE_FAIL", submit=1), a_line(7, "TIMEOUT", submit=2)]
    assert parse_accounting("".join(lines)) == parse_accounting("".join(reversed(lines)))
    assert parse_accounting("".join(lines))[KEY].state == "TIMEOUT"


@pytest.mark.parametrize("other", [{"name": "web.other.5"}, {"user": 1002}], ids=["name", "user"])
def test_another_job_with_its_id_is_not_returned(other: dict[str, Any], fake: Fake, clock: Clock) -> None:
    fake("sacct", prints=a_line(7, "COMPLETED", **other))
    assert answer(Accounting(interval=2), clock) is None


def test_pods_are_asked_for_together(fake: Fake, clock: Clock) -> None:
    keys = {number: JobKey(f"uid-{number}", number, 1001) for number in range(1, 5)}
    calls = fake("sacct", prints="".join(a_line(n, "TIMEOUT", name=f"web.uid-{n}.{n}") for n in keys))
    accounting = Accounting(interval=2)
    assert accounting.job(keys[1], 1) == a_job(1, "TIMEOUT")
    for number in (2, 3, 4):
        with pytest.raises(AnswerPending):
            accounting.job(keys[number], number)
    clock.now += 2
    assert [accounting.job(keys[number], number) for number in (2, 3, 4)] == [
        a_job(number, "TIMEOUT") for number in (2, 3, 4)
    ]
    asked = [line.split("--jobs=")[1].split()[0] for line in calls.read_text().splitlines()]
    assert asked == ["1", "2,3,4"]


def test_without_accounting_it_is_asked_once(fake: Fake, clock: Clock) -> None:
    calls = fake("sacct", OFF)
    accounting = Accounting(interval=2)
    for number in range(3):
        assert accounting.job(JobKey(f"uid-{number}", 1, 1001), number) is None
        clock.now += 60
    assert len(calls.read_text().splitlines()) == 1


def test_without_sacct_nothing_is_pending(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert Accounting(interval=2).job(KEY, 7) is None


@pytest.mark.parametrize(
    "script", [DOWN, "true", f"printf '%s' '{a_line(7, 'RUNNING')}'"], ids=["down", "nothing", "late"]
)
def test_a_pending_answer_is_asked_three_times(script: str, fake: Fake, clock: Clock) -> None:
    calls = fake("sacct", script)
    assert answer(Accounting(interval=2), clock) is None
    assert len(calls.read_text().splitlines()) == 3


@pytest.fixture
def lost(run: Run, cluster: SlurmCluster, fake: Fake) -> Driven:
    """Return a pod whose shim was killed, and whose job has left the queue."""
    pod = run(shell("exec sleep 3600"), restartPolicy="Never")
    pod.until_running()
    os.kill(the_shim(pod.directory.path), signal.SIGKILL)
    eventually(lambda: cluster.jobs("%T") == [["FAILED"]])
    fake("squeue")
    return pod


def its_line(cluster: SlurmCluster, state: str, code: str) -> str:
    ((number, name),) = cluster.jobs("%i", "%j")
    return a_line(number, state, code, name=name, user=os.geteuid())


def test_the_accounting_tells_why_a_pod_ended(lost: Driven, cluster: SlurmCluster, fake: Fake) -> None:
    fake("sacct", prints=its_line(cluster, "TIMEOUT", "0:0"))
    assert lost.until_over().reason == "DeadlineExceeded"
    assert lost.ended() == (137, "Error")


def test_the_accounting_tells_the_exit_code(lost: Driven, cluster: SlurmCluster, fake: Fake) -> None:
    fake("sacct", prints=its_line(cluster, "FAILED", "0:6"))
    assert lost.until_over().phase == "Failed"
    assert lost.ended() == (134, "Error")


def test_the_accounting_tells_why_slurm_ended_a_pod(run: Run, cluster: SlurmCluster, fake: Fake) -> None:
    pod = run(shell("exit 7"), restartPolicy="Never")
    eventually(lambda: cluster.jobs("%T") == [["FAILED"]])
    fake("squeue")
    fake("sacct", prints=its_line(cluster, "TIMEOUT", "0:0"))
    assert pod.until_over().reason == "DeadlineExceeded"
    assert pod.ended() == (7, "Error")


def test_a_deleted_pod_does_not_wait(lost: Driven, fake: Fake) -> None:
    calls = fake("sacct", DOWN)
    lost.delete(grace=0)
    assert lost.until_over().phase == "Failed"
    assert calls.read_text() == ""


@pytest.mark.usefixtures("cluster")
def test_a_real_sacct_without_accounting_settles_all() -> None:
    assert Accounting(interval=3600).job(KEY, 7) is None


def test_a_cluster_without_accounting_tells_nothing(lost: Driven) -> None:
    assert lost.until_over().phase == "Failed"
    assert lost.ended() == (137, "ContainerStatusUnknown")
