"""The file of a scenario: its fields, their rules and its JSON Schema."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from app.core.timestamps import parse_duration
from app.runtimes.synthetic.annotations import PodFailureReason, RunFailure, StartFailure
from broker.setting_types import LabelName, LabelValue
from broker.yaml_document import field_error, parse_document

Group = Literal["node", "pressure", "slow", "fail"]
"""Faults of one group exclude each other on a node."""
FaultAction = Literal["notReady", "partition", "vanish", "reclaim", "drain", "pressure", "slow", "fail"]
GROUPS: dict[str, Group] = {
    **dict.fromkeys(("notReady", "partition", "vanish", "reclaim", "drain"), "node"),
    "pressure": "pressure",
    "slow": "slow",
    "fail": "fail",
}
"""The group of each action that is a fault."""
NOTICE = timedelta(minutes=2)
"""Time between the notice of a spot instance and its end, as at AWS."""

_RATE = re.compile(r"(\d+(?:\.\d+)?)/(.+)")
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d+)?)%")
_DURATION_SCHEMA = {"type": "string", "pattern": r"^(\d+(\.\d+)?(ms|s|m|h))+$", "examples": ["90s", "1m30s"]}


def _to_duration(value: object) -> object:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number and not isinstance(value, str | timedelta):
        raise ValueError("not a duration such as 500ms, 10s or 1m30s")
    return value if isinstance(value, timedelta) else parse_duration(str(value))


def _to_rate(value: object) -> object:
    """Convert `4/m` or `1/90s` to the mean time between two occurrences."""
    if not isinstance(value, str):
        raise ValueError("not a rate such as 4/m, 10/h or 1/90s")
    found = _RATE.fullmatch(value.strip())
    if found is None or float(found[1]) == 0:
        raise ValueError("not a rate such as 4/m, 10/h or 1/90s")
    per = parse_duration(found[2] if found[2][0].isdigit() else f"1{found[2]}")
    interval = per / float(found[1])
    if interval < timedelta(seconds=0.1):
        raise ValueError("more than 10 a second")
    return interval


def _to_share(value: object) -> object:
    """Convert `30%` to 0.3."""
    found = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    if found is None or not 0 < float(found[1]) <= 100:
        raise ValueError("not a percentage such as 10%")
    return float(found[1]) / 100


Duration = Annotated[timedelta, BeforeValidator(_to_duration), WithJsonSchema(_DURATION_SCHEMA)]
Rate = Annotated[
    timedelta,
    BeforeValidator(_to_rate),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?/.+$", "examples": ["4/m", "1/90s"]}),
]
Share = Annotated[
    float,
    BeforeValidator(_to_share),
    WithJsonSchema({"type": "string", "pattern": r"^\d{1,3}(\.\d+)?%$", "examples": ["10%"]}),
]


class _Fields(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=False, strict=False
    )


class Step(_Fields):
    """Fields of each step: when, and for which nodes."""

    at: Duration | None = Field(default=None, description="time from the start of the scenario")
    rate: Rate | None = Field(
        default=None,
        description="mean number of occurrences in a time, such as 4/m; the times are random, by the seed",
    )
    from_: Duration = Field(default=timedelta(0), alias="from", description="start of a rate")
    until: Duration | None = Field(default=None, description="end of a rate; default: the scenario's duration")
    pool: str | None = Field(default=None, min_length=1, description="pool of the nodes; default: all pools")
    nodes: tuple[str, ...] | None = Field(default=None, min_length=1, description="names of the nodes")
    count: Annotated[int, Field(ge=1, strict=True)] | None = Field(default=None, description="number of nodes")
    share: Share | None = Field(default=None, description="share of the pool's nodes, at least one")

    @model_validator(mode="after")
    def _has_time(self) -> Self:
        if (self.at is None) == (self.rate is None):
            raise ValueError("set one of at and rate")
        if self.at is not None and ("from_" in self.model_fields_set or self.until is not None):
            raise ValueError("from and until are for a rate")
        if self.until is not None and self.until <= self.from_:
            raise ValueError("until must be later than from")
        return self

    @model_validator(mode="after")
    def _has_nodes(self) -> Self:
        given = [name for name in ("nodes", "count", "share") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"set one of {' and '.join(given)}")
        if not given and not isinstance(self, Recover):
            raise ValueError("set one of nodes, count and share")
        if self.nodes and self.pool:
            raise ValueError("nodes are named without a pool")
        return self


class Fault(Step):
    """Fields of each step that is a fault."""

    for_: Duration | None = Field(
        default=None,
        alias="for",
        description="time after which the nodes recover; default: the end of the scenario",
    )


class NotReady(Fault):
    """Set the condition Ready to False."""

    action: Literal["notReady"]
    message: str = Field(default="a scenario has set the node to not ready", min_length=1, max_length=1024)

    @field_validator("message")
    @classmethod
    def _is_not_blank(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("must not be empty")
        return value


class Partition(Fault):
    """Cut the node off from the API server: lease and statuses stop, pods go on."""

    action: Literal["partition"]


class Vanish(Fault):
    """Delete the Node object under its pods, as when a machine is removed."""

    action: Literal["vanish"]


class Taint(_Fields):
    """A taint."""

    key: LabelName = "fault.virtual-kubelet.io/reclaim"
    value: LabelValue = ""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = "NoSchedule"


class Reclaim(Fault):
    """Reclaim a spot instance: taint and event, and after the notice the node is not ready, or vanishes."""

    action: Literal["reclaim"]
    notice: Duration = Field(default=NOTICE, description="time between the taint and the end of the node")
    taint: Taint = Field(default=Taint(), description="taint from the notice on")
    drain: bool = Field(
        default=False, description="cordon and drain the node at the notice, as a termination handler"
    )
    then: Literal["notReady", "vanish"] = Field(default="notReady", description="the end of the node")


class Drain(Fault):
    """Cordon the node and evict its pods by the Eviction API."""

    action: Literal["drain"]
    grace_period: Duration | None = Field(default=None, description="grace period of the pods; default: their own")
    timeout: Duration = Field(
        default=timedelta(minutes=5), description="time for which evictions that a budget refuses are tried again"
    )


class Pressure(Fault):
    """Set a condition such as MemoryPressure to True."""

    action: Literal["pressure"]
    resource: Literal["memory", "disk", "pid"] = "memory"


class Slow(Fault):
    """Multiply the start delay of new pods."""

    action: Literal["slow"]
    factor: Annotated[float, Field(ge=0, le=1000)] = Field(default=10.0, description="factor of the start delay")


class Fail(Fault):
    """Fail a share of the new pods."""

    action: Literal["fail"]
    reason: Literal[StartFailure, RunFailure, PodFailureReason] = Field(
        default="ImagePullBackOff", description="failure of simulated pods"
    )
    pods: Share = Field(default=1.0, description="share of the new pods")


class Recover(Step):
    """End faults: annotations, taints and cordons are removed, deleted Nodes are created."""

    action: Literal["recover"]
    faults: tuple[FaultAction, ...] | None = Field(
        default=None, min_length=1, description="actions to undo; default: all"
    )

    @property
    def groups(self) -> frozenset[Group]:
        """The groups of faults to end."""
        return (
            frozenset(GROUPS.values()) if self.faults is None else frozenset(GROUPS[name] for name in self.faults)
        )


AnyFault = NotReady | Partition | Vanish | Reclaim | Drain | Pressure | Slow | Fail
AnyStep = AnyFault | Recover


class Scenario(_Fields):
    """A scenario: steps in the order of their description; their times decide when each is played."""

    name: str = Field(default="", max_length=253, description="name in the audit log; default: the file's name")
    seed: Annotated[int, Field(strict=True)] = Field(
        default=0, description="seed of random times and of the choice of nodes and pods"
    )
    pool_label: LabelName = Field(
        default="fleet.virtual-kubelet.io/pool",
        description="label of a node with the name of its pool",
    )
    duration: Duration | None = Field(
        default=None, description="end of the scenario; default: its last step. All nodes recover at the end"
    )
    steps: Annotated[list[Annotated[AnyStep, Field(discriminator="action")]], Field(min_length=1, max_length=1000)]

    @model_validator(mode="after")
    def _ends(self) -> Self:
        for number, step in enumerate(self.steps):
            if step.rate is not None and step.until is None and self.duration is None:
                raise field_error("needs until, or a duration of the scenario", "steps", number, "rate")
            field, begin = ("at", step.at) if step.at is not None else ("from", step.from_)
            if self.duration is not None and begin > self.duration:
                raise field_error("is after the duration of the scenario", "steps", number, field)
        return self


def parse_scenario(text: str, *, name: str) -> Scenario:
    """Parse the file of a scenario.

    Args:
        text: the YAML document.
        name: name of the file, for errors.

    Raises:
        ConfigurationError: the file is invalid; a line for each error has the number of its line.
    """
    scenario = parse_document(text, Scenario, name=name)
    return scenario if scenario.name else scenario.model_copy(update={"name": Path(name).stem})


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Scenario.model_json_schema(by_alias=True),
    }
