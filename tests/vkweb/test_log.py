"""The one log of `vkweb up`."""

import ast
import asyncio
import doctest
import io
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest

from tests.server import CLEAN, ROOT
from vkweb import log


def test_the_examples_hold() -> None:
    assert doctest.testmod(log).failed == 0


async def test_a_last_line_without_an_end_is_copied(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    stream = asyncio.StreamReader()
    stream.feed_data(b"first\nsec")
    stream.feed_data(b"ond")
    stream.feed_eof()
    await log.copy_lines(stream, "broker")
    assert capfdbinary.readouterr().err == b"broker   | first\nbroker   | second\n"


def test_a_line_in_two_writes_is_not_mixed_with_that_of_another_thread() -> None:
    written = io.BytesIO()
    output = log.TaggedOutput(io.TextIOWrapper(written))
    output.write(b"fir")
    other = Thread(target=output.write, args=[b"second\n"])
    other.start()
    other.join()
    output.write(b"st\nthird")
    output.write_rest()
    assert written.getvalue() == b"provider | second\nprovider | first\nprovider | third\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
async def test_a_full_disk_does_not_end_the_copy() -> None:
    stream = asyncio.StreamReader()
    stream.feed_data(b"line\n")
    stream.feed_eof()
    with open("/dev/full", "w") as full, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", full)
        await log.copy_lines(stream, "broker")
        assert log.TaggedOutput(full).write(b"line\n") == 5


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["broker", "--kubeconfig=/no/such/file"], 2), (["provider", "--", "--check-config"], 0)],
)
def test_a_full_disk_does_not_change_an_exit_status(tmp_path: Path, arguments: list[str], status: int) -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, str(ROOT / "vkweb"), *arguments]
        ended = subprocess.run(command, cwd=tmp_path, env=CLEAN, stdout=full, stderr=full, check=False)
    assert ended.returncode == status


def test_the_output_of_a_process_is_complete() -> None:
    code = r"from vkweb.log import tag_output; tag_output(); print('\udcff'); print('rest', end='')"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=CLEAN, stderr=subprocess.PIPE, check=True)
    assert ended.stderr == b"provider | \\udcff\nprovider | rest\n"


def test_no_event_has_the_key_that_names_the_part() -> None:
    levels = {"debug", "info", "warning", "error", "exception"}
    for path in [file for folder in ("app", "broker") for file in (ROOT / folder).rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in levels:
                assert "part" not in [keyword.arg for keyword in node.keywords], f"{path}:{node.lineno}"
