"""Groups of commands, and commands outside of one: in the context of the application, with errors of one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from flask.cli import AppGroup, ScriptInfo
from sqlalchemy import Connection

from app.core.errors import DatabaseFault, InvalidRequest, NotFound, Unavailable
from app.db.fleets import fleet_names
from app.services import get_services

_INTERRUPTED = 130
"""The exit code of a command that SIGINT has ended, as shells report it."""


class DatabaseError(click.ClickException):
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
        raise DatabaseError(str(exc)) from exc
    except KeyboardInterrupt:
        raise click.exceptions.Exit(_INTERRUPTED) from None


def _warn_of_unknown_node() -> None:
    services = get_services()
    with services.database.read() as connection:
        problem = unknown_node(connection, services.settings.node_name)
    if problem:
        click.echo(f"Warning: {problem}", err=True)


def unknown_node(connection: Connection, node: str) -> str | None:
    """Return a message that names the nodes of a database which has others, but not this one; else None."""
    known = fleet_names(connection)
    if not known or node in known:
        return None
    return f"the database has no node {node}; set NODE_NAME to one of {', '.join(known)}"
