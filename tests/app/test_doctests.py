import doctest
import importlib
import pkgutil

import pytest

import app.kubernetes

MODULES = [module.name for module in pkgutil.iter_modules(app.kubernetes.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_a_module_are_true(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f"app.kubernetes.{name}")).failed == 0


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder(exclude_empty=True)
    modules = [importlib.import_module(f"app.kubernetes.{name}") for name in MODULES]
    assert any(test.examples for module in modules for test in finder.find(module))
