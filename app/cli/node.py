"""`flask node`: capacity, requested resources and conditions of a node; the nodes of a fleet."""

from datetime import datetime
from typing import Any, get_args

import click

from app.cli.output import Group, as_json, at, lines, table
from app.core.quantity import format_amount, parse_quantity, percentage
from app.core.timestamps import rfc3339
from app.kubernetes.status import Phase
from app.services import get_services


@click.group(cls=Group)
def node() -> None:
    """Show this node, or the nodes of a fleet."""


@node.command("list")
@at
@as_json
def list_nodes(*, at: datetime | None, as_json: bool) -> None:
    """List the nodes that have pods, with the number of pods in each phase."""
    counts: dict[str, dict[str, int]] = {}
    for row in get_services().queries.nodes(at):
        counts.setdefault(row.node_name, {})[row.phase] = row.pods
    if as_json:
        lines({"name": name, "pods": phases} for name, phases in counts.items())
        return
    phases = get_args(Phase)
    table(
        ("NODE", "PODS", *(phase.upper() for phase in phases)),
        ((name, sum(of.values()), *(of.get(phase, 0) for phase in phases)) for name, of in counts.items()),
    )


@node.command()
@click.argument("name", required=False)
@at
@as_json
def show(*, name: str | None, at: datetime | None, as_json: bool) -> None:
    """Show capacity, requested resources, pods, conditions and addresses.

    With NAME, those of a node of a fleet. Pods and requested resources without NAME are those of all nodes.
    """
    services = get_services()
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
        "capacity": services.node_capacity(name),
        "requested": requested,
        "pods": snapshot.pods_by_phase,
        "conditions": services.node_conditions(),
        "addresses": services.node_addresses(name),
    }
    if as_json:
        lines([document])
        return
    click.echo(f"{document['name']} at {document['at']}, revision {document['revision']}")
    click.echo(", ".join(f"{a['type']} {a['address']}" for a in document["addresses"]))
    click.echo(", ".join(f"{count} {phase}" for phase, count in snapshot.pods_by_phase.items()) or "no pods")
    click.echo()
    table(
        ("RESOURCE", "CAPACITY", "REQUESTED", ""),
        (_row(name, capacity, requested.get(name)) for name, capacity in document["capacity"].items()),
    )
    click.echo()
    table(
        ("CONDITION", "STATUS", "REASON", "MESSAGE"),
        ((c["type"], c["status"], c["reason"], c["message"]) for c in document["conditions"]),
    )


def _row(resource: str, capacity: str, requested: str | None) -> tuple[object, ...]:
    """Return a resource with its capacity and what pods request of it, in the units of the dashboard."""
    whole = float(parse_quantity(capacity))
    if requested is None:
        return resource, format_amount(whole, resource), None, ""
    part = float(parse_quantity(requested))
    return (
        resource,
        format_amount(whole, resource),
        format_amount(part, resource),
        f"{percentage(part, whole):.1f} %",
    )
