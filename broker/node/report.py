"""A node as the provider reports it; what the API server would refuse is left out."""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from broker.kubernetes.quantity import check_resource
from broker.names import LABEL_NAME, LABEL_VALUE
from broker.node_spec import NodeSpec
from broker.types import Object

_TAINT_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_ADDRESS_TYPES = ("InternalIP", "ExternalIP", "InternalDNS", "ExternalDNS", "Hostname")


class NodeReport(NamedTuple):
    """A node as reported by the provider; labels, taints and allocatable resources by the extension `nodes`."""

    capacity: Mapping[str, str] = {}
    conditions: tuple[Object, ...] = ()
    addresses: tuple[Object, ...] = ()
    labels: Mapping[str, str] = {}
    taints: tuple[Object, ...] = ()
    allocatable: Mapping[str, str] = {}


def drop_invalid(report: NodeReport) -> NodeReport:
    """Return a report without its invalid entries, for which the API server would refuse the whole status."""
    return NodeReport(
        {name: quantity for name, quantity in report.capacity.items() if _is_resource(name, quantity)},
        tuple(condition for condition in report.conditions if isinstance(condition.get("type"), str)),
        tuple(address for address in report.addresses if _is_address(address)),
        {name: value for name, value in report.labels.items() if _is_label(name, value)},
        # A node has one taint of each key and effect.
        tuple({(t["key"], t["effect"]): t for t in report.taints if _is_taint(t)}.values()),
        {name: quantity for name, quantity in report.allocatable.items() if _is_resource(name, quantity)},
    )


def node_addresses(reported: Iterable[Object], own_ip: str, *, prefer_own: bool) -> list[Object]:
    """Return the addresses to publish. The API server uses the first of each type.

    Args:
        reported: the provider's addresses.
        own_ip: IP address at which the API server reaches the kubelet API.
        prefer_own: whether `own_ip` replaces the provider's InternalIPs, or is used only where there is none.
    """
    internal = [address for address in reported if address["type"] == "InternalIP"]
    others = [address for address in reported if address["type"] != "InternalIP"]
    if prefer_own or not internal:
        internal = [{"type": "InternalIP", "address": own_ip}]
    return [*internal, *others]


def completed(spec: NodeSpec, report: NodeReport) -> NodeSpec:
    """Return a spec with the labels and taints of a report; those of the spec take precedence by their key.

    An adopted Node keeps those that another client has made.
    """
    if spec.is_adopted or not (report.labels or report.taints):
        return spec
    own = {taint["key"] for taint in spec.taints} | spec.absent_taints
    taints = (taint for taint in report.taints if taint["key"] not in own)
    return replace(spec, labels={**report.labels, **spec.labels}, taints=(*spec.taints, *taints))


def _is_resource(name: str, text: str) -> bool:
    try:
        check_resource(name, text)
    except ValueError:
        return False
    return True


def _is_label(name: object, value: object) -> bool:
    return (
        isinstance(name, str)
        and isinstance(value, str)
        and bool(LABEL_NAME.fullmatch(name) and LABEL_VALUE.fullmatch(value))
    )


def _is_taint(taint: Object) -> bool:
    return _is_label(taint.get("key"), taint.get("value") or "") and taint.get("effect") in _TAINT_EFFECTS


def _is_address(address: Object) -> bool:
    type_, value = address.get("type"), address.get("address")
    if type_ not in _ADDRESS_TYPES or not isinstance(value, str) or not value:
        return False
    if not type_.endswith("IP"):
        return True
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True
