"""Shared by the commands: tables and JSON, times, errors, the progress bar."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import msgspec
import orjson
from flask.cli import AppGroup, ScriptInfo

from app.core.errors import DatabaseFault, InvalidRequest, NotFound, Unavailable
from app.core.timestamps import parse_duration, rfc3339
from app.db.fleets import fleet_names
from app.services import get_services


class _DatabaseError(click.ClickException):
    """The database cannot be reached, or refused a statement."""

    exit_code = 3


class Group(AppGroup):
    """A group of commands whose errors are one line and an exit code, never a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command in the application context, in which its options are parsed too: some need the clock."""
        try:
            with ctx.ensure_object(ScriptInfo).load_app().app_context():
                try:
                    result = super().invoke(ctx)
                except NotFound:
                    _warn_of_unknown_node()
                    raise
                _warn_of_unknown_node()
                return result
        except (InvalidRequest, NotFound) as exc:
            raise click.ClickException(str(exc)) from exc
        except (Unavailable, DatabaseFault) as exc:
            raise _DatabaseError(str(exc)) from exc


def _warn_of_unknown_node() -> None:
    """Print the nodes of a database that has others, but not that of the settings."""
    services = get_services()
    with services.database.read() as connection:
        known, name = fleet_names(connection), services.settings.node_name
    if known and name not in known:
        click.echo(
            f"Warning: the database has no node {name}; set NODE_NAME to one of {', '.join(known)}", err=True
        )


class Time(click.ParamType[datetime]):
    """An RFC 3339 time, UTC without a time zone, or a duration before now, such as `90m`."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Parse a time or a duration."""
        try:
            return parse_time(value, now=get_services().clock())
        except ValueError as exc:
            self.fail(str(exc), param, ctx)


def parse_time(value: datetime | str, *, now: datetime) -> datetime:
    """Return a time from an ISO 8601 time, UTC without a time zone, or from a duration before now, such as `90m`.

    Raises:
        ValueError: the text is neither.
    """
    if isinstance(value, str):
        try:
            return now - parse_duration(value)
        except ValueError:
            pass
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("not a time such as 2026-11-22T08:46:38Z, nor a duration such as 90m") from None
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def report_values(values: Mapping[str, Any], *, now: datetime) -> dict[str, Any]:
    """Return the values of a report's parameters; defaults are now, the last day and the namespace `default`."""
    given = {name: value for name, value in values.items() if value is not None}
    return {"at": now, "since": now - timedelta(days=1), "until": now, "namespace": "default", **given}


as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
at = click.option(
    "--at", type=Time(), metavar="TIME", help="State at this time (RFC 3339), or a duration ago; default now."
)


def lines(objects: Iterable[object]) -> None:
    """Print objects as JSON, one a line."""
    for value in objects:
        click.echo(orjson.dumps(value, default=msgspec.structs.asdict, option=orjson.OPT_UTC_Z).decode())


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under a header, in aligned columns."""
    cells = [list(columns), *([_cell(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def printable(text: str) -> str:
    """Replace unprintable characters, such as terminal escape sequences in the text of a request."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


@contextmanager
def bar(length: int, label: str) -> Iterator[Callable[[int], None]]:
    """Show a progress bar if standard error is a terminal; yield the function that advances it."""
    with click.progressbar(
        length=length, label=label, file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as progress:
        yield progress.update


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return rfc3339(value)
    return "-" if value is None else printable(str(value))
