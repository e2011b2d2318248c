"""Addresses of nodes, and differences between the nodes of a fleet."""

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, model_validator

from app.core.quantity import parse_quantity


def parse_ip(value: str) -> str:
    """Return an IP address in its shortest form.

    Raises:
        ValueError: it is none.
    """
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise ValueError("not an IP address") from None


def check_capacity(value: Mapping[str, str]) -> Mapping[str, str]:
    """Return a map of resource → quantity.

    Raises:
        ValueError: a quantity is none, or is negative.
    """
    for resource, quantity in value.items():
        try:
            amount = parse_quantity(quantity)
        except ValueError as exc:
            raise ValueError(f"{resource}: {exc}") from None
        if amount < 0:
            raise ValueError(f"{resource}: must not be negative")
    return value


def check_allocatable(allocatable: Mapping[str, str] | None, capacity: Mapping[str, str] | None) -> None:
    """Check that no more of a resource is allocatable than the capacity has; None: unknown.

    Raises:
        ValueError: more is.
    """
    limits = capacity or {}
    for resource, quantity in (allocatable or {}).items():
        if resource in limits and parse_quantity(quantity) > parse_quantity(limits[resource]):
            raise ValueError(f"allocatable.{resource}: is more than the capacity, {limits[resource]}")


Capacity = Annotated[Mapping[str, str], AfterValidator(check_capacity)]
"""Resource → quantity, such as `{"cpu": "8", "memory": "32Gi"}`."""


class NodeAddress(BaseModel, frozen=True, extra="forbid"):
    """A `v1.NodeAddress` of Kubernetes."""

    type: Literal["InternalIP", "InternalDNS", "ExternalIP", "ExternalDNS", "Hostname"]
    address: str = Field(min_length=1)

    @model_validator(mode="after")
    def _is_ip(self) -> Self:
        if self.type.endswith("IP"):
            parse_ip(self.address)
        return self


def internal_ips(addresses: Sequence[NodeAddress]) -> tuple[str, ...]:
    """Return the addresses of the type InternalIP, in their order."""
    return tuple(address.address for address in addresses if address.type == "InternalIP")


class Taint(BaseModel, frozen=True, extra="forbid"):
    """A `v1.Taint` of Kubernetes."""

    key: str = Field(min_length=1)
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]


class NodeOverride(BaseModel, frozen=True, extra="forbid"):
    """The differences of a node of a fleet from the other nodes; None where there is none."""

    capacity: Capacity | None = None
    allocatable: Capacity | None = None
    labels: Mapping[str, str] | None = None
    taints: tuple[Taint, ...] | None = None
    addresses: tuple[NodeAddress, ...] | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        check_allocatable(self.allocatable, self.capacity)
        return self
