"""Environments that a running pod gets later, by an update."""

from pathlib import Path
from typing import Any

from app.kubernetes.status import PodStatus
from tests.app.runtimes.process import SECRET, Driven, shell
from tests.app.runtimes.process.conftest import Run

REFERENCE = [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "absent", "key": "k"}}}]
RESOLVED = [{"name": "KEY", "value": SECRET}]


def bad(env: list[dict[str, Any]], script: str = "echo $KEY; exec sleep 60") -> dict[str, Any]:
    return shell(script, "bad", env=env)


def is_waiting(pod: Driven, name: str = "bad") -> bool:
    waiting = pod.container(name).state.waiting
    return waiting is not None and waiting.reason == "CreateContainerConfigError"


def until_waiting(pod: Driven) -> PodStatus:
    return pod.until(lambda _: is_waiting(pod) and pod.container("good").state.running)


def test_a_container_waits_alone_for_its_environment(run: Run, root: Path) -> None:
    good = shell("exec sleep 60", "good")
    pod = run(good, bad(REFERENCE), initContainers=[shell("exit 0", "setup")])
    status = until_waiting(pod)
    assert status.phase == "Pending"
    waiting = pod.container("bad").state.waiting
    assert waiting
    assert waiting.message == 'secret "absent" not found'
    started = pod.container("good")
    pod.change(containers=[good, bad(RESOLVED)])
    pod.until_running()
    pod.until_logged(SECRET.encode(), "bad")
    assert pod.container("good") == started
    assert pod.container("bad").restart_count == 0
    kept = [path for path in root.rglob("*") if path.is_file() and path.suffix != ".log"]
    assert kept
    assert not any(SECRET.encode() in path.read_bytes() for path in kept)


def test_a_lost_environment_is_sent_again(run: Run) -> None:
    good = shell("exec sleep 60", "good")
    pod = run(good, bad(REFERENCE))
    until_waiting(pod)
    pod.change(containers=[good, bad(RESOLVED)], sync=False)
    pod.until_running()
    pod.until_logged(SECRET.encode(), "bad")


def test_a_waiting_init_container_holds_those_after_it(run: Run) -> None:
    web, next_ = shell("exec sleep 60"), shell("exit 0", "next")
    pod = run(web, initContainers=[bad(REFERENCE, "exit 0"), next_])
    pod.until(lambda _: is_waiting(pod))
    assert [entry.state.running for entry in pod.status.all_containers] == [None] * 3
    pod.change(initContainers=[bad(RESOLVED, "exit 0"), next_])
    pod.until_running()


def test_the_deadline_of_a_waiting_pod_counts(run: Run) -> None:
    pod = run(bad(REFERENCE), activeDeadlineSeconds=1)
    status = pod.until_over()
    assert (status.phase, status.reason) == ("Failed", "DeadlineExceeded")


def test_a_restart_has_the_environment_of_the_last_update(run: Run, tmp_path: Path) -> None:
    go = tmp_path / "go"
    script = f"echo $KEY; while [ ! -e {go} ]; do sleep 0.01; done; rm {go}; exit 1"
    pod = run(bad([{"name": "KEY", "value": "old"}], script), restartPolicy="Always")
    pod.until_logged(b"old", "bad")
    pod.change(containers=[bad(RESOLVED, script)])
    go.touch()
    pod.until(lambda _: pod.container("bad").restart_count == 1)
    pod.until_logged(SECRET.encode(), "bad")


def test_a_waiting_pod_can_be_deleted(run: Run) -> None:
    pod = run(shell("exec sleep 60", "good"), bad(REFERENCE))
    until_waiting(pod)
    pod.delete()
    assert pod.until_over().phase == "Failed"
