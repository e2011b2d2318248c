"""The examples in docstrings."""

import doctest
import importlib
from pathlib import Path

import pytest

from tests.server import ROOT

MODULES = [
    path.relative_to(ROOT)
    for package in ("app", "broker", "conformance", "vkweb")
    for path in (ROOT / package).rglob("*.py")
    if ">>> " in path.read_text()
]


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_the_examples_in_a_module_are_true(path: Path) -> None:
    module = importlib.import_module(".".join(path.with_suffix("").parts).removesuffix(".__init__"))
    found = doctest.testmod(module)
    assert found.attempted
    assert not found.failed
