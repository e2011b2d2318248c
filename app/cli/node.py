"""`vkweb node`: capacity, requested resources and conditions of a node; the nodes of a fleet."""

from collections.abc import Mapping
from datetime import datetime
from itertools import starmap
from typing import Any, get_args

import click

from app.cli.group import Group
from app.cli.options import as_json, at
from app.cli.output import lines, table
from app.core.errors import NotFound
from app.core.quantity import format_amount, parse_quantity, percentage
from app.core.timestamps import rfc3339
from app.kubernetes.status import Phase
from app.pods.queries import NodePods
from app.services import get_services


@click.group(cls=Group)
def node() -> None:
    """Show this node, or the nodes of a fleet."""


@node.command("list")
@at
@as_json
def list_nodes(*, at: datetime | None, as_json: bool) -> None:
    """List the nodes that have pods.

    Prints the pods of each in each phase, and what those that have not ended request. The broker knows the others,
    and the capacity of each: `kubectl get nodes`.
    """
    _list_nodes(get_services().queries.nodes(at), as_json=as_json)


def _list_nodes(nodes: Mapping[str, NodePods], *, as_json: bool) -> None:
    if as_json:
        lines({"name": name, "pods": pods.by_phase, "requested": _requested(pods)} for name, pods in nodes.items())
        return
    phases = get_args(Phase)
    requested = "CPU(requested)", "MEMORY(requested)"
    table(("NODE", "PODS", *requested, *map(str.upper, phases)), starmap(_node_row, nodes.items()))


def _requested(pods: NodePods) -> dict[str, int]:
    return {"cpu_millicores": pods.cpu_millicores, "memory_bytes": pods.memory_bytes}


def _node_row(name: str, pods: NodePods) -> tuple[object, ...]:
    amounts = format_amount(pods.cpu_millicores / 1000, "cpu"), format_amount(float(pods.memory_bytes), "memory")
    count_by_phase = (pods.by_phase.get(phase, 0) for phase in get_args(Phase))
    return name, sum(pods.by_phase.values()), *amounts, *count_by_phase


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
    nodes = services.queries.nodes(at)
    if name is None and nodes.keys() - {services.settings.node_name}:
        _list_nodes(nodes, as_json=as_json)
        return
    name = name or services.settings.node_name
    if not services.node.is_known(name):
        raise NotFound(f'no pod was ever on a node "{name}"; kubectl get nodes lists the nodes without pods too')
    pods = nodes.get(name, NodePods.of([]))
    requested = {"cpu": f"{pods.cpu_millicores}m", "memory": str(pods.memory_bytes), "pods": str(pods.active)}
    document: dict[str, Any] = {
        "name": name,
        "at": rfc3339(at or services.clock()),
        "revision": services.watch.revision(),
        "capacity": services.node.known_capacity(name) or None,
        "requested": requested,
        "pods": pods.by_phase,
        "conditions": services.node.conditions(),
        "addresses": services.node.addresses(name),
    }
    if as_json:
        lines([document])
        return
    click.echo(f"{document['name']} at {document['at']}, revision {document['revision']}")
    click.echo(", ".join(f"{a['type']} {a['address']}" for a in document["addresses"]))
    click.echo(", ".join(f"{count} {phase}" for phase, count in pods.by_phase.items()) or "no pods")
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
