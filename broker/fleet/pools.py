"""The nodes that the settings and the pools of a fleet describe."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from broker.fleet.schema import DRAIN_LABEL, POOL_LABEL, FleetFile, Pool
from broker.node_spec import FLEET_LABEL, METRICS_PATH, NodeSpec
from broker.settings import Settings
from broker.types import Object

_ZONE, _REGION = "topology.kubernetes.io/zone", "topology.kubernetes.io/region"


@dataclass(frozen=True)
class Fleet:
    """The nodes to run.

    Attributes:
        specs: the nodes.
        adopt: labels or annotations of Nodes to adopt; none for no Nodes.
        drains: pool → whether nodes that leave it are drained before they are removed.
    """

    specs: tuple[NodeSpec, ...] = ()
    adopt: Mapping[str, str] = field(default_factory=dict)
    drains: Mapping[str, bool] = field(default_factory=dict)


def fleet_of_settings(settings: Settings) -> Fleet:
    """Return the only node, or the nodes NODE_NAME-0, NODE_NAME-1 and so on."""
    if settings.nodes is None:
        return Fleet((NodeSpec.of_settings(settings),))
    return fleet_of(settings, FleetFile(pools=[Pool(name=settings.node_name, count=settings.nodes)]))


def fleet_of(settings: Settings, file: FleetFile) -> Fleet:
    """Return the nodes of a fleet file."""
    specs = tuple(spec for pool in file.pools for spec in _nodes(settings, file, pool))
    return Fleet(specs, file.adopt, {pool.name: pool.drain for pool in file.pools})


def member_of_fleet(settings: Settings, name: str) -> NodeSpec:
    """Return a node that belongs to the fleet, of whichever pool."""
    spec = NodeSpec.of_settings(settings, name)
    return replace(
        spec,
        labels={**spec.labels, FLEET_LABEL: settings.node_name},
        annotations=_metrics_path(name),
    )


def adopted(settings: Settings, name: str) -> NodeSpec:
    """Return a node that another client has made: of its own, only the path of the metrics is changed."""
    return replace(
        NodeSpec.of_settings(settings, name),
        labels={},
        annotations=_metrics_path(name),
        taints=(),
        absent_taints=frozenset(),
        is_adopted=True,
    )


def _metrics_path(name: str) -> dict[str, str]:
    return {METRICS_PATH: f"/nodes/{name}/metrics/resource"}


def _nodes(settings: Settings, file: FleetFile, pool: Pool) -> Iterator[NodeSpec]:
    random = Random(f"{file.seed}/{pool.name}")  # noqa: S311 - jitter is no secret
    for number in range(pool.count):
        spec = member_of_fleet(settings, f"{pool.name}-{number}")
        zone = pool.zones[number % len(pool.zones)] if pool.zones else None
        taints = [taint.model_dump(exclude_defaults=True) for taint in pool.taints]
        yield replace(
            spec,
            pool=pool.name,
            labels={
                **spec.labels,
                POOL_LABEL: pool.name,
                **({DRAIN_LABEL: "true"} if pool.drain else {}),
                **_topology(zone, pool.region),
                **pool.labels,
            },
            annotations={**spec.annotations, **pool.annotations},
            taints=(*_without(spec.taints, taints), *taints),
            capacity=pool.capacity,
            allocatable=pool.allocatable,
            register_delay=pool.register_delay + pool.register_jitter * random.random(),
            start_delay=pool.start_delay,
            drain=pool.drain,
        )


def _without(taints: Iterable[Object], others: Sequence[Object]) -> Iterator[Object]:
    """Yield the taints that have not the key and effect of others: those of a node are unique in both."""
    keys = {(other["key"], other["effect"]) for other in others}
    return (taint for taint in taints if (taint["key"], taint["effect"]) not in keys)


def _topology(zone: str | None, region: str | None) -> dict[str, str]:
    """Return the labels of zone and region. Without a region, it is the zone without its last letter.

    >>> _topology("eu-1a", None)
    {'topology.kubernetes.io/zone': 'eu-1a', 'topology.kubernetes.io/region': 'eu-1'}
    """
    if zone and region is None:
        region = re.sub(r"-?[a-z]$", "", zone)
    return {**({_ZONE: zone} if zone else {}), **({_REGION: region} if region else {})}
