"""The libraries of the dashboard and of its tests are those that their README names."""

import hashlib
import re
from pathlib import Path

import pytest

import app.web.ui

DASHBOARD = Path(app.web.ui.__file__).parent / "static" / "vendor"


@pytest.mark.parametrize("folder", [DASHBOARD, Path(__file__).parent / "vendor"], ids=["dashboard", "tests"])
def test_foreign_files_are_unchanged(folder: Path) -> None:
    named = dict(
        re.findall(r"^\| `([^`]+)` .* ([0-9a-f]{64}) \|$", (folder / "README.md").read_text(), re.MULTILINE)
    )
    found = {file.name: file for file in folder.iterdir() if file.suffix in {".js", ".css"}}

    assert {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in found.items()} == named


def test_every_foreign_file_has_a_license() -> None:
    readme = (DASHBOARD / "README.md").read_text()

    licenses = set(re.findall(r"`([^`]+\.LICENSE)`", readme))

    assert {file.name for file in DASHBOARD.glob("*.LICENSE")} == licenses
