"""Messages with which containers end: the file of `terminationMessagePath`, or the end of the log."""

import os
from pathlib import Path
from typing import Any

import pytest

from app.runtimes.process import ProcessRuntime
from tests.app.runtimes.process import Driven, QuickRuntime, settings, shell
from tests.app.runtimes.process.conftest import Run
from tests.app.runtimes.process.volumes import needs_namespaces

PATH = "/run/of-the-test/message"
FROM_LOG = {"terminationMessagePolicy": "FallbackToLogsOnError"}


def message(pod: Driven, name: str = "web") -> str | None:
    """Return the message of a container that has ended."""
    ended = pod.container(name).state.terminated or pod.container(name).last_state.terminated
    assert ended
    return ended.message


def written(script: str, **fields: Any) -> dict[str, Any]:
    return shell(script, **{"terminationMessagePath": PATH, **fields})


@needs_namespaces
@pytest.mark.parametrize(
    ("container", "expected"),
    [
        (written(f"echo done > {PATH}"), "done\n"),
        (written(f"echo failed | tee {PATH}; exit 3", **FROM_LOG), "failed\n"),
        (written(f"printf 'a\\0\\377b' > {PATH}"), "a\ufffd\ufffdb"),
        (written(f"head -c 9000 /dev/zero | tr '\\0' x > {PATH}; echo end >> {PATH}"), f"{'x' * 4092}end\n"),
        (written(f"rm {PATH}; echo logged; exit 3"), None),
        (written("echo logged; exit 3"), None),
        (written(f"echo > /tmp/unused; test -w {PATH}", terminationMessagePath=PATH.removeprefix("/")), None),
    ],
)
def test_a_container_writes_its_message_to_a_file(run: Run, container: dict[str, Any], expected: str) -> None:
    pod = run(container, restartPolicy="Never")
    pod.until_over()
    assert message(pod) == expected
    assert not os.path.exists(PATH)


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo one; echo two >&2; exit 3", "one\ntwo\n"),
        ("printf 'no line feed'; exit 3", "no line feed\n"),
        ("seq 1 1000; exit 3", "".join(f"{n}\n" for n in range(921, 1001))),
        ("head -c 100000 /dev/zero | tr '\\0' x; exit 3", f"{'x' * 2047}\n"),
        ("echo succeeded", None),
        ("exit 3", None),
    ],
)
def test_the_log_is_the_message_of_a_failure(run: Run, script: str, expected: str | None) -> None:
    pod = run(shell(script, **FROM_LOG), restartPolicy="Never")
    pod.until_over()
    assert message(pod) == expected


@needs_namespaces
def test_each_run_has_a_message_of_its_own(run: Run, tmp_path: Path) -> None:
    script = f"test -s {PATH} && exit 9; echo run >> {tmp_path}/runs; cat {tmp_path}/runs > {PATH}; exit 1"
    pod = run(written(script))
    pod.until(lambda status: pod.container().restart_count >= 2 and pod.container().last_state.terminated)
    assert message(pod) == "run\n" * (pod.container().restart_count + (not pod.container().state.running))


@needs_namespaces
def test_the_messages_of_a_pod_share_a_limit(run: Run) -> None:
    script = f"head -c 9000 /dev/zero | tr '\\0' x > {PATH}"
    pod = run(*(written(script, name=f"web-{index}") for index in range(6)), restartPolicy="Never")
    pod.until_over()
    assert message(pod, "web-5") == "x" * 2048


@needs_namespaces
@pytest.mark.skipif(os.geteuid() != 0, reason="root needs no user namespace")
def test_the_default_path_is_in_a_directory_of_devices(run: Run) -> None:
    script = "echo > /dev/null && test -c /dev/zero -a -d /dev/shm && echo devices > /dev/termination-log"
    pod = run(written(script, terminationMessagePath="/dev/termination-log"), restartPolicy="Never")
    pod.until_over()
    assert (pod.ended(), message(pod)) == ((0, "Completed"), "devices\n")


def test_without_mounts_only_the_log_has_a_message(root: Path) -> None:
    runtime: ProcessRuntime = QuickRuntime(settings(root, mounts="environment"))
    container = written(f"echo logged; test -e {PATH} || exit 4", **FROM_LOG)
    pod = Driven(runtime, container, restartPolicy="Never")
    pod.sync()
    pod.until_over()
    assert (pod.ended(), message(pod)) == ((4, "Error"), "logged\n")
