"""The README is true: its commands do what it says, its table of settings is the one in force."""

import os
import re
import shutil
from pathlib import Path

import pytest

from app.core.settings import Settings
from tests.conftest import Serve
from tests.documents import page, run_examples
from tests.server import ROOT

README = page("README.md")


@pytest.mark.parametrize("database_kind", ["sqlite"])
@pytest.mark.parametrize(
    "path",
    ["README.md", "docs/audit.md", "docs/conformance.md", "docs/shell.md", "docs/synthetic.md"],
)
def test_the_examples_print_what_the_page_says(path: str, serve: Serve, tmp_path: Path) -> None:
    missing = [command for command in ("curl", "sqlite3") if shutil.which(command) is None]
    if missing and "CI" not in os.environ:
        pytest.skip(f"{' and '.join(missing)} not installed")
    with serve() as server:
        run_examples(page(path), port=server.port, cwd=tmp_path)


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
