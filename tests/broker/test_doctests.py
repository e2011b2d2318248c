"""The examples in docstrings."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["pods.downward_api", "pods.env", "kubernetes.quantity", "spdy"])
def test_the_examples_of_a_module(name: str) -> None:
    results = doctest.testmod(importlib.import_module(f"broker.{name}"))
    assert results.attempted > 0
    assert results.failed == 0
