"""What the commands share: tables and JSON, times, errors, the bar of long work."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import click
import msgspec
import orjson
from flask.cli import AppGroup, ScriptInfo

from app.core.errors import DatabaseFault, InvalidRequest, NotFound, Unavailable
from app.core.timestamps import parse_duration, rfc3339
from app.services import get_services


class _NoAnswer(click.ClickException):
    exit_code = 3


class Group(AppGroup):
    """A group of commands that end with a line and an exit code where they fail, never with a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command. Its options are read inside of the application, too: some ask for the time."""
        try:
            with ctx.ensure_object(ScriptInfo).load_app().app_context():
                return super().invoke(ctx)
        except (InvalidRequest, NotFound) as exc:
            raise click.ClickException(str(exc)) from exc
        except (Unavailable, DatabaseFault) as exc:
            raise _NoAnswer(str(exc)) from exc


class Time(click.ParamType[datetime]):
    """A time: RFC 3339, in UTC where no zone is given, or how long ago, such as `90m`."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read it."""
        if isinstance(value, datetime):
            return value
        try:
            return get_services().clock() - parse_duration(value)
        except ValueError:
            pass
        try:
            time = datetime.fromisoformat(value)
        except ValueError:
            self.fail("not a time such as 2026-11-22T08:46:38Z, nor how long ago, such as 90m", param, ctx)
        return time if time.tzinfo else time.replace(tzinfo=UTC)


as_json = click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for programs.")
at = click.option("--at", type=Time(), metavar="TIME", help="As it was then, or how long ago; now by default.")


def lines(objects: Iterable[object]) -> None:
    """Print objects as JSON, one a line."""
    for value in objects:
        click.echo(orjson.dumps(value, default=msgspec.structs.asdict, option=orjson.OPT_UTC_Z).decode())


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows below the names of their columns, each column as wide as it has to be."""
    cells = [list(columns), *([_cell(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def printable(text: str) -> str:
    """Replace what would move a terminal's cursor, or worse: requests bring text from anywhere."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


@contextmanager
def bar(length: int, label: str) -> Iterator[Callable[[int], None]]:
    """Show how far long work has come, where standard error is a terminal; give what to call at each step."""
    with click.progressbar(
        length=length, label=label, file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as progress:
        yield progress.update


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return rfc3339(value)
    return "-" if value is None else printable(str(value))
