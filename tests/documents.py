"""Pages whose examples are run: what they print is what the page says."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.server import CLEAN, ROOT

EXAMPLE = re.compile(
    r"<!-- test -->\n(?:```sh\n(?P<commands>.*?)```\n```text\n(?P<printed>.*?)```|```pycon\n(?P<session>.*?)```)",
    re.DOTALL,
)
"""Commands and what they print, or a session of `flask shell`."""

_STATEMENT = re.compile(r"^>>> (.*\n)((?:\.\.\. .*\n)*)", re.MULTILINE)
"""One that goes over several lines is ended by an empty one, which no document shows."""


def page(path: str) -> str:
    """Read a page."""
    return (ROOT / path).read_text()


def run_examples(text: str, *, port: int, cwd: Path) -> None:
    """Run the examples of a page one after another; `…` in a page stands for anything within a line.

    Args:
        text: the page.
        port: where the provider listens, in place of 3000.
        cwd: where it runs: its data is in `data/`.
    """
    found = list(EXAMPLE.finditer(text.replace(":3000", f":{port}")))
    assert len(found) == text.count("<!-- test -->") > 0
    for example in found:
        if example["session"]:
            statements, expected = _statements(example["session"]), _transcript(example["session"])
            printed = _run(["flask", "shell"], cwd=cwd, stdin=statements)
            printed = printed[printed.index(">>> ") :]  # after what the shell says of itself
        else:
            commands, expected = example["commands"], example["printed"]
            printed = _run(["bash", "-euo", "pipefail", "-c", commands], cwd=cwd)
        pattern = re.escape(expected.strip()).replace("…", ".*")
        assert re.fullmatch(pattern, printed.strip()), printed


def _run(command: list[str], *, cwd: Path, stdin: str | None = None) -> str:
    """Run a command with the provider's own at hand; give what it prints."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{CLEAN['PATH']}"
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**CLEAN, "PATH": path, "PYTHONPATH": str(ROOT), "FLASK_APP": str(ROOT / "wsgi.py")},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _statements(session: str) -> str:
    """Pick what a person types."""
    found = _STATEMENT.findall(session)
    return "".join(first + (rest.replace("... ", "") + "\n" if rest else "") for first, rest in found)


def _transcript(session: str) -> str:
    """Give what a session prints where nothing is echoed: a prompt for each line that is read, and the answers."""

    def prompts(statement: re.Match[str]) -> str:
        more = statement[2].count("\n")
        return ">>> " + "... " * (more + 1 if more else 0)

    return _STATEMENT.sub(prompts, session) + ">>> "
