"""The fleet file: pools of nodes, and the marks of Nodes to adopt."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from broker.kubernetes.quantity import check_quantity, check_resource, parse_quantity
from broker.names import FLEET_NAME, FLEET_NAME_RULE
from broker.node_spec import FLEET_LABEL
from broker.setting_types import LabelName, LabelValue, Seconds
from broker.yaml_document import field_error, parse_document

MOST_NODES = 10_000
POOL_LABEL = "fleet.virtual-kubelet.io/pool"
DRAIN_LABEL = "fleet.virtual-kubelet.io/drain"
"""`true` on a node that is drained before it is removed."""
_OWN_LABELS = ("kubernetes.io/hostname", FLEET_LABEL, POOL_LABEL, DRAIN_LABEL)


def _is_name(value: str) -> str:
    if not FLEET_NAME.fullmatch(value):
        raise ValueError(FLEET_NAME_RULE)
    return value


def _to_text(value: object) -> object:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _is_quantity(value: str) -> str:
    check_quantity(value)
    return value


def _are_integers(value: Mapping[str, str]) -> Mapping[str, str]:
    for name, quantity in value.items():
        try:
            check_resource(name, quantity)
        except ValueError as exc:
            raise field_error(str(exc), name) from None
    return value


Quantity = Annotated[str, BeforeValidator(_to_text), AfterValidator(_is_quantity)]
Quantities = Annotated[dict[LabelName, Quantity], AfterValidator(_are_integers)]
Duration = Annotated[Seconds, Field(ge=0, le=86400)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel)


class Taint(_Model):
    """A taint of the nodes of a pool."""

    key: LabelName
    value: LabelValue = ""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]


class Pool(_Model):
    """Nodes of one kind: NAME-0, NAME-1 and so on."""

    name: Annotated[str, AfterValidator(_is_name)] = Field(
        description="name of the pool; nodes are NAME-0, NAME-1 …"
    )
    count: int = Field(strict=True, ge=0, le=MOST_NODES, description="number of nodes")
    capacity: Quantities = Field(default={}, description="resource name → quantity, in place of the provider's")
    allocatable: Quantities = Field(
        default={}, description="resource name → quantity; what is left out equals the capacity"
    )
    zones: list[LabelValue] = Field(
        default=[], description="zones of the nodes, in turn: label topology.kubernetes.io/zone"
    )
    region: LabelValue | None = Field(
        default=None,
        description="label topology.kubernetes.io/region; by default each zone without its last letter",
    )
    labels: dict[LabelName, LabelValue] = Field(default={}, description="further labels of the nodes")
    annotations: dict[LabelName, str] = Field(
        default={}, description="annotations of the nodes, set when a Node is created"
    )
    taints: list[Taint] = Field(default=[], description="taints of the nodes, besides that of the settings")
    register_delay: Duration = Field(default=0.0, description="time before a Node is created")
    register_jitter: Duration = Field(
        default=0.0, description="greatest time that is added to registerDelay; the seed decides for each node"
    )
    start_delay: Duration | None = Field(
        default=None, description="time before the containers of a pod start, at the synthetic runtime"
    )
    drain: bool = Field(default=False, strict=True, description="evict the pods of a node before it is removed")

    @field_validator("labels")
    @classmethod
    def _are_not_own(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        if own := [name for name in _OWN_LABELS if name in value]:
            raise field_error("is set by the broker", own[0])
        return value

    @field_validator("taints")
    @classmethod
    def _are_unique(cls, taints: Sequence[Taint]) -> Sequence[Taint]:
        keys = [(taint.key, taint.effect) for taint in taints]
        if (number := _repeated(keys)) is not None:
            raise field_error("an earlier taint has the same key and effect", number)
        return taints

    @model_validator(mode="after")
    def _fits(self) -> "Pool":
        for name, quantity in self.allocatable.items():
            capacity = self.capacity.get(name)
            if capacity is not None and parse_quantity(quantity) > parse_quantity(capacity):
                raise field_error(f"is more than the capacity, {capacity}", "allocatable", name)
        return self


class FleetFile(_Model):
    """A fleet."""

    pools: list[Pool] = Field(default=[], description="the pools")
    adopt: dict[LabelName, str] = Field(
        default={},
        description="labels or annotations of Nodes by other clients that are taken on; all of them have to match",
    )
    seed: int = Field(default=0, description="decides each registerJitter; the same seed, the same times")

    @model_validator(mode="before")
    @classmethod
    def _is_mapping(cls, value: Any) -> Any:
        return {} if value is None else value

    @model_validator(mode="after")
    def _has_nodes(self) -> "FleetFile":
        if not {"pools", "adopt"} & self.model_fields_set:
            raise ValueError("pools or adopt must be set; without nodes, pools: []")
        return self

    @field_validator("pools")
    @classmethod
    def _fit_together(cls, pools: list[Pool]) -> list[Pool]:
        names = [pool.name for pool in pools]
        if (number := _repeated(names)) is not None:
            raise field_error(f"several pools have the name {names[number]}", number, "name")
        nodes = 0
        for number, pool in enumerate(pools):
            nodes += pool.count
            if nodes > MOST_NODES:
                raise field_error(f"{nodes} nodes with the pools before; at most {MOST_NODES}", number, "count")
        return pools


def parse_fleet_file(text: str, *, name: str) -> FleetFile:
    """Parse a fleet file.

    Args:
        text: its content.
        name: its name, for errors.

    Raises:
        ConfigurationError: it is invalid; a line for each error has the number of its line.
    """
    return parse_document(text, FleetFile, name=name)


def _repeated(values: Sequence[object]) -> int | None:
    """Return the index of the first value that is equal to an earlier one; None where all differ."""
    return next((index for index, value in enumerate(values) if value in values[:index]), None)
