"""`vkweb audit`: follow, query, export, verify and prune the audit log."""

import os
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar, get_args

import click
import msgspec

from app.audit import Caller, Verb
from app.audit.reports import REPORTS
from app.audit.retention import line, new_file
from app.audit.service import AuditFilter
from app.cli.completion import complete_namespace
from app.cli.group import Group
from app.cli.options import TIME, as_json, node_option, report_values
from app.cli.output import bar, lines, printable, table
from app.core.timestamps import rfc3339
from app.db.models import AuditEvent
from app.services import get_services

Command = TypeVar("Command", bound=Callable[..., Any])

_POLL_SECONDS = 0.5
_OVERLAP = 100
"""How many events `tail -f` reads again: one with a smaller ID can be committed after one with a larger."""


def _filter_options(command: Command) -> Command:
    """Add the options that select events to a command."""
    for option in reversed(
        [
            click.option(
                "--since",
                type=TIME,
                help="Events at or after this time (RFC 3339), or since a duration ago.",
            ),
            click.option("--until", type=TIME, help="Events before this time."),
            click.option(
                "--namespace",
                help="Only events of pods in this namespace.",
                shell_complete=complete_namespace,
            ),
            click.option("--name", help="Only events of pods of this name."),
            click.option("--uid", help="Only events of the pod with this UID."),
            node_option("Only events of pods on this node."),
            click.option("--verb", type=click.Choice(get_args(Verb)), help="Only this verb."),
            click.option("--outcome", type=click.Choice(["done", "refused"]), help="Only this outcome."),
        ]
    ):
        command = option(command)
    return command


@click.group(cls=Group)
def audit() -> None:
    """Read, export, verify and prune the audit log of this node."""


@audit.command()
@click.option(
    "--lines", "-n", "count", type=click.IntRange(min=0), default=10, show_default=True, help="Number of events."
)
@click.option("--follow", "-f", is_flag=True, help="Print new events as they arrive, until Ctrl-C.")
@as_json
@_filter_options
def tail(*, count: int, follow: bool, as_json: bool, **filters: Any) -> None:
    """Print the latest events, oldest first."""
    audit_log, wanted = get_services().audit, AuditFilter(**filters)
    seen = deque((event["id"] for event in audit_log.last_events(AuditFilter(), count=_OVERLAP)), maxlen=_OVERLAP)
    for event in audit_log.last_events(wanted, count=count):
        click.echo(_format_event(event, as_json=as_json))
    while follow:
        time.sleep(_POLL_SECONDS)
        for event in list(audit_log.events(msgspec.structs.replace(wanted, after=min(seen, default=0)))):
            if event["id"] not in seen:
                seen.append(event["id"])
                click.echo(_format_event(event, as_json=as_json))


@audit.command()
@click.argument("report", type=click.Choice(list(REPORTS)), required=False)
@click.option("--at", type=TIME, help="Time of the report; default now.")
@click.option("--since", type=TIME, help="Start of the reported period; default one day ago.")
@click.option("--until", type=TIME, help="End of the reported period; default now.")
@click.option(
    "--namespace",
    "-n",
    default="default",
    show_default=True,
    help="Namespace of the pod.",
    shell_complete=complete_namespace,
)
@click.option("--name", help="Name of the pod.")
@node_option("Only this node; default all nodes of the fleet.")
@as_json
def query(*, report: str | None, node: str | None, as_json: bool, **values: Any) -> None:
    """Run a report; without REPORT, list the reports."""
    if report is None:
        table(("REPORT", "DESCRIPTION"), ((name, known.asks) for name, known in REPORTS.items()))
        return
    given = report_values(values, now=get_services().clock())
    parameters = REPORTS[report].parameters
    if missing := [name for name in parameters if name not in given]:
        raise click.UsageError(f"report {report} needs --{missing[0]}")
    result = get_services().audit.run_report(report, node=node, **{name: given[name] for name in parameters})
    if as_json:
        lines(dict(zip(result.columns, row, strict=True)) for row in result.rows)
    else:
        table([column.upper() for column in result.columns], result.rows)


@audit.command()
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="New file to write to; default standard output."
)
@_filter_options
def export(*, output: Path | None, **filters: Any) -> None:
    """Write events as JSON Lines, oldest first."""
    audit_log, wanted = get_services().audit, AuditFilter(**filters)
    if output is None:
        for event in audit_log.events(wanted):
            click.echo(_format_event(event, as_json=True))
        return
    with new_file(output) as file, bar(audit_log.count(wanted), "exporting") as step:
        for event in audit_log.events(wanted):
            file.write(line(AuditEvent, event))
            step(1)


class _NoHashChain(click.ClickException):
    """Nothing can be verified, which is neither a success nor a broken chain."""

    exit_code = 3


@audit.command()
@click.option("--noted", metavar="HASH", help="The last hash of an earlier run, which must be in the chain.")
@as_json
def verify(*, noted: str | None, as_json: bool) -> None:
    """Verify the hash chain; print the first event that breaks it.

    Events have hashes with AUDIT_HASH_CHAIN=true. Exit status: 0 if the chain is unbroken, 1 if it is broken, 3 if
    there is none, or it cannot be read.
    """
    audit_log = get_services().audit
    with bar(audit_log.count(AuditFilter()), "verifying") as step:
        found = audit_log.verify(noted=noted, progress=step)
    broken = found.broken
    if not found.events and broken is None:
        raise _NoHashChain("there is no hash chain: AUDIT_HASH_CHAIN was never set")
    if as_json:
        lines([{**found._asdict(), "broken": broken and broken._asdict()}])
    else:
        older = f", {found.before} events before it" if found.before else ""
        last = f"; the last hash is {found.last_hash}" if found.last_hash else ""
        click.echo(f"{found.events} events in the chain{older}{last}")
        if broken:
            click.echo(f"broken: {f'event {broken.id} {broken.why}' if broken.id else broken.why}", err=True)
    if broken:
        raise click.exceptions.Exit(1)


@audit.command()
@click.option(
    "--before",
    type=TIME,
    required=True,
    help="Delete what is older than this time (RFC 3339), or than a duration.",
)
@click.option(
    "--export",
    "path",
    type=click.Path(path_type=Path),
    help="New file for the deleted rows; default named after the node and the time.",
)
@as_json
def prune(*, before: datetime, path: Path | None, as_json: bool) -> None:
    """Move old rows from the database to a file of JSON Lines.

    Deletes the events from before the time, and the pods and statuses that ended before it. The audit log records
    the pruning.
    """
    services = get_services()
    now, settings = services.clock(), services.settings
    retention = services.audit.retention(before)
    if not any(retention.due):
        click.echo("nothing to prune", err=True)
        return
    path = path or Path(f"audit-{settings.node_name}-{now:%Y%m%dT%H%M%SZ}.jsonl")
    caller = Caller(
        request_id=os.urandom(16).hex(), address="localhost", user_agent=f"vkweb audit prune, uid {os.getuid()}"
    )
    with bar(sum(retention.due), "pruning") as step:
        pruned = retention.carry_out(
            path, now=now, caller=caller, chained=settings.audit_hash_chain, progress=step
        )
    if as_json:
        lines([{**pruned._asdict(), "file": str(path)}])
    else:
        click.echo(
            f"moved {pruned.events} events, {pruned.pods} pods and {pruned.statuses} other statuses to {path}"
        )


def _format_event(event: dict[str, Any], *, as_json: bool) -> str:
    """Format an event as JSON, or as a line of text."""
    if as_json:
        return line(AuditEvent, event).decode().rstrip()
    pod = f"{event['namespace']}/{event['name']}" if event["name"] else "-"
    if event["node_name"]:
        pod += f" on {event['node_name']}"
    text = f"{rfc3339(event['at'])}  {event['verb']:<6}  {event['code']}  {pod}  {event['user_agent']}"
    return printable(f"{text}  {event['change'] or ''}".rstrip())
