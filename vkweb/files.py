"""Files that commands read and check: a fleet, a scenario."""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import click

from broker.errors import ConfigurationError
from broker.yaml_document import decode

PATH = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
"""Path of a file, or `-` for standard input."""


class Document(NamedTuple):
    """The text of a file, and its name for errors."""

    text: str
    name: str


def read(file: Path) -> Document:
    """Read a file, or standard input.

    Raises:
        ConfigurationError: it cannot be read, or is not UTF-8.
    """
    name = "stdin" if file == Path("-") else str(file)
    try:
        content = sys.stdin.buffer.read() if file == Path("-") else file.read_bytes()
    except OSError as exc:
        raise ConfigurationError(f"{name}: {exc.strerror}") from None
    return Document(decode(content, name=name), name)


def check_each(files: Iterable[Path], check: Callable[[Document], None]) -> None:
    """Check files: `check` prints a valid one, and raises a ConfigurationError for another. Exit with 1 then."""
    problems = []
    for file in files:
        try:
            check(read(file))
        except ConfigurationError as exc:
            problems.append(str(exc))
    if problems:
        click.echo("\n".join(problems), err=True)
        raise click.exceptions.Exit(1)
