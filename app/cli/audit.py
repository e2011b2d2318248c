"""`flask audit`: who did what, questions and their answers, the chain of hashes, and what is too old."""

import os
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from app.audit import Caller
from app.audit.reports import REPORTS
from app.audit.retention import line, new_file
from app.audit.service import AuditFilter
from app.cli.output import Group, Time, as_json, bar, lines, printable, table
from app.core.timestamps import rfc3339
from app.db.models import AuditEvent
from app.services import get_services

Command = TypeVar("Command", bound=Callable[..., Any])

_LOOK_SECONDS = 0.5
_OVERLAP = 100


def _which(command: Command) -> Command:
    """Give a command the options that say which events are meant."""
    for option in reversed(
        [
            click.option("--since", type=Time(), metavar="TIME", help="From that time on, or how long ago."),
            click.option("--until", type=Time(), metavar="TIME", help="Before that time."),
            click.option("--namespace", help="Of pods of this namespace."),
            click.option("--name", help="Of pods of this name."),
            click.option("--uid", help="Of the pod of this UID."),
            click.option("--verb", type=click.Choice(["create", "update", "delete", "prune"])),
            click.option("--outcome", type=click.Choice(["done", "refused"])),
        ]
    ):
        command = option(command)
    return command


@click.group(cls=Group)
def audit() -> None:
    """Look into the record of what was done to the pods of this node, and by whom."""


@audit.command()
@click.option("--lines", "-n", "count", type=click.IntRange(min=0), default=10, show_default=True)
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@as_json
@_which
def tail(*, count: int, follow: bool, as_json: bool, **which: Any) -> None:
    """Print the last events."""
    trail, wanted = get_services().audit, AuditFilter(**which)
    # An event with a smaller ID can be committed after one with a larger: look again at some that were seen.
    seen = deque((event["id"] for event in trail.last_events(AuditFilter(), count=_OVERLAP)), maxlen=_OVERLAP)
    for event in trail.last_events(wanted, count=count):
        click.echo(_told(event, as_json=as_json))
    while follow:
        time.sleep(_LOOK_SECONDS)
        for event in list(trail.events(msgspec.structs.replace(wanted, after=min(seen, default=0)))):
            if event["id"] not in seen:
                seen.append(event["id"])
                click.echo(_told(event, as_json=as_json))


@audit.command()
@click.argument("question", type=click.Choice(list(REPORTS)), required=False)
@click.option("--at", type=Time(), metavar="TIME", help="For a question about one time; now by default.")
@click.option("--since", type=Time(), metavar="TIME", help="For a question about a span; a day ago by default.")
@click.option("--until", type=Time(), metavar="TIME", help="Its end; now by default.")
@click.option("--namespace", "-n", default="default", show_default=True, help="For a question about a pod.")
@click.option("--name", help="For a question about a pod.")
@as_json
def query(*, question: str | None, as_json: bool, **values: Any) -> None:
    """Ask one of the questions of docs/audit.md; without its name, list them."""
    if question is None:
        table(("QUESTION", "ASKS"), ((name, asked.asks) for name, asked in REPORTS.items()))
        return
    now = get_services().clock()
    given = {"at": now, "since": now - timedelta(days=1), "until": now, **{k: v for k, v in values.items() if v}}
    wanted = REPORTS[question].parameters
    if missing := [name for name in wanted if name not in given]:
        raise click.UsageError(f"this question needs --{missing[0]}")
    answer = get_services().audit.run_report(question, **{name: given[name] for name in wanted})
    if as_json:
        lines(dict(zip(answer.columns, row, strict=True)) for row in answer.rows)
    else:
        table([column.upper() for column in answer.columns], answer.rows)


@audit.command()
@click.option("--output", "-o", type=click.Path(path_type=Path), help="A new file; standard output by default.")
@_which
def export(*, output: Path | None, **which: Any) -> None:
    """Write events as JSON Lines, the oldest first."""
    trail, wanted = get_services().audit, AuditFilter(**which)
    if output is None:
        for event in trail.events(wanted):
            click.echo(_told(event, as_json=True))
        return
    with new_file(output) as file, bar(trail.count(wanted), "exporting") as step:
        for event in trail.events(wanted):
            file.write(line(AuditEvent, event))
            step(1)


@audit.command()
@click.option(
    "--noted", metavar="HASH", help="What an earlier run gave for the last hash: it must be in the chain."
)
@as_json
def verify(*, noted: str | None, as_json: bool) -> None:
    """Follow the chain of hashes (AUDIT_HASH_CHAIN), and name the first event at which it does not hold."""
    trail = get_services().audit
    with bar(trail.count(AuditFilter()), "verifying") as step:
        found = trail.verify(noted=noted, progress=step)
    broken = found.broken
    if not found.events and broken is None:
        raise click.ClickException("there is no chain: AUDIT_HASH_CHAIN was never set")
    if as_json:
        lines([{**found._asdict(), "broken": broken and broken._asdict()}])
    else:
        older = f", {found.before} older than it" if found.before else ""
        click.echo(f"{found.events} events in the chain{older}; the last hash is {found.last_hash}")
        if broken:
            click.echo(f"broken: {f'event {broken.id} {broken.why}' if broken.id else broken.why}", err=True)
    if broken:
        raise click.exceptions.Exit(1)


@audit.command()
@click.option("--before", type=Time(), metavar="TIME", required=True, help="What is older goes, or how long ago.")
@click.option(
    "--export", "path", type=click.Path(path_type=Path), help="A new file; named by node and time by default."
)
@as_json
def prune(*, before: datetime, path: Path | None, as_json: bool) -> None:
    """Take what is too old out of the database, into a file of JSON Lines.

    Events from before that time go, and so do the pods and statuses that ended before it. A row says so.
    """
    services = get_services()
    now, settings = services.clock(), services.settings
    retention = services.audit.retention(before)
    if not any(retention.due):
        click.echo("nothing is older", err=True)
        return
    path = path or Path(f"audit-{settings.node_name}-{now:%Y%m%dT%H%M%SZ}.jsonl")
    by = Caller(
        request_id=os.urandom(16).hex(), address="localhost", user_agent=f"flask audit prune, uid {os.getuid()}"
    )
    with bar(sum(retention.due), "pruning") as step:
        gone = retention.carry_out(path, now=now, caller=by, chained=settings.audit_hash_chain, progress=step)
    if as_json:
        lines([{**gone._asdict(), "file": str(path)}])
    else:
        click.echo(
            f"{gone.events} events, {gone.pods} pods and {gone.statuses} statuses of others are in {path} now"
        )


def _told(event: dict[str, Any], *, as_json: bool) -> str:
    """Write an event as JSON, or as a line for people."""
    if as_json:
        return line(AuditEvent, event).decode().rstrip()
    pod = f"{event['namespace']}/{event['name']}" if event["name"] else "-"
    said = f"{rfc3339(event['at'])}  {event['verb']:<6}  {event['code']}  {pod}  {event['user_agent']}"
    return printable(f"{said}  {event['change'] or ''}".rstrip())
