"""The page on simulated pods lists exactly the annotations that exist."""

import re
from typing import get_args

from app.core.settings import Settings
from app.runtimes.synthetic.annotations import PER_CONTAINER, POD_ONLY, PodFailureReason, RunFailure, StartFailure
from tests.documents import page

PAGE = page("docs/synthetic.md")


def test_tables_list_exactly_the_settings_annotations_and_failures() -> None:
    cells = re.findall(r"^\| (`[^|]*`) \|", PAGE, re.MULTILINE)
    named = {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}
    failures = get_args(StartFailure) + get_args(RunFailure) + get_args(PodFailureReason)
    settings = {name for name in named if name.isupper()}
    assert named - settings == {*POD_ONLY, *PER_CONTAINER, *failures}
    assert settings <= {name.upper() for name in Settings.model_fields}
