"""`flask node`: capacity, requested resources and conditions of this node."""

from datetime import datetime
from typing import Any

import click

from app.cli.output import Group, as_json, at, lines, table
from app.core.quantity import parse_quantity
from app.core.timestamps import rfc3339
from app.services import get_services


@click.group(cls=Group)
def node() -> None:
    """Show this node."""


@node.command()
@at
@as_json
def show(*, at: datetime | None, as_json: bool) -> None:
    """Show capacity, requested resources, pods, conditions and addresses."""
    services = get_services()
    time = at or services.clock()
    snapshot = services.history.node(at=at)
    requested = {
        "cpu": f"{snapshot.cpu_millicores}m",
        "memory": str(snapshot.memory_bytes),
        "pods": str(snapshot.pods),
    }
    document: dict[str, Any] = {
        "name": services.settings.node_name,
        "at": rfc3339(time),
        "revision": services.history.revision(),
        "capacity": services.runtime.capacity(),
        "promised": requested,
        "pods": snapshot.pods_by_phase,
        "conditions": services.node_conditions(),
        "addresses": services.runtime.addresses(),
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
        (
            (name, amount, requested.get(name), _share(requested.get(name), amount))
            for name, amount in document["capacity"].items()
        ),
    )
    click.echo()
    table(
        ("CONDITION", "STATUS", "REASON"), ((c["type"], c["status"], c["reason"]) for c in document["conditions"])
    )


def _share(part: str | None, whole: str) -> str:
    """Return a quantity in percent of another; empty where there is no part or the whole is 0."""
    if part is None or not parse_quantity(whole):
        return ""
    return f"{parse_quantity(part) / parse_quantity(whole):.1%}"
