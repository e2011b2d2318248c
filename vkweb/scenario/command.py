"""`vkweb scenario`: check a scenario, play it, and report what happened to the pods."""

import asyncio
import os
import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import orjson

from app.audit import Caller
from app.audit.fault_report import ScenarioEvent
from app.audit.scenarios import ScenarioLog
from app.cli.group import DatabaseError, unknown_node
from app.cli.options import as_json
from app.core.clock import utc_now
from app.core.errors import ConfigurationError as SettingsError
from app.core.errors import DatabaseFault, NotFound, Unavailable
from app.core.settings import Settings
from app.db.engine import Database
from app.db.revision import head
from app.pods.fleet_clock import FleetClock
from broker.errors import ConfigurationError
from broker.fleet.schema import MOST_NODES
from broker.kubernetes.client import Client
from broker.kubernetes.config import load
from broker.kubernetes.errors import ApiError
from broker.signals import stop_on_signals
from broker.yaml_document import locate
from vkweb import __version__
from vkweb.files import PATH, Document, check_each, read
from vkweb.scenario.actions import Nodes
from vkweb.scenario.file import Scenario, json_schema, parse_scenario
from vkweb.scenario.output import print_outcome, print_report, print_schedule
from vkweb.scenario.play import Outcome, Player
from vkweb.scenario.schedule import KnownNode, dry_run

_NO_DATABASE = 503


class _Group(click.Group):
    """A group whose errors are lines and an exit status, never a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a subcommand."""
        try:
            return super().invoke(ctx)
        except (ConfigurationError, SettingsError, ApiError, NotFound) as exc:
            raise click.ClickException(str(exc)) from exc
        except (Unavailable, DatabaseFault) as exc:
            raise DatabaseError(f"{exc}; DATABASE_URL names the provider's database") from exc


_file = click.argument("file", type=PATH)


@click.group(cls=_Group)
def scenario() -> None:
    """Fail nodes by a schedule: play, check and report scenarios."""


@scenario.command()
@click.argument("files", nargs=-1, required=True, type=PATH)
def check(files: tuple[Path, ...]) -> None:
    """Check files of scenarios; print errors with line and field.

    `-` is standard input. Exit status: 0 if all files are valid, 1 otherwise.
    """

    def check_one(document: Document) -> None:
        found = parse_scenario(document.text, name=document.name)
        click.echo(f"{document.name}: valid; number of steps: {len(found.steps)}")

    check_each(files, check_one)


@scenario.command()
def schema() -> None:
    """Print the JSON Schema of a scenario."""
    click.echo(orjson.dumps(json_schema(), option=orjson.OPT_INDENT_2).decode())


@scenario.command()
@_file
@click.option("--seed", type=int, help="Seed in place of that of the file.")
@click.option(
    "--dry-run",
    "is_dry_run",
    is_flag=True,
    help="Print the schedule for the nodes of the cluster, and change nothing.",
)
@click.option(
    "--pool",
    "pools",
    multiple=True,
    metavar="NAME=COUNT",
    help="With --dry-run: a pool of this size in place of the nodes of the cluster; repeatable.",
)
@click.option("--report", "with_report", is_flag=True, help="Report at the end what happened to the pods.")
@click.option("--no-audit", is_flag=True, help="Play without a database: nothing is recorded.")
@click.option("--keep", is_flag=True, help="Keep the faults that last at the end or when stopped.")
@click.option(
    "--kubeconfig", envvar="KUBECONFIG", help="Path of a kubeconfig; default: KUBECONFIG, as for the broker."
)
@as_json
def play(
    *,
    file: Path,
    seed: int | None,
    is_dry_run: bool,
    pools: tuple[str, ...],
    with_report: bool,
    no_audit: bool,
    keep: bool,
    kubeconfig: str | None,
    as_json: bool,
) -> None:
    """Play a scenario: change nodes of the cluster by its schedule.

    FILE is a YAML file, or `-` for standard input.

    Each entry is an event of the audit log, in the database of DATABASE_URL. Ctrl-C stops the play; its nodes
    recover then, as at its end. Exit status: 1 if a node could not be changed.
    """
    document = read(file)
    found = parse_scenario(document.text, name=document.name)
    if seed is not None:
        found = found.model_copy(update={"seed": seed})
    if is_dry_run:
        known = _pools(pools) if pools else asyncio.run(_known(found, kubeconfig))
        _warn(document, found, known)
        print_schedule(dry_run(found, known, recovers=not keep), as_json=as_json)
        return
    if pools:
        raise click.UsageError("--pool is for --dry-run")
    if with_report and no_audit:
        raise click.UsageError("--report reads what is recorded, which --no-audit turns off")
    log, caller = None if no_audit else _open_log(), _caller()
    failed = asyncio.run(_play(found, document, log, caller, kubeconfig=kubeconfig, keep=keep, as_json=as_json))
    if with_report and log is not None:
        print_report(log.report(caller.request_id), as_json=as_json)
    if failed:
        raise click.exceptions.Exit(1)


@scenario.command()
@click.argument("play_id", metavar="[PLAY]", required=False)
@as_json
def report(*, play_id: str | None, as_json: bool) -> None:
    """Report what happened to the pods of a scenario, from the record.

    PLAY is the request ID of its events in the audit log; by default that of the last one.
    """
    log = _open_log()
    print_report(log.report(log.find_play(play_id)), as_json=as_json)


def _warn(document: Document, found: Scenario, known: Mapping[str, KnownNode]) -> None:
    """Warn of each pool without nodes, and each name of no node.

    It is a typing error, or the name of nodes that an autoscaler is to add.
    """
    pools = {node.pool for node in known.values()}
    for number, step in enumerate(found.steps):
        is_known = step.pool is None or step.pool in pools
        unknown = [] if is_known else [("pool", f"no node is in the pool {step.pool}")]
        unknown += [("nodes", f"there is no node {name}") for name in step.nodes or () if name not in known]
        for field, message in unknown:
            where = locate(document.text, ("steps", number, field), name=document.name)
            click.echo(f"Warning: {where}: {message}", err=True)


def _pools(options: Iterable[str]) -> dict[str, KnownNode]:
    """Return the nodes of `--pool NAME=COUNT`, named as those of a fleet."""
    nodes: dict[str, KnownNode] = {}
    for option in options:
        name, _, size = option.partition("=")
        if not name or not re.fullmatch(r"\d{1,9}", size, re.ASCII):
            raise click.UsageError(f"--pool {option}: not a pool such as spot=200")
        if len(nodes) + int(size) > MOST_NODES:
            raise click.UsageError(f"--pool {option}: at most {MOST_NODES} nodes are possible")
        nodes.update({f"{name}-{index}": KnownNode(name) for index in range(int(size))})
    return nodes


async def _known(found: Scenario, kubeconfig: str | None) -> Mapping[str, KnownNode]:
    client = _client(kubeconfig)
    try:
        return await _nodes(client, found).known()
    finally:
        await client.close()


def _nodes(client: Client, found: Scenario) -> Nodes:
    """Return the nodes of the fleet NODE_NAME; of all fleets where it is not set."""
    fleet = os.environ.get("NODE_NAME") or None
    return Nodes(client, clock=utc_now, seed=found.seed, pool_label=found.pool_label, fleet=fleet)


def _client(kubeconfig: str | None) -> Client:
    return Client(load(kubeconfig, os.environ), user_agent=f"vkweb-scenario/{__version__}")


def _open_log() -> ScenarioLog:
    """Open the audit log.

    Raises:
        SettingsError: a setting is invalid.
        Unavailable: the database cannot be used.
    """
    settings = Settings.from_environment()
    database = Database(settings.database, head=head())
    with database.read() as connection:
        problem = unknown_node(connection, settings.node_name)
    if problem:
        raise click.ClickException(problem)
    return ScenarioLog(database, settings, clock=FleetClock(database, settings.node_name, clock=utc_now))


def _caller() -> Caller:
    return Caller(
        request_id=os.urandom(16).hex(), address="localhost", user_agent=f"vkweb scenario play, uid {os.getuid()}"
    )


async def _play(
    found: Scenario,
    document: Document,
    log: ScenarioLog | None,
    caller: Caller,
    *,
    kubeconfig: str | None,
    keep: bool,
    as_json: bool,
) -> bool:
    """Play a scenario; return whether a node could not be changed."""
    stop, failed = asyncio.Event(), False
    loop = asyncio.get_running_loop()

    async def record(outcome: Outcome) -> None:
        nonlocal failed
        failed = failed or bool(outcome.errors)
        played = _event(found, outcome)
        print_outcome(played, timedelta(seconds=loop.time() - began), as_json=as_json)
        if log is not None:
            code = next((error.status or _NO_DATABASE for error in outcome.errors.values()), 200)
            await asyncio.to_thread(log.record, caller, played, code=code)

    stop_on_signals(stop)
    client = _client(kubeconfig)
    try:
        nodes = _nodes(client, found)
        await nodes.forget_returned()
        _warn(document, found, await nodes.known())
        if not as_json:
            click.echo("TIME      STEP  ACTION      NODES")
        began = loop.time()
        await Player(found, nodes, record=record, recovers=not keep).run(stop)
    finally:
        await client.close()
    return failed


def _event(found: Scenario, outcome: Outcome) -> ScenarioEvent:
    entry, drained = outcome.entry, outcome.drained
    details: dict[str, Any] = {}
    if drained is not None:
        left = {pod: why for result in drained.values() for pod, why in result.left.items()}
        details = {"evicted": sum(result.evicted for result in drained.values()), "left": left}
    return ScenarioEvent(
        scenario=found.name,
        seed=found.seed,
        step=entry.step,
        action=entry.action if drained is None else "drained",
        nodes=list(entry.nodes),
        groups=sorted(entry.groups),
        skipped=dict(entry.skipped) if drained is None else {},
        missing=entry.missing if drained is None else 0,
        errors={name: str(error) for name, error in outcome.errors.items()},
        details=details,
    )
