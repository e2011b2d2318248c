"""Commands, attached logs and forwarded ports of simulated pods."""

import json
import time
from collections.abc import Sequence
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

import pytest

from app.core.errors import NotFound
from app.kubernetes.status import PodStatus
from app.runtimes import StreamOptions
from app.runtimes.synthetic.streams import connect, follow_log, start_shell
from tests.app.simulation import NOW, SECRET, UID, after, annotated, simulated_pod, status_at, transitions_until
from tests.pods import a_container, a_pod
from tests.sessions import Ended, finish

PIPES = StreamOptions(stdin=True, stdout=True, stderr=True)
TERMINAL = StreamOptions(stdin=True, stdout=True, tty=True)
ENV = [{"name": "COLOUR", "value": "blue"}, {"name": "KEY", "value": SECRET}]
POD = a_pod(uid=UID, containers=[a_container("web", env=ENV), a_container("db")])


def execute(
    pod: dict[str, Any], *command: str, typed: bytes = b"", options: StreamOptions = PIPES
) -> tuple[str, str, int]:
    """Return the output, the errors and the exit code of a command in the container `web`."""
    return text(finish(start_shell(simulated_pod(pod), "web", command, options), typed))


def text(ended: Ended) -> tuple[str, str, int]:
    return ended.stdout.decode(), ended.stderr.decode(), ended.code


def with_replies(replies: object, annotation: str = "exec__web") -> dict[str, Any]:
    return annotated(POD, **{annotation: replies if isinstance(replies, str) else json.dumps(replies)})


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["echo", "one", "two  three"], ("one two  three\n", "", 0)),
        (["hostname"], ("web-0\n", "", 0)),
        (["/bin/cat", "/etc/hostname"], ("web-0\n", "", 0)),
        (["cat", "/etc/shadow"], ("", "cat: /etc/shadow: No such file or directory\n", 1)),
        (["ls", "-l", "/etc"], ("hostname\nhosts\n", "", 0)),
        (["ls", "/nowhere"], ("", "ls: /nowhere: No such file or directory\n", 1)),
        (["printenv", "COLOUR"], ("blue\n", "", 0)),
        (["printenv", "NONE"], ("", "", 1)),
        (["sh", "-c", "exit 3"], ("", "", 3)),
        (["sh", "-c", "exit 259"], ("", "", 3)),
        (["sh", "-c", "exit -1"], ("", "sh: exit: Illegal number: -1\n", 2)),
        (["sh", "-c", f"exit {'9' * 5000}"], ("", f"sh: exit: Illegal number: {'9' * 5000}\n", 2)),
        (["/usr/bin/dash", "-c", "exit 3"], ("", "", 3)),
        (["sh", "-c", "false && echo no || echo 'a; b'; true"], ("a; b\n", "", 0)),
        (["bash", "-lc", "pwd\nwhoami"], ("/\nroot\n", "", 0)),
        (["sleep", "0.01"], ("", "", 0)),
        (["sleep", "long"], ("", "sleep: invalid number 'long'\n", 1)),
        (["nginx", "-t"], ("", "sh: nginx: not found\n", 127)),
        (["sh", "-c", "echo 'open"], ("'open\n", "", 0)),
        (["sh", "-c"], ("", "", 2)),
    ],
)
def test_commands_are_simulated(command: Sequence[str], expected: tuple[str, str, int]) -> None:
    assert execute(POD, *command) == expected


def test_env_shows_the_environment_of_the_container() -> None:
    out, _, code = execute(POD, "env")
    lines = out.splitlines()
    assert code == 0
    assert {"COLOUR=blue", f"KEY={SECRET}", "HOSTNAME=web-0"} <= set(lines)


def test_env_has_the_address_of_the_pod() -> None:
    env = [
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "URL", "value": "http://$(IP)"},
    ]
    pod = a_pod(containers=[a_container(env=env)], hostname="job-0")
    lines = execute(pod, "env")[0].splitlines()
    assert {"IP=198.18.0.7", "URL=http://198.18.0.7", "HOSTNAME=job-0"} <= set(lines)


def test_cat_copies_standard_input() -> None:
    assert execute(POD, "cat", typed=b"typed") == ("typed", "", 0)


def test_a_shell_reads_commands_from_input() -> None:
    assert execute(POD, "sh", typed=b"echo one\nexit 4\necho two\n") == ("one\n", "", 4)


def test_a_shell_on_a_terminal_prompts_and_echoes() -> None:
    out, _, code = execute(POD, "sh", typed=b"hostname\nexit 5\n", options=TERMINAL)
    assert ("web-0\r\n" in out, "hostname\r\n" in out, out.count("# "), code) == (True, True, 2, 5)


def test_a_terminal_ends_at_ctrl_d() -> None:
    assert execute(POD, "sh", typed=b"\x04", options=TERMINAL)[2] == 0


def test_annotations_give_replies() -> None:
    pod = with_replies(
        {
            "pg_isready*": "accepting connections\n",
            "redis-cli ping": {"stdout": "PONG\n", "stderr": "slow\n", "exitCode": 2, "delay": "10ms"},
            "echo two": "one\n",
        }
    )
    assert execute(pod, "pg_isready", "-h", "db") == ("accepting connections\n", "", 0)
    assert execute(pod, "redis-cli", "ping") == ("PONG\n", "slow\n", 2)
    assert execute(pod, "redis-cli", "pong")[2] == 127
    assert execute(pod, "sh", "-c", "echo one && echo two") == ("one\none\n", "", 0)


def test_only_an_asterisk_matches_other_text() -> None:
    pod = with_replies({"[ -f /ready? ] && *": "yes"})
    assert execute(pod, "[", "-f", "/ready?", "]", "&&", "one\ntwo")[0] == "yes"
    assert execute(pod, "[", "-f", "/ready1", "]", "&&", "one")[2] == 127
    assert execute(pod, "f -f /ready? f && one")[2] == 127


def test_the_first_reply_that_matches_is_given() -> None:
    pod = with_replies({"date *": "first", "date -u": "second"}, "exec")
    assert execute(pod, "date", "-u") == ("first", "", 0)


@pytest.mark.parametrize(
    "invalid",
    [SECRET, "[]", {"a": 1}, {"a": {"exitCode": 256}}, {"a": {"output": SECRET}}, {"a": {"delay": SECRET}}],
)
def test_an_invalid_annotation_is_a_problem(invalid: object) -> None:
    pod = simulated_pod(with_replies(invalid))
    (problem,) = pod.problems
    assert problem.startswith("exec.synthetic.virtual-kubelet.io/web: ")
    assert SECRET not in problem


def test_an_invalid_reply_is_named() -> None:
    (problem,) = simulated_pod(with_replies({"date": "now", "psql *": {"exitCode": 256}})).problems
    assert "'psql *' must be an output, or an object" in problem


def test_a_hang_up_ends_a_sleep() -> None:
    began = time.monotonic()
    session = start_shell(simulated_pod(POD), "web", ["sleep", "1h"], StreamOptions(stdout=True))
    session.hang_up()
    assert finish(session) == (b"", b"", 0)
    assert time.monotonic() - began < 60


def statuses(pod: dict[str, Any], *seconds: float) -> list[PodStatus]:
    times = [max(NOW, after(second)) for second in seconds]
    return [status_at(transitions_until(pod, until=at), at) for at in times]


def test_attach_shows_the_log_until_its_end() -> None:
    pod = annotated(a_pod(uid=UID, restartPolicy="Never"), run_for__web="5s")
    found = iter(statuses(pod, 0, 1, 60))
    session = follow_log(simulated_pod(pod), "web", StreamOptions(stdout=True), lambda: next(found))
    out, _, code = text(finish(session))
    assert (out.splitlines()[-1], code) == ("exited with code 0 at 2026-11-22T08:46:43Z", 0)


def test_attach_ends_with_a_deleted_pod() -> None:
    found = iter(statuses(POD, 0))

    def status() -> PodStatus:
        if (status := next(found, None)) is None:
            raise NotFound("gone")
        return status

    out, _, code = text(finish(follow_log(simulated_pod(POD), "web", StreamOptions(stdout=True), status)))
    assert (out.count("\n"), code) == (4, 0)


def test_a_forwarded_port_names_the_pod() -> None:
    connection = HTTPConnection("pod")
    with closing(connection):
        connection.sock = connect(simulated_pod(POD), 8080)
        for method, body in (("GET", b"pod web-0 of namespace default, port 8080\n"), ("HEAD", b"")):
            connection.request(method, "/any/path")
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (200, body)
