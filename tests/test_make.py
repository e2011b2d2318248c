"""How make sets up the virtual environment, with interpreters that only print their version; the lock files."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.server import CLEAN, ROOT

INTERPRETER = """#!/bin/sh
# Python {version}, as far as .ci/venv uses it
case "$1 $2" in
    "-m venv") mkdir -p .venv/bin; cp "$0" .venv/bin/python; cp "{pip}" .venv/bin/pip; echo {version} >> made ;;
    -c*) echo {version} ;;
esac
"""
PIP = """#!/bin/sh
echo "Collecting one"; echo "Installing collected packages: one"
echo "$*" >> pip.log
test ! -e breaks-off
"""
Make = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A function that runs make in a checkout of nothing but the Makefile and lock files of one package."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "venv", tmp_path / ".ci")
    for name in ("requirements.txt", "requirements-dev.txt"):
        (tmp_path / name).write_text("one==1\n")
    (tmp_path / "pip").write_text(PIP)
    (tmp_path / "pip").chmod(0o755)
    (tmp_path / "bin").mkdir()
    for version in ("3.9", "3.10", "3.11", "3.12"):
        path = tmp_path / "bin" / f"python{version}"
        path.write_text(INTERPRETER.format(version=version, pip=tmp_path / "pip"))
        path.chmod(0o755)

    def run(*arguments: str, python3: str | None = None) -> subprocess.CompletedProcess[str]:
        if python3:
            shutil.copy(tmp_path / "bin" / f"python{python3}", tmp_path / "bin" / "python3")
        return subprocess.run(
            ["make", *(arguments or [".venv/run"])],
            cwd=tmp_path,
            env={**CLEAN, "PATH": f"{tmp_path}/bin{os.pathsep}{CLEAN['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def made(folder: Path) -> list[str]:
    """Return the versions of the environments that were made, in order."""
    return (folder / "made").read_text().split() if (folder / "made").exists() else []


@pytest.mark.parametrize("version", ["3.9", "3.10"])
def test_an_old_python_is_refused(make: Make, tmp_path: Path, version: str) -> None:
    done = make(python3=version)
    assert done.returncode != 0
    assert done.stderr.startswith(f"needs Python 3.11 or newer, found {version}; choose another interpreter")
    assert not (tmp_path / ".venv").exists()


def test_an_interpreter_that_does_not_run_is_named(make: Make) -> None:
    assert make(".venv/run", "PYTHON=/no/python").stderr.startswith(
        "needs Python 3.11 or newer, found none: /no/python does not run"
    )


def test_an_installation_is_announced_and_done_once(make: Make, tmp_path: Path) -> None:
    first, second = make(python3="3.11"), make()
    assert "Installing the 1 packages of requirements.txt into .venv (Python 3.11)" in first.stdout
    assert (first.returncode, second.returncode, second.stdout) == (0, 0, "")
    assert (made(tmp_path), len((tmp_path / "pip.log").read_text().splitlines())) == (["3.11"], 1)


def test_a_changed_lock_file_is_installed_over(make: Make, tmp_path: Path) -> None:
    make(python3="3.11")
    (tmp_path / "requirements.txt").write_text("one==2\n")
    assert make().returncode == 0
    assert (made(tmp_path), len((tmp_path / "pip.log").read_text().splitlines())) == (["3.11"], 2)


def test_an_installation_that_broke_off_starts_again(make: Make, tmp_path: Path) -> None:
    (tmp_path / "breaks-off").touch()
    assert make(python3="3.11").returncode != 0
    (tmp_path / "breaks-off").unlink()
    assert make().returncode == 0
    assert made(tmp_path) == ["3.11", "3.11"]


def test_a_missing_interpreter_is_replaced(make: Make, tmp_path: Path) -> None:
    make(python3="3.11")
    (tmp_path / ".venv" / "bin" / "python").unlink()
    assert make(python3="3.12").returncode == 0
    assert made(tmp_path) == ["3.11", "3.12"]


def test_another_interpreter_is_used_when_named(make: Make, tmp_path: Path) -> None:
    make(python3="3.11")
    assert make(python3="3.10").returncode == 0  # the environment works, whatever python3 is by now
    assert make(".venv/run", "PYTHON=python3.12").returncode == 0
    assert make(".venv/run", "PYTHON=python3.12").returncode == 0
    assert made(tmp_path) == ["3.11", "3.12"]


def check_locks(folder: Path) -> str:
    """Run the check of `make lint` in a folder; return what it prints."""
    done = subprocess.run(
        [sys.executable, ROOT / ".ci" / "check_locks.py"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == bool(done.stderr)
    return done.stderr


@pytest.mark.parametrize(
    ("file", "old", "new", "line"),
    [
        ("pyproject.toml", "", "", ""),
        ("pyproject.toml", '"flask>=3.1,<4"', '"flask>=4"', "requirements.txt: flask is locked at 3."),
        ("pyproject.toml", '"gunicorn>=', '"new>=1", "gunicorn>=', "requirements.txt: new is not locked"),
        ("pyproject.toml", '    "flask>=3.1,<4",\n', "", "requirements.txt: flask is locked, but not declared"),
        ("pyproject.toml", '"pytest>=9.2"', '"pytest>=99"', "requirements-dev.txt: pytest is locked at 9."),
        ("requirements.txt", "werkzeug==", "werkzeug==0.", "werkzeug differs between the lock files"),
    ],
)
def test_lock_files_are_compared_with_the_declaration(
    tmp_path: Path, file: str, old: str, new: str, line: str
) -> None:
    for name in ("pyproject.toml", "requirements.txt", "requirements-dev.txt"):
        shutil.copy(ROOT / name, tmp_path)
    text = (tmp_path / file).read_text()
    assert old in text
    (tmp_path / file).write_text(text.replace(old, new))
    printed = check_locks(tmp_path)
    assert printed.startswith(line)
    assert bool(printed) == bool(line)
