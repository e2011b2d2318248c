"""The Node object, computed: from the settings, from what the provider says, from what was said before.

What a field means: https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/node-v1/
"""

import ipaddress
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from broker import __version__
from broker.kubernetes.objects import Object, to_time
from broker.kubernetes.quantity import parse_quantity
from broker.settings import Settings

ROLE_LABEL = "kubernetes.io/role"
_NEEDED = ("cpu", "memory", "pods")
"""Resources without which a kubelet is not ready."""
_ADDRESS_TYPES = ("InternalIP", "ExternalIP", "InternalDNS", "ExternalDNS", "Hostname")


class Report(NamedTuple):
    """What a provider says of its node."""

    capacity: Mapping[str, str] = {}
    conditions: tuple[Object, ...] = ()
    addresses: tuple[Object, ...] = ()


class Problem(NamedTuple):
    """Why a node is not ready: a reason in CamelCase, a message for people."""

    reason: str
    message: str


def own_labels(settings: Settings) -> dict[str, str]:
    """Give the labels that this program sets; those of the settings go before its own."""
    return {
        "type": "virtual-kubelet",
        ROLE_LABEL: "agent",
        "kubernetes.io/hostname": settings.node_name,
        "kubernetes.io/os": settings.operating_system,
        "kubernetes.io/arch": settings.architecture,
        "node.kubernetes.io/exclude-from-external-load-balancers": "true",
        **settings.labels,
    }


def with_own_taint(taints: Iterable[Object], settings: Settings) -> list[Object]:
    """Give a node's taints with the one of the settings, or without it; those of other parties stay."""
    others = [taint for taint in taints if taint["key"] != settings.taint_key]
    return [*others, settings.taint] if settings.taint else others


def new_node(settings: Settings, labels: Mapping[str, str], status: Object) -> Object:
    """Make the Node to register."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": settings.node_name, "labels": dict(labels)},
        "spec": {"taints": with_own_taint([], settings)},
        "status": status,
    }


def cleaned(report: Report) -> Report:
    """Leave out of a report what an API server would refuse, and the rest with it."""
    return Report(
        {name: quantity for name, quantity in report.capacity.items() if _is_quantity(quantity)},
        tuple(condition for condition in report.conditions if isinstance(condition.get("type"), str)),
        tuple(address for address in report.addresses if _is_address(address)),
    )


def node_addresses(reported: Iterable[Object], own_ip: str, *, prefer_own: bool) -> list[Object]:
    """Give the addresses to publish: the API server uses the first of a type.

    Args:
        reported: those of the provider.
        own_ip: an address at which the API server reaches this program.
        prefer_own: whether it stands for the provider's InternalIPs, or only where there is none.
    """
    internal = [address for address in reported if address["type"] == "InternalIP"]
    others = [address for address in reported if address["type"] != "InternalIP"]
    if prefer_own or not internal:
        internal = [{"type": "InternalIP", "address": own_ip}]
    return [*internal, *others]


def node_status(
    settings: Settings,
    report: Report,
    *,
    addresses: list[Object],
    problem: Problem | None,
    before: Iterable[Object],
    port: int,
    now: datetime,
) -> Object:
    """Compute the status of the node.

    Args:
        settings: what the node is.
        report: what the provider last said.
        addresses: those to publish.
        problem: why the node is not ready, whatever the report says.
        before: the conditions as they were.
        port: where the kubelet API listens.
        now: the time of this heartbeat.
    """
    return {
        "capacity": dict(report.capacity),
        "allocatable": dict(report.capacity),
        "conditions": _conditions(report, problem, before={c["type"]: c for c in before}, now=now),
        "addresses": addresses,
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        "nodeInfo": {
            "operatingSystem": settings.operating_system,
            "architecture": settings.architecture,
            "kubeletVersion": settings.kubelet_version,
            "osImage": "Virtual Kubelet: Web",
            "containerRuntimeVersion": f"web://{__version__}",
            "bootID": "",
            "kernelVersion": "",
            "kubeProxyVersion": "",
            "machineID": "",
            "systemUUID": "",
        },
    }


def status_patch(status: Object, before: Object) -> Object:
    """Make the strategic merge patch that turns the status from what it was into what it is."""
    return {
        "status": {
            **status,
            **{name: _replacing(status[name], before.get(name)) for name in ("capacity", "allocatable")},
            # Merged by type, two addresses of one type would become one.
            "addresses": [*status["addresses"], {"$patch": "replace"}],
        }
    }


def without_heartbeats(status: Object) -> Object:
    """Give a status without what changes though nothing happens."""
    conditions = [{**condition, "lastHeartbeatTime": None} for condition in status["conditions"]]
    return {**status, "conditions": conditions}


def _conditions(
    report: Report, problem: Problem | None, *, before: Mapping[str, Object], now: datetime
) -> list[Object]:
    told: dict[str, tuple[str, str, str]] = {
        "Ready": ("True", "ProviderReady", "the provider answers"),
        "NetworkUnavailable": ("False", "ProviderNetwork", "the network of pods is the provider's"),
    }
    for condition in report.conditions:
        status = str(condition.get("status")).capitalize()
        status = status if status in ("True", "False") else "Unknown"
        told[condition["type"]] = status, str(condition.get("reason", "")), str(condition.get("message", ""))
    missing = [name for name in _NEEDED if name not in report.capacity]
    if problem is None and missing:
        problem = Problem("ProviderCapacityIncomplete", f"the provider's /capacity has no {', '.join(missing)}")
    if problem is not None:
        told["Ready"] = ("False", *problem)
    return [
        {
            "type": type_,
            "status": status,
            "reason": reason,
            "message": message,
            "lastHeartbeatTime": to_time(now),
            "lastTransitionTime": _since(before.get(type_), status) or to_time(now),
        }
        for type_, (status, reason, message) in told.items()
    ]


def _since(before: Object | None, status: str) -> Any:
    return before.get("lastTransitionTime") if before and before.get("status") == status else None


def _replacing(new: Mapping[str, str], old: Mapping[str, str] | None) -> dict[str, str | None]:
    return {**{name: None for name in (old or {}) if name not in new}, **new}


def _is_quantity(text: str) -> bool:
    try:
        return parse_quantity(text) >= 0
    except ValueError:
        return False


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
