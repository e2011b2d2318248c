"""The command line: a subcommand for each program of the product.

A subcommand imports its program when it is invoked, so that `vkweb --help` and shell completion load none of them.
"""

import errno
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple, cast

import click

from vkweb import __version__
from vkweb.child import open_standard_streams

if TYPE_CHECKING:
    from flask import Flask

_PASS_ON = {"ignore_unknown_options": True, "allow_interspersed_args": False}
"""Options of another program are passed on without interpretation."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class _FlaskCommand(NamedTuple):
    module: str
    attribute: str
    help: str


_FLASK_COMMANDS = {
    "attention": _FlaskCommand("app.cli.attention", "attention", "Show what is wrong with pods, grouped."),
    "audit": _FlaskCommand("app.cli.audit", "audit", "Query, export, verify and prune the audit log."),
    "config": _FlaskCommand("app.cli.setup", "config", "Print the provider's settings, secrets redacted."),
    "fleet": _FlaskCommand("vkweb.fleet", "fleet", "Check fleet files; print the nodes that they describe."),
    "node": _FlaskCommand("app.cli.node", "node", "Show the node's capacity and conditions."),
    "pods": _FlaskCommand("app.cli.pods", "pods", "List, watch and explain pods; show logs and history."),
    "scenario": _FlaskCommand(
        "vkweb.scenario.command", "scenario", "Fail nodes by a schedule; report what happened to pods."
    ),
    "shell": _FlaskCommand("flask.cli", "shell_command", "Open a Python shell with the database."),
}

_MIGRATE = _FlaskCommand("app.cli.setup", "migrate", "")


class _Cli(click.Group):
    """The subcommands of this module, and those of the provider's Flask application."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the subcommands, sorted."""
        return sorted([*self.commands, *_FLASK_COMMANDS])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a subcommand; import it if it is a Flask command."""
        found = super().get_command(ctx, cmd_name)
        return found or (_flask_command(ctx, _FLASK_COMMANDS[cmd_name]) if cmd_name in _FLASK_COMMANDS else None)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of subcommands without importing any."""
        help_of = {name: command.get_short_help_str(70) for name, command in self.commands.items()}
        help_of |= {name: command.help for name, command in _FLASK_COMMANDS.items()}
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_of[name]) for name in self.list_commands(ctx)])


def _flask_command(ctx: click.Context, wanted: _FlaskCommand) -> click.Command:
    """Import a command of the provider, which loads the Flask application when it is invoked."""
    from flask.cli import ScriptInfo, with_appcontext

    ctx.find_root().obj = ctx.obj = ScriptInfo(create_app=_create_app)
    command: click.Command = getattr(import_module(wanted.module), wanted.attribute)
    if command.callback is not None and wanted.module in (
        "app.cli.setup",
        "flask.cli",
    ):  # others load it themselves
        command.callback = with_appcontext(command.callback)
    if wanted.module == "flask.cli":
        command.help = wanted.help
    return command


def _create_app(*_: object) -> "Flask":
    return cast("Flask", import_module("wsgi").app)


@click.group(cls=_Cli, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="vkweb", message="%(prog)s %(version)s")
def cli() -> None:
    """Virtual Kubelet: Web, a Kubernetes node in Python with a web provider.

    The environment configures each command: `vkweb config` prints the provider's settings, `vkweb broker --help`
    lists those of the broker.
    """


@cli.command(context_settings=_PASS_ON, short_help="Run the provider: migrate the database, then serve.")
@click.option("--no-migrate", is_flag=True, help="Serve without migrating the database first.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[-- GUNICORN OPTIONS]")
@click.pass_context
def provider(ctx: click.Context, options: tuple[str, ...], *, no_migrate: bool) -> None:
    """Run the provider: migrate the database, then serve with gunicorn.

    PORT, HOST, DATABASE_URL, WORKERS and other settings are environment variables. Options of gunicorn are passed
    on.
    """
    from vkweb.child import end_with_parent, exit_on_signals
    from vkweb.log import ignore_full_disk
    from vkweb.metrics_directory import create_metrics_directory
    from vkweb.server import check_options, serve

    end_with_parent()
    check_options(options)
    ignore_full_disk()
    exit_on_signals()
    create_metrics_directory()
    import_module("app")  # once, for the migration's process and for the server
    if not no_migrate:
        _migrate(ctx)
    serve(options)


@cli.command(
    context_settings={**_PASS_ON, "help_option_names": []},
    short_help="Run a node of the cluster in the kubeconfig.",
)
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def broker(options: tuple[str, ...]) -> None:
    """Run a node of the cluster in the kubeconfig; all options are those of the broker."""
    from vkweb.child import end_with_parent
    from vkweb.log import ignore_full_disk

    end_with_parent()
    ignore_full_disk()
    sys.exit(_run_broker(options))


@cli.command(context_settings=_PASS_ON, short_help="Run provider and broker together.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[-- BROKER OPTIONS]")
@click.pass_context
def up(ctx: click.Context, options: tuple[str, ...]) -> None:
    """Run provider and broker together, as a node of the cluster in the kubeconfig.

    The broker starts when the provider is ready. Ctrl-C or SIGTERM stops both; if one of them exits, the other is
    stopped, and the exit status is that of the first. Both log to standard error, each line with the name of its
    part. With WORKERS=1 they are one process, which takes the least memory.
    """
    from vkweb.up import run

    sys.exit(run(options, migrate=partial(_migrate, ctx), broker=partial(_run_broker, options)))


@cli.command()
@click.pass_context
def migrate(ctx: click.Context) -> None:
    """Migrate the database to the revision of this version."""
    _migrate(ctx)


@cli.command(
    context_settings={**_PASS_ON, "help_option_names": []}, short_help="Check a provider against the contract."
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def conformance(arguments: tuple[str, ...]) -> None:
    """Check a provider against the contract; all arguments are those of the conformance kit."""
    module = import_module("conformance.__main__")
    try:
        sys.exit(module.main(list(arguments)))
    except KeyboardInterrupt:
        sys.exit(130)


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell, to be sourced by it."""
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    if found is not None:
        click.echo(found(cli, {}, "vkweb", "_VKWEB_COMPLETE").source(), nl=False)


def _run_broker(options: Sequence[str]) -> int:
    """Run the broker; return the exit status."""
    main: Callable[[], int] = import_module("broker.__main__").main
    sys.argv[1:] = options
    return main()


def _migrate(ctx: click.Context) -> None:
    """Migrate the database in a child process; exit if that fails."""
    from vkweb.child import run_in_child

    run_in_child(lambda: ctx.invoke(_flask_command(ctx, _MIGRATE)))


def main() -> None:
    """Run the command line. The current folder is on the import path, for the RUNTIME of a user."""
    open_standard_streams()
    sys.path.append(os.getcwd())
    try:
        cli(prog_name="vkweb")
    except OSError as exc:
        if exc.filename or exc.errno not in _FULL:
            raise
        with suppress(OSError):
            sys.stdout.close()  # what is left in its buffer would fail again at the exit
        sys.exit(f"Error: standard output: {exc.strerror}")
