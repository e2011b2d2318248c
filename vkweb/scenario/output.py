"""The output of `vkweb scenario`: the schedule, the entries as they are played, and the report."""

from collections.abc import Iterable, Sequence
from datetime import timedelta

import click

from app.audit.fault_report import FaultReport, ScenarioEvent
from app.cli.output import lines, table
from vkweb.scenario.schedule import Entry

_SHOWN = 8
"""Number of nodes in a line of text; `--json` prints all."""


def print_schedule(entries: Iterable[Entry], *, as_json: bool) -> None:
    """Print the entries that concern a node."""
    entries = [entry for entry in entries if not entry.is_empty]
    if as_json:
        lines(
            {
                "at": e.at.total_seconds(),
                "step": e.step,
                "action": e.action,
                "nodes": e.nodes,
                "groups": sorted(e.groups),
                "skipped": e.skipped,
                "missing": e.missing,
            }
            for e in entries
        )
        return
    table(
        ("TIME", "STEP", "ACTION", "NODES"),
        ((_format(e.at), e.step or "end", e.action, _describe(e)) for e in entries),
    )


def print_outcome(played: ScenarioEvent, at: timedelta, *, as_json: bool) -> None:
    """Print an entry that was played, at a time since the start; its errors on standard error."""
    if as_json:
        lines([{"at": round(at.total_seconds(), 3), "play": played}])
        return
    text = f"{_format(at):<8}  {played.step or 'end':<4}  {played.action:<10}  {_describe(played)}"
    click.echo(text if not played.details else f"{text}: {played.details['evicted']} evicted")
    for name, error in played.errors.items():
        click.echo(f"{name}: {error}", err=True)
    for pod, why in played.details.get("left", {}).items():
        click.echo(f"{pod}: {why}", err=True)


def print_report(reports: Sequence[FaultReport], *, as_json: bool) -> None:
    """Print what happened to the pods of each fault."""
    if as_json:
        lines(reports)
        return
    columns = ("at", "step", "action", "nodes", "pods", "evicted", "rescheduled", "ready", "p50", "p99")
    table([name.upper() for name in columns], ([getattr(found, name) for name in columns] for found in reports))


def _describe(entry: Entry | ScenarioEvent) -> str:
    """Return the nodes of an entry, and those that its step wants besides."""
    parts = [_abbreviated(entry.nodes) or "no node"]
    if entry.skipped:
        reasons: dict[str, list[str]] = {}
        for name, reason in entry.skipped.items():
            reasons.setdefault(reason, []).append(name)
        parts += [f"not {_abbreviated(names)}: {reason}" for reason, names in reasons.items()]
    if entry.missing:
        parts.append(f"{entry.missing} fewer than the step wants")
    return "; ".join(parts)


def _abbreviated(names: Iterable[str]) -> str:
    every = list(names)
    shown = " ".join(every[:_SHOWN])
    return shown if len(every) <= _SHOWN else f"{shown} … ({len(every)})"


def _format(at: timedelta) -> str:
    """Format a time since the start.

    >>> _format(timedelta(seconds=150.25))
    '2m30.2s'
    """
    minutes, seconds = divmod(round(at.total_seconds(), 1), 60)
    text = f"{seconds:.1f}".removesuffix(".0") + "s"
    if not minutes:
        return text
    return f"{minutes:.0f}m{text}" if seconds else f"{minutes:.0f}m"
