"""The README and the docs are true: their commands do what they say, the table of settings is the one in force."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app.settings import Settings
from tests.conftest import Serve
from tests.server import CLEAN, ROOT

README = (ROOT / "README.md").read_text()
DOCS = {
    str(path.relative_to(ROOT)): text
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    if "<!-- test -->" in (text := path.read_text())
}
EXAMPLE = re.compile(
    r"<!-- test -->\n(?:```sh\n(?P<commands>.*?)```\n```text\n(?P<printed>.*?)```|```pycon\n(?P<session>.*?)```)",
    re.DOTALL,
)
"""Commands and what they print, or a session of `flask shell`. `…` stands for anything within a line."""

_STATEMENT = re.compile(r"^>>> (.*\n)((?:\.\.\. .*\n)*)", re.MULTILINE)
"""One that goes over several lines is ended by an empty one, which no document shows."""


@pytest.mark.parametrize("database_kind", ["sqlite"])
@pytest.mark.parametrize("document", DOCS)
def test_the_examples_print_what_the_document_says(document: str, serve: Serve, tmp_path: Path) -> None:
    missing = [command for command in ("curl", "sqlite3") if shutil.which(command) is None]
    if missing and "CI" not in os.environ:
        pytest.skip(f"{' and '.join(missing)} not installed")
    with serve() as server:
        for example in EXAMPLE.finditer(DOCS[document]):
            if example["session"]:
                statements, expected = _statements(example["session"]), _transcript(example["session"])
                printed = _run(["flask", "shell"], directory=tmp_path, stdin=statements)
                printed = printed[printed.index(">>> ") :]  # after what the shell says of itself
            else:
                commands, expected = example["commands"].replace(":3000", f":{server.port}"), example["printed"]
                printed = _run(["bash", "-euo", "pipefail", "-c", commands], directory=tmp_path)
            pattern = re.escape(expected.strip()).replace("…", ".*")
            assert re.fullmatch(pattern, printed.strip()), printed


def _run(command: list[str], *, directory: Path, stdin: str | None = None) -> str:
    """Run a command where the provider's data is, its own `flask` at hand; give what it prints."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{CLEAN['PATH']}"
    done = subprocess.run(
        command,
        cwd=directory,
        env={**CLEAN, "PATH": path, "FLASK_APP": str(ROOT / "wsgi.py")},
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


def test_every_example_is_found() -> None:
    assert "README.md" in DOCS
    for document, text in DOCS.items():
        assert len(EXAMPLE.findall(text)) == text.count("<!-- test -->"), document


def test_the_table_of_settings_is_complete() -> None:
    table = "\n".join(
        [
            "| Variable | Default | |",
            "|---|---|---|",
            *(
                f"| `{name.upper()}` | {_default(name)} | {field.description} |"
                for name, field in Settings.model_fields.items()
            ),
        ]
    )
    assert table in README, f"the table should be:\n{table}"


def test_every_setting_says_what_it_is() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_make_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^\.PHONY: (\S+)", makefile, re.MULTILINE))
    listed = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    assert targets == listed


def _default(name: str) -> str:
    if name in ("host", "workers"):
        return ""  # depends on others, or on the machine; the description says how
    value = Settings.model_validate({}).in_force()[name.upper()]
    return f"`{value}`" if value not in ("", "[]") else ""
