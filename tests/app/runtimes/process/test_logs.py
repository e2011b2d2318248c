"""Logs of processes: writing, rotation, reading."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.runtimes import LogLine
from app.runtimes.process.logs import read_log
from app.runtimes.process.shim.log import ENTRY_LIMIT, Lines, Log
from tests.app.runtimes.process import shell
from tests.app.runtimes.process.conftest import Run
from tests.app.simulation import reason_of


def over() -> bool:
    return True


def texts(lines: Iterator[LogLine | None]) -> list[bytes]:
    return [line.text for line in lines if line]


def test_a_log_has_both_streams_and_timestamps(run: Run) -> None:
    pod = run(shell("echo out; echo err >&2"), restartPolicy="Never")
    pod.until_over()
    lines = list(pod.runtime.logs(pod.pod, "web", previous=False, status=lambda: pod.status))
    assert sorted(line.text for line in lines if line) == [b"err", b"out"]
    for line in lines:
        assert line
        assert pod.pod.accepted_at <= line.time <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("command", "lines"),
    [
        (r"printf 'one\n\nthree\n'", [b"one", b"", b"three"]),
        (r"printf 'no line feed'", [b"no line feed"]),
        (r"printf 'half '; sleep 0.05; printf 'a line\n'", [b"half a line"]),
        (r"printf '\377\000\033[1m\r\n'", [b"\xff\x00\x1b[1m\r"]),
        ("head -c 100000 /dev/zero | tr '\\0' x; echo", [b"x" * 100_000]),
        ("true", []),
    ],
)
def test_lines_come_out_as_they_went_in(run: Run, command: str, lines: list[bytes]) -> None:
    pod = run(shell(command), restartPolicy="Never")
    pod.until_over()
    assert pod.log() == lines


def test_an_endless_line_is_split_without_loss(run: Run) -> None:
    pod = run(shell("head -c 3000000 /dev/zero"), restartPolicy="Never")
    pod.until_over()
    lines = pod.log()
    assert len(lines) > 1
    assert b"".join(lines) == bytes(3_000_000)


def test_a_log_is_followed_until_the_container_ends(run: Run, tmp_path: Path) -> None:
    pod = run(
        shell(f"echo one; while [ ! -e {tmp_path}/go ]; do sleep 0.01; done; echo two"), restartPolicy="Never"
    )
    pod.until_logged(b"one")
    lines = pod.runtime.logs(pod.pod, "web", previous=False, status=lambda: pod.status)
    assert [line and line.text for line in (next(lines), next(lines), next(lines))] == [b"one", None, None]
    (tmp_path / "go").touch()
    assert texts(lines) == [b"two"]


def test_a_followed_log_ends_with_its_run(run: Run, tmp_path: Path) -> None:
    script = (
        f"echo run >> {tmp_path}/runs; cat {tmp_path}/runs; test -e {tmp_path}/go; while [ ! -e {tmp_path}/go ]; "
    )
    pod = run(shell(script + "do sleep 0.01; done; rm {0}/go; exit 1".replace("{0}", str(tmp_path))))
    pod.until_logged(b"run")
    first = pod.runtime.logs(pod.pod, "web", previous=False, status=lambda: pod.status)
    (tmp_path / "go").touch()
    assert texts(first) == [b"run"]
    pod.until(lambda _: pod.container().state.running and pod.container().restart_count == 1)
    pod.until_logged(b"run")
    assert pod.log() == [b"run", b"run"]
    assert pod.log(previous=True) == [b"run"]


def test_during_back_off_the_last_run_is_read(run: Run) -> None:
    pod = run(shell("echo hello; exit 1"))
    pod.until(lambda status: reason_of(status) == "CrashLoopBackOff")
    assert pod.log(previous=True) == [b"hello"]


def test_logs_of_earlier_runs_are_removed(run: Run) -> None:
    pod = run(shell("echo hello; exit 1"))
    pod.until(lambda _: pod.container().restart_count >= 5)
    assert len(list((pod.directory.path / "web").glob("*.log"))) <= 3


def test_init_containers_have_logs(run: Run) -> None:
    pod = run(shell("true"), initContainers=[shell("echo first", "first")], restartPolicy="Never")
    pod.until_over()
    assert pod.log("first") == [b"first"]


def test_a_container_that_cannot_start_logs_nothing(run: Run) -> None:
    pod = run({**shell("true"), "command": ["/no/such/program"]}, restartPolicy="Never")
    pod.until_over()
    assert pod.log() == []


def test_a_log_is_rotated_and_drops_old_segments(tmp_path: Path) -> None:
    log = Log(str(tmp_path), 0, segment_bytes=100)
    reading = read_log(tmp_path, 0, is_over=lambda: False)
    for number in range(20):
        log.write("stdout", [(b"%d" % number, True)])
        line = next(reading)
        assert line
        assert line.text == b"%d" % number
    assert len(list(tmp_path.iterdir())) == 5
    last = texts(read_log(tmp_path, 0, is_over=over))
    assert last == [b"%d" % number for number in range(20 - len(last), 20)]
    assert next(reading) is None


def test_a_slow_reader_continues_with_remaining_segments(tmp_path: Path) -> None:
    log = Log(str(tmp_path), 0, segment_bytes=1)
    log.write("stdout", [(b"0", True)])
    reading = read_log(tmp_path, 0, is_over=over)
    next(reading)
    for number in range(1, 10):
        log.write("stdout", [(b"%d" % number, True)])
    assert texts(reading) == [b"5", b"6", b"7", b"8", b"9"]


def test_a_full_disk_loses_lines_and_reports_it(tmp_path: Path) -> None:
    (tmp_path / "0.0.log").symlink_to("/dev/full")
    log = Log(str(tmp_path), 0)
    log.write("stdout", [(b"lost", True), (b"too", True)])
    (tmp_path / "0.0.log").unlink()
    log.close()
    log.write("stdout", [(b"found", True)])
    assert texts(read_log(tmp_path, 0, is_over=over)) == [b"[7 bytes of this log are lost]", b"found"]


@pytest.mark.parametrize(
    "half", [b"", b"2026", b"2026-11-22T08:46:38.1Z stdout", b"2026-11-22T08:46:38.1Z stdout F ha"]
)
def test_half_an_entry_is_no_line(tmp_path: Path, half: bytes) -> None:
    whole = b"2026-11-22T08:46:38.123456789Z stdout F whole"
    (tmp_path / "0.0.log").write_bytes(whole + b"\n" + half)
    (tmp_path / "0.1.log").write_bytes(b"\n" + whole + b"\n")
    (first, second) = read_log(tmp_path, 0, is_over=over)
    assert first == second == LogLine(datetime(2026, 11, 22, 8, 46, 38, 123456, tzinfo=UTC), b"whole")


def test_a_very_long_line_is_read_in_parts(tmp_path: Path) -> None:
    log, lines = Log(str(tmp_path), 0), Lines()
    log.write("stdout", lines.feed(b"x" * 2_500_000 + b"\nend\n"))
    log.close()
    parts = [line for line in read_log(tmp_path, 0, is_over=over) if line]
    assert [line.ends for line in parts] == [False, False, True, True]
    assert b"".join(line.text for line in parts) == b"x" * 2_500_000 + b"end"


@given(st.lists(st.binary() | st.integers(1, 3).map(lambda n: b"x" * ENTRY_LIMIT * n), max_size=8))
def test_lines_do_not_depend_on_chunk_boundaries(chunks: list[bytes]) -> None:
    lines, entries = Lines(), []
    for chunk in chunks:
        entries += lines.feed(chunk)
    entries += lines.end()
    assert all(len(text) <= ENTRY_LIMIT for text, _ in entries)
    joined = b"".join(text + (b"\n" if ends else b"") for text, ends in entries)
    assert joined.removesuffix(b"\n") == b"".join(chunks).removesuffix(b"\n")


def test_of_many_lines_none_is_missing(run: Run) -> None:
    pod = run(shell("seq 200000"), restartPolicy="Never")
    pod.until_over()
    assert pod.log() == [b"%d" % number for number in range(1, 200_001)]
