"""The output of the commands: tables, colours, JSON, the progress bar."""

import select
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import NamedTuple

import click
import msgspec
import orjson

from app.core.timestamps import rfc3339
from app.pods.attention import Health


def lines(objects: Iterable[object]) -> None:
    """Print objects as JSON, one a line."""
    for value in objects:
        click.echo(orjson.dumps(value, default=msgspec.structs.asdict, option=orjson.OPT_UTC_Z).decode())


HEALTH_COLORS: dict[Health, str | None] = {
    "healthy": "green",
    "progressing": "yellow",
    "failing": "red",
    "completed": "cyan",
    "unknown": None,
}


class Colored(NamedTuple):
    """A cell of a table with a colour of the terminal; None for the ordinary one."""

    text: str
    color: str | None = None

    def padded(self, width: int) -> str:
        """Return the cell as wide as its column; the escape sequences of the colour have no width."""
        text = click.style(self.text, self.color) if self.color else self.text
        return text + " " * (width - len(self.text))


class Table:
    """Prints rows in aligned columns, under one header; columns only become wider.

    Args:
        columns: the header.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns: Sequence[str] | None = columns
        self._widths = [0] * len(columns)

    def print(self, rows: Iterable[Sequence[object]]) -> None:
        """Print rows, the first time under the header."""
        cells = [[_cell(value) for value in row] for row in rows]
        if self._columns is not None:
            cells.insert(0, [Colored(column) for column in self._columns])
            self._columns = None
        for row in cells:
            self._widths = [max(width, len(cell.text)) for width, cell in zip(self._widths, row, strict=True)]
        for row in cells:
            padded = [cell.padded(width) for cell, width in zip(row, self._widths, strict=True)]
            click.echo("  ".join(padded).rstrip())


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under a header, in aligned columns."""
    Table(columns).print(rows)


def printable(text: str) -> str:
    """Replace unprintable characters, such as terminal escape sequences in the text of a request."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def wait_for_reader(seconds: float, fd: int | None = None) -> bool:
    """Wait as a :class:`app.pods.watch.Waiter`; return False at once where nothing reads the output any more."""
    poll = select.poll()
    if fd is not None:
        poll.register(fd, select.POLLIN)
    output = -1
    with suppress(OSError):  # no file: the output of a test
        output = sys.stdout.fileno()
        poll.register(output, 0)  # errors are always reported
    return output not in {ready for ready, _ in poll.poll(seconds * 1000)}


@contextmanager
def bar(length: int, label: str) -> Iterator[Callable[[int], None]]:
    """Show a progress bar if standard error is a terminal; yield the function that advances it."""
    with click.progressbar(
        length=length, label=label, file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as progress:
        yield progress.update


def _cell(value: object) -> Colored:
    if isinstance(value, Colored):
        return Colored(printable(value.text), value.color)
    if isinstance(value, datetime):
        return Colored(rfc3339(value))
    return Colored("-" if value is None else printable(str(value)))
