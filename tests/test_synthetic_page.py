"""The page on steering is true: its commands print what it says, its annotations are those that there are."""

import os
import re
import shutil
from pathlib import Path
from typing import get_args

import pytest

from app.lifecycle.steering import PER_CONTAINER, POD_ONLY, PodFailure, RunFailure, StartFailure
from app.settings import Settings
from tests.conftest import Serve
from tests.documents import page, run_examples

PAGE = page("docs/synthetic.md")


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_the_examples_print_what_the_page_says(serve: Serve, tmp_path: Path) -> None:
    if shutil.which("curl") is None and "CI" not in os.environ:
        pytest.skip("curl not installed")
    with serve() as server:
        run_examples(PAGE, port=server.port, cwd=tmp_path)


def test_the_tables_have_every_setting_annotation_and_failure_and_no_other() -> None:
    cells = re.findall(r"^\| (`[^|]*`) \|", PAGE, re.MULTILINE)
    named = {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}
    failures = get_args(StartFailure) + get_args(RunFailure) + get_args(PodFailure)
    settings = {name for name in named if name.isupper()}
    assert named - settings == {*POD_ONLY, *PER_CONTAINER, *failures}
    assert settings <= {name.upper() for name in Settings.model_fields}
