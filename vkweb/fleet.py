"""`vkweb fleet`: check fleet files, and print the nodes that the broker would make."""

import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import click

from app.cli.options import as_json
from app.cli.output import lines, table
from broker.errors import ConfigurationError
from broker.fleet.pools import fleet_of
from broker.fleet.schema import FleetFile, parse_fleet_file
from broker.node_spec import NodeSpec
from broker.settings import Settings
from vkweb.files import PATH, Document, check_each

_URL = "http://127.0.0.1:3000"
"""URL of a provider, which a check needs not; the broker requires one."""


@click.group()
def fleet() -> None:
    """Check fleet files."""


@fleet.command()
@click.argument("files", nargs=-1, required=True, type=PATH)
@as_json
def check(files: tuple[Path, ...], *, as_json: bool) -> None:
    """Check fleet files; print the nodes that they describe.

    `-` is standard input. Environment variables are those of the broker: NODE_NAME, NODE_LABELS and others.
    Each error has its line and field. Exit status: 0 if all files are valid, 1 otherwise.
    """

    def check_one(document: Document) -> None:
        file = parse_fleet_file(document.text, name=document.name)
        specs = fleet_of(_settings(), file).specs
        if as_json:
            lines(map(_described, specs))
            return
        click.echo(f"{document.name}: valid; number of nodes: {len(specs)}")
        if file.adopt:
            click.echo(f"adopts Nodes with {_pairs(file.adopt)}")
        if file.pools:
            table(("POOL", "COUNT", "NODES", "CAPACITY", "ALLOCATABLE", "ZONES", "TAINTS"), _rows(file, specs))

    check_each(files, check_one)


def _settings() -> Settings:
    """Return the settings of the environment for a fleet.

    Raises:
        ConfigurationError: one is invalid.
    """
    try:
        return Settings.load(["--fleet", "fleet.yaml"], {"WEB_ENDPOINT_URL": _URL, **os.environ})
    except ConfigurationError as exc:
        raise ConfigurationError(f"environment: {exc}") from None


def _rows(file: FleetFile, specs: Iterable[NodeSpec]) -> Iterator[tuple[object, ...]]:
    """Yield a row for each pool."""
    nodes = {pool: list(found) for pool, found in groupby(specs, attrgetter("pool"))}
    for pool in file.pools:
        names = [spec.name for spec in nodes.get(pool.name, ())]
        taints = nodes[pool.name][0].taints if names else ()
        yield (
            pool.name,
            pool.count,
            " … ".join(dict.fromkeys([names[0], names[-1]])) if names else None,
            _pairs(pool.capacity) or None,
            _pairs(pool.allocatable) or None,
            " ".join(pool.zones) or None,
            " ".join(f"{taint['key']}:{taint['effect']}" for taint in taints) or None,
        )


def _pairs(values: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in values.items())


def _described(spec: NodeSpec) -> dict[str, object]:
    """Return a node as JSON; delays are seconds, and null is the provider's."""
    return {
        "name": spec.name,
        "pool": spec.pool,
        "labels": spec.labels,
        "annotations": spec.annotations,
        "taints": spec.taints,
        "capacity": spec.capacity,
        "allocatable": spec.allocatable,
        "registerDelay": spec.register_delay,
        "startDelay": spec.start_delay,
        "drain": spec.drain,
    }
