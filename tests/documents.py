"""Pages whose examples are run: what they print is what the page says."""

import re
import subprocess
from pathlib import Path

from tests.server import CLEAN, ROOT


def page(path: str) -> str:
    """Read a page."""
    return (ROOT / path).read_text()


def examples(text: str) -> list[tuple[str, str]]:
    """Find the commands that are marked with `<!-- test -->`, each with what it prints."""
    found = re.findall(r"<!-- test -->\n```sh\n(.*?)```\n```text\n(.*?)```", text, re.DOTALL)
    assert len(found) == text.count("<!-- test -->") > 0
    return found


def run_examples(text: str, *, port: int, cwd: Path) -> None:
    """Run the examples of a page one after another against a server; `…` in a page stands for anything."""
    for commands, expected in examples(text):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands.replace(":3000", f":{port}")],
            cwd=cwd,
            env=CLEAN,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        pattern = re.escape(expected.strip()).replace("…", ".*")
        assert re.fullmatch(pattern, done.stdout.strip()), done.stdout
