"""The examples in docstrings."""

import doctest
import importlib
from pathlib import Path

import pytest

import app

ROOT = Path(app.__file__).parents[1]
MODULES = [path for path in Path(app.__file__).parent.rglob("*.py") if ">>> " in path.read_text()]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_the_examples_in_a_module_are_true(path: Path) -> None:
    module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    found = doctest.testmod(module)
    assert found.attempted
    assert not found.failed


def test_there_are_examples() -> None:
    assert MODULES
