"""Restart rules of containers: the action for an exit code."""

from pathlib import Path
from typing import Any

from tests.app.runtimes.process import shell
from tests.app.runtimes.process.conftest import Run


def rule(action: str, *codes: int) -> dict[str, Any]:
    return {"action": action, "exitCodes": {"operator": "In", "values": list(codes)}}


def failing_once(path: Path, *rules: dict[str, Any]) -> dict[str, Any]:
    """A container that exits with 42 in its first run, and goes on in its second."""
    script = f"[ -e {path}/failed ] && exec sleep 60; touch {path}/failed; exit 42"
    return shell(script, "main", restartPolicy="Never", restartPolicyRules=list(rules))


def test_a_rule_restarts_a_container_against_its_policy(run: Run, tmp_path: Path) -> None:
    pod = run(failing_once(tmp_path, rule("Restart", 42)), shell("exec sleep 60", "log"), restartPolicy="Never")
    pod.until(lambda _: pod.container("main").restart_count == 1 and pod.container("main").state.running)
    assert pod.container("log").restart_count == 0


def test_another_exit_code_follows_the_policy(run: Run, tmp_path: Path) -> None:
    pod = run(failing_once(tmp_path, rule("RestartAllContainers", 1, 2)), restartPolicy="Never")
    assert pod.until_over().phase == "Failed"


def test_all_containers_are_restarted_with_the_init_containers(run: Run, tmp_path: Path) -> None:
    pod = run(
        failing_once(tmp_path, rule("RestartAllContainers", 42)),
        shell("exec sleep 60", "log"),
        initContainers=[
            shell(f"echo run >> {tmp_path}/setups", "setup"),
            shell("exec sleep 60", "proxy", restartPolicy="Always"),
        ],
        restartPolicy="Never",
    )
    names = ("setup", "proxy", "main", "log")
    pod.until(lambda _: all(pod.container(name).restart_count == 1 for name in names))
    pod.until(lambda _: pod.container("main").state.running and pod.container("log").state.running)
    assert (tmp_path / "setups").read_text() == "run\nrun\n"
    last = pod.container("log").last_state.terminated
    assert last
    assert (last.exit_code, last.reason) == (137, "RestartingAllContainers")
    conditions = {condition.type: condition.status for condition in pod.status.conditions}
    assert conditions["AllContainersRestarting"] == "False"
