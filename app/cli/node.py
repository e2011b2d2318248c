"""`flask node`: capacity, requested resources and conditions of a node; the nodes of a fleet."""

from datetime import datetime
from itertools import groupby, starmap
from operator import attrgetter
from typing import Any, get_args

import click

from app.cli.group import Group
from app.cli.options import as_json, at
from app.cli.output import lines, table
from app.core.errors import NotFound
from app.core.quantity import format_amount, parse_quantity, percentage
from app.core.timestamps import rfc3339
from app.db.statement import Row
from app.kubernetes.status import Phase
from app.pods.queries import ENDED
from app.services import get_services


@click.group(cls=Group)
def node() -> None:
    """Show this node, or the nodes of a fleet."""


@node.command("list")
@at
@as_json
def list_nodes(*, at: datetime | None, as_json: bool) -> None:
    """List the nodes that have pods: their pods in each phase, and what those that have not ended request.

    The broker knows the others, and the capacity of each: `kubectl get nodes`.
    """
    _list_nodes(at, as_json=as_json)


def _list_nodes(at: datetime | None, *, as_json: bool) -> None:
    nodes = {name: list(rows) for name, rows in groupby(get_services().queries.nodes(at), attrgetter("node_name"))}
    if as_json:
        lines(
            {"name": name, "pods": {row.phase: row.pods for row in rows}, "requested": _requested(rows)}
            for name, rows in nodes.items()
        )
        return
    phases = get_args(Phase)
    requested = "CPU(requested)", "MEMORY(requested)"
    table(("NODE", "PODS", *requested, *map(str.upper, phases)), starmap(_node_row, nodes.items()))


def _requested(rows: list[Row]) -> dict[str, int]:
    """Return what the pods of a node request that have not ended."""
    left = [row for row in rows if row.phase not in ENDED]
    return {
        "cpu_millicores": int(sum(row.cpu_millicores or 0 for row in left)),
        "memory_bytes": int(sum(row.memory_bytes or 0 for row in left)),
    }


def _node_row(name: str, rows: list[Row]) -> tuple[object, ...]:
    requested, pods = _requested(rows), {row.phase: row.pods for row in rows}
    cpu, memory = requested["cpu_millicores"] / 1000, float(requested["memory_bytes"])
    amounts = format_amount(cpu, "cpu"), format_amount(memory, "memory")
    return name, sum(pods.values()), *amounts, *(pods.get(phase, 0) for phase in get_args(Phase))


@node.command()
@click.argument("name", required=False)
@at
@as_json
def show(*, name: str | None, at: datetime | None, as_json: bool) -> None:
    """Show capacity, requested resources, pods, conditions and addresses.

    With NAME, those of a node of a fleet. Without, a fleet of several nodes is shown as by `list`. The capacity of
    a node of a fleet is that of NODE_OVERRIDES; otherwise it is not known here, since its pool may have another.
    """
    services = get_services()
    if name is None and any(row.node_name != services.settings.node_name for row in services.queries.nodes(at)):
        _list_nodes(at, as_json=as_json)
        return
    if name is not None and not services.node.is_known(name):
        raise NotFound(f'no pod was ever on a node "{name}"; kubectl get nodes lists the nodes without pods too')
    time = at or services.clock()
    snapshot = services.history.node(name, at=at)
    requested = {
        "cpu": f"{snapshot.cpu_millicores}m",
        "memory": str(snapshot.memory_bytes),
        "pods": str(snapshot.pods),
    }
    document: dict[str, Any] = {
        "name": name or services.settings.node_name,
        "at": rfc3339(time),
        "revision": services.history.revision(),
        "capacity": services.node.known_capacity(name or services.settings.node_name) or None,
        "requested": requested,
        "pods": snapshot.pods_by_phase,
        "conditions": services.node.conditions(),
        "addresses": services.node.addresses(name),
    }
    if as_json:
        lines([document])
        return
    click.echo(f"{document['name']} at {document['at']}, revision {document['revision']}")
    click.echo(", ".join(f"{a['type']} {a['address']}" for a in document["addresses"]))
    click.echo(", ".join(f"{count} {phase}" for phase, count in snapshot.pods_by_phase.items()) or "no pods")
    click.echo()
    capacity = document["capacity"] or {}
    resources = dict.fromkeys((*capacity, *requested))
    table(
        ("RESOURCE", "CAPACITY", "REQUESTED", ""),
        (_row(name, capacity.get(name), requested.get(name)) for name in resources),
    )
    click.echo()
    table(
        ("CONDITION", "STATUS", "REASON", "MESSAGE"),
        ((c["type"], c["status"], c["reason"], c["message"]) for c in document["conditions"]),
    )


def _row(resource: str, *amounts: str | None) -> tuple[object, ...]:
    """Return a resource, its capacity and what pods request, in the units of the dashboard; None: not known."""
    whole, part = (None if amount is None else float(parse_quantity(amount)) for amount in amounts)
    shown = (None if amount is None else format_amount(amount, resource) for amount in (whole, part))
    share = "" if whole is None or part is None else f"{percentage(part, whole):.1f} %"
    return resource, *shown, share
