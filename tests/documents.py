"""Run the examples of a document and compare their output with the text."""

import os
import re
import subprocess
import sys
from itertools import groupby
from pathlib import Path

from tests.server import CLEAN, ROOT

EXAMPLE = re.compile(
    r"<!-- test -->\n(?:```sh\n(?P<commands>.*?)```\n```text\n(?P<printed>.*?)```|```pycon\n(?P<session>.*?)```)",
    re.DOTALL,
)
"""Shell commands with their output, or a session of `vkweb shell`."""

_STATEMENT = re.compile(r"^>>> (.*\n)((?:\.\.\. .*\n)*)", re.MULTILINE)
"""A statement with its continuation lines. The interpreter needs an empty line after those; documents omit it."""


EXAMPLES: dict[str, dict[str, str]] = {
    "README.md": {},
    "docs/audit.md": {},
    "docs/shell.md": {},
    "docs/synthetic.md": {},
    "docs/autoscaling.md": {},
    "docs/fleet.md": {},
    "docs/scenarios.md": {},
    "docs/conformance.md": {},
    "docs/extensions.md": {},
    "docs/operations.md": {},
    "docs/process-runtime.md": {"RUNTIME": "app.runtimes.process:ProcessRuntime"},
    "docs/writing-a-runtime.md": {"RUNTIME": "queue_runtime:QueueRuntime"},
}
"""The documents with examples, in the order of a reader, and the settings with which each starts the provider."""

FILE = re.compile(r"<!-- file: (\S+) -->\n```python\n(.*?)```", re.DOTALL)
"""A file that the reader saves, below `/tmp`."""


def page(path: str) -> str:
    """Read a document; `path` is relative to the root of the repository."""
    return (ROOT / path).read_text()


def run_examples(text: str, *, port: int, cwd: Path) -> None:
    """Run the examples of a document in order. `…` in the expected output matches any text within a line.

    Args:
        text: the document.
        port: port of the provider; replaces 3000 in the document.
        cwd: working directory, with the database in `data/`.

    Raises:
        AssertionError: a command failed, or its output differs.
    """
    found = list(EXAMPLE.finditer(text.replace(":3000", f":{port}")))
    assert len(found) == text.count("<!-- test -->") > 0
    for is_session, examples in groupby(found, key=lambda example: example["session"] is not None):
        if is_session:  # the sessions between two commands are one, as for a reader
            session = "".join(example["session"] for example in examples)
            printed = _run(["vkweb", "shell"], cwd=cwd, stdin=_statements(session))
            _compare(printed[printed.index(">>> ") :], _transcript(session))  # skip the banner
        else:
            for example in examples:
                printed = _run(["bash", "-euo", "pipefail", "-c", example["commands"]], cwd=cwd)
                _compare(printed, example["printed"])


def _compare(printed: str, expected: str) -> None:
    pattern = re.escape(expected.strip()).replace("…", ".*")
    assert re.fullmatch(pattern, printed.strip()), printed


def _run(command: list[str], *, cwd: Path, stdin: str | None = None) -> str:
    """Run a command with the commands of the virtual environment first on PATH; return its standard output."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{CLEAN['PATH']}"
    done = subprocess.run(
        ["env", *command],  # `env` finds the command on the PATH below, not on that of the tests
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
    """Extract the input of a session."""
    found = _STATEMENT.findall(session)
    return "".join(first + (rest.replace("... ", "") + "\n" if rest else "") for first, rest in found)


def _transcript(session: str) -> str:
    """Return the output of a session whose input is not echoed: a prompt for each line read, and the results."""

    def prompts(statement: re.Match[str]) -> str:
        more = statement[2].count("\n")
        return ">>> " + "... " * (more + 1 if more else 0)

    return _STATEMENT.sub(prompts, session) + ">>> "
