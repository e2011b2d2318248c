import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.lifecycle import containers
from app.lifecycle.containers import container_id
from app.lifecycle.logs import log_lines, tail
from app.lifecycle.manifest import Container, ContainerPort
from app.lifecycle.status import ContainerStatus
from tests.lifecycle import SECRET, unhurried

AT = "2026-11-22T08:46:38Z"


def running(container: Container) -> ContainerStatus:
    return containers.running(container, pod_uid="uid", at=AT, previous=None)


def test_a_container_that_runs_has_written_what_it_is() -> None:
    web = Container(
        name="web",
        image="nginx:1.27",
        command=["nginx", "-g"],
        args=["daemon off;"],
        ports=[ContainerPort(container_port=80), ContainerPort(container_port=53, protocol="UDP")],
    )
    assert log_lines(web, running(web)) == [
        "synthetic container web from image nginx:1.27",
        f"container ID {container_id('uid', 'web')}",
        "command has 3 words",
        "listening on 80/TCP",
        "listening on 53/UDP",
        f"started at {AT}",
    ]


def test_a_container_with_a_name_alone_has_a_log_too() -> None:
    web = Container(name="web")
    assert log_lines(web, running(web)) == [
        "synthetic container web from image (none)",
        f"container ID {container_id('uid', 'web')}",
        "command is the image's own",
        f"started at {AT}",
    ]


def test_a_container_that_has_ended_says_how_in_its_last_line() -> None:
    fetch = Container(name="fetch", image="busybox")
    status = containers.completed(fetch, pod_uid="uid", at=AT, previous=None)
    assert log_lines(fetch, status)[-2:] == [f"started at {AT}", f"exited with code 0 at {AT}"]


def test_no_word_of_a_command_is_in_a_log() -> None:
    web = Container(name="web", image="nginx", command=["run", SECRET], args=[f"--password={SECRET}"])
    assert SECRET not in "\n".join(log_lines(web, running(web)))


def test_a_log_is_the_same_at_every_reading() -> None:
    web = Container(name="web", image="nginx")
    assert log_lines(web, running(web)) == log_lines(web, running(web))


LINES = ["one", "two", "three"]


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        pytest.param(None, LINES, id="missing"),
        pytest.param(-1, LINES, id="negative"),
        pytest.param(0, [], id="none"),
        pytest.param(1, ["three"], id="one"),
        pytest.param(3, LINES, id="all"),
        pytest.param(10**20, LINES, id="more"),
    ],
)
def test_a_tail_is_the_last_lines(count: int | None, expected: list[str]) -> None:
    assert tail(LINES, count) == expected


@unhurried
@given(st.lists(st.text(), max_size=5), st.integers(0, 10))
def test_a_tail_has_as_many_lines_as_were_asked_for_or_there_are(lines: list[str], count: int) -> None:
    last = tail(lines, count)
    assert len(last) == min(count, len(lines))
    assert lines[len(lines) - len(last) :] == last
