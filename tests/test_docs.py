"""The README is true: its commands do what it says, its table of settings is the one in force."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from app.settings import Settings
from tests.conftest import Serve
from tests.server import CLEAN, ROOT

README = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"<!-- test -->\n```sh\n(.*?)```\n```text\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_the_examples_print_what_the_readme_says(serve: Serve, tmp_path: Path) -> None:
    missing = [command for command in ("curl", "sqlite3") if shutil.which(command) is None]
    if missing and "CI" not in os.environ:
        pytest.skip(f"{' and '.join(missing)} not installed")
    with serve() as server:
        for commands, expected in EXAMPLES:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", commands.replace(":3000", f":{server.port}")],
                cwd=tmp_path,
                env=CLEAN,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            pattern = re.escape(expected.strip()).replace("…", ".*")
            assert re.fullmatch(pattern, done.stdout.strip()), done.stdout


def test_every_example_is_found() -> None:
    assert len(EXAMPLES) == README.count("<!-- test -->") > 0


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
