"""The commands, on the recorded history."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from click.testing import Result
from flask import Flask

from tests.app.audit.conftest import recorded, recorded_file

__all__ = ["recorded", "recorded_file", "run"]

Run = Callable[..., Result]


@pytest.fixture
def database_kind() -> str:
    """Use SQLite: a command's output does not depend on the database; `tests/app/audit` tests both."""
    return "sqlite"


@pytest.fixture
def run(recorded: Flask) -> Run:
    """Run a command on the recorded history, and return its result."""

    def invoke(*arguments: object, code: int = 0, color: bool = False) -> Result:
        result = recorded.test_cli_runner().invoke(args=[str(argument) for argument in arguments], color=color)
        assert result.exit_code == code, result.output
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return invoke


def table(text: str) -> list[list[str]]:
    """Split a table into its cells; columns are at least two spaces apart."""
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in text.splitlines()]


def objects(text: str) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in text.splitlines()]
