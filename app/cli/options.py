"""Options that several commands have, and the values of times and of the parameters of reports."""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click

from app.cli.output import printable
from app.core.errors import DatabaseFault, Unavailable
from app.core.timestamps import parse_duration
from app.services import get_services

_MARGIN = timedelta(days=1)
"""A time is later than the first one by more than what is subtracted from it, such as an age of minutes."""

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


class Parsed(click.ParamType[Any]):
    """The type of an option whose value a function parses; its `ValueError` is an error of usage."""

    def __init__(self, name: str, parse: Callable[[str], object]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse a text; another value is parsed already."""
        try:
            return self._parse(value) if isinstance(value, str) else value
        except ValueError as exc:
            self.fail(str(exc), param, ctx)


TIME = Parsed("time", lambda text: parse_time(text, now=get_services().clock()))


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
            value.astimezone(UTC) - _MARGIN
        except (ValueError, OverflowError):  # the second of a time that is, or would be, in the year 0 in UTC
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
at = click.option("--at", type=TIME, help="State at this time (RFC 3339), or a duration ago; default now.")
color = click.option(
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    expose_value=False,
    callback=_set_color,
    help="Print colours; auto does on a terminal, unless NO_COLOR is set.",
)
