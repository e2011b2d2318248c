"""Shared by the commands: tables and JSON, times, errors, the progress bar."""

import os
import select
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeVar

import click
import msgspec
import orjson
from flask.cli import AppGroup, ScriptInfo

from app.core.errors import DatabaseFault, InvalidRequest, NotFound, Unavailable
from app.core.timestamps import parse_duration, rfc3339
from app.db.fleets import fleet_names
from app.pods.attention import Health
from app.services import get_services

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

_INTERRUPTED = 130
"""The exit code of a command that SIGINT has ended, as shells report it."""


class _DatabaseError(click.ClickException):
    """The database cannot be reached, or refused a statement."""

    exit_code = 3


class Group(AppGroup):
    """A group of commands whose errors are one line and an exit code, never a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command in the application context, in which its options are parsed too: some need the clock."""
        with ctx.ensure_object(ScriptInfo).load_app().app_context(), _reported():
            return super().invoke(ctx)


class Command(click.Command):
    """A command outside of a group, as one in a :class:`Group`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the options in the application context, which stays until the command has ended."""
        if not ctx.resilient_parsing:
            ctx.with_resource(ctx.ensure_object(ScriptInfo).load_app().app_context())
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with _reported():
            return super().invoke(ctx)


@contextmanager
def _reported() -> Iterator[None]:
    """Convert errors to one line and an exit code. Ctrl-C ends a command without a message."""
    try:
        try:
            yield
        except NotFound:
            _warn_of_unknown_node()
            raise
        _warn_of_unknown_node()
    except (InvalidRequest, NotFound) as exc:
        raise click.ClickException(str(exc)) from exc
    except (Unavailable, DatabaseFault) as exc:
        raise _DatabaseError(str(exc)) from exc
    except KeyboardInterrupt:
        raise click.exceptions.Exit(_INTERRUPTED) from None


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


def _set_color(ctx: click.Context, _: click.Parameter, when: str) -> None:
    """Set whether colours are printed; where the context has None, click prints them on a terminal only."""
    if when == "auto":
        ctx.color = False if os.environ.get("NO_COLOR") else None
    else:
        ctx.color = when == "always"


def _warn_of_node_without_pods(_: click.Context, __: click.Parameter, node: str | None) -> str | None:
    """Warn of a node that is a typing error, or new; a database that cannot be read is left to the command."""
    with suppress(Unavailable, DatabaseFault):
        if node is not None and not get_services().node.is_known(node):
            click.echo(f"Warning: no pod was ever on a node {printable(node)}", err=True)
    return node


def node_option(description: str) -> Callable[[Decorated], Decorated]:
    """Return the option `--node`, which filters by the node of a pod."""
    return click.option("--node", help=description, callback=_warn_of_node_without_pods)


as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
at = click.option(
    "--at", type=Time(), metavar="TIME", help="State at this time (RFC 3339), or a duration ago; default now."
)
color = click.option(
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    expose_value=False,
    callback=_set_color,
    help="Print colours; auto does on a terminal, unless NO_COLOR is set.",
)


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
