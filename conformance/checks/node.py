"""Node endpoints: `/`, `/capacity`, `/nodeConditions`, `/nodeAddresses`."""

import re

from conformance.check import at, code, document, expect, extension, recommended, required
from conformance.checks.extensions import require
from conformance.client import ProviderClient, wait_a_second
from conformance.times import is_rfc3339, times_in

PATHS = ("/capacity", "/nodeConditions", "/nodeAddresses")

_QUANTITY = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?")
_TAINT_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_ADDRESS_TYPES = ("InternalIP", "InternalDNS", "ExternalIP", "ExternalDNS", "Hostname")


@required
def capacity_is_a_map_of_quantities(provider: ProviderClient) -> None:
    """`GET /capacity` returns 200 and a JSON object: resource name → quantity.

    The original broker panics on any other body, and the node goes offline.
    """
    _expect_quantities(document(provider.get("/capacity"), dict))


def _expect_quantities(resources: dict[str, object]) -> None:
    for resource, quantity in resources.items():
        is_number = isinstance(quantity, int | float) and not isinstance(quantity, bool)
        expect(
            is_number or (isinstance(quantity, str) and _QUANTITY.fullmatch(quantity)),
            f"the value of {resource} is not a Kubernetes quantity",
        )


@required
def capacity_has_cpu_memory_and_pods(provider: ProviderClient) -> None:
    """`/capacity` contains `cpu`, `memory` and `pods`.

    The scheduler counts a missing resource as zero and never places a pod on the node.
    """
    missing = {"cpu", "memory", "pods"} - set(document(provider.get("/capacity"), dict))
    expect(not missing, f"missing: {', '.join(sorted(missing))}")


@required
def ready_condition_is_true(provider: ProviderClient) -> None:
    """`GET /nodeConditions` returns 200 and an array of NodeConditions; the status of `Ready` is `True`.

    The original broker panics on a body of another type. A node without the condition `Ready` is NotReady: its
    pods are evicted, and no pod is scheduled on it. Kubernetes accepts `True`, `False` and `Unknown`, in this
    spelling.
    """
    statuses = {}
    for condition in document(provider.get("/nodeConditions"), list):
        statuses[at(condition, "type", str)] = at(condition, "status", str)
    wrong = [type_ for type_, status in statuses.items() if status not in ("True", "False", "Unknown")]
    expect(not wrong, f"the status of {', '.join(wrong)} is not True, False or Unknown")
    expect(statuses.get("Ready") == "True", f"Ready is {statuses.get('Ready', 'missing')}")


@required
def condition_timestamps_have_a_time_zone(provider: ProviderClient) -> None:
    """Every timestamp in `/nodeConditions` is in RFC 3339 format with a time zone: `2026-11-22T08:46:38Z`.

    The original broker panics on a timestamp without a time zone, and the node goes offline.
    """
    for field, time in times_in(document(provider.get("/nodeConditions"), list)):
        expect(is_rfc3339(time), f"{field} is {time!r}")


@recommended
def last_transition_time_is_stable(provider: ProviderClient) -> None:
    """`lastTransitionTime` changes only when the condition changes.

    People and controllers read it to find out how long a node has been ready. If it changes on every request, the
    node always seems to have just become ready.
    """

    def transitions() -> dict[str, object]:
        found = document(provider.get("/nodeConditions"), list)
        return {at(condition, "type", str): condition.get("lastTransitionTime") for condition in found}

    before = transitions()
    wait_a_second()
    moved = [type_ for type_, time in transitions().items() if time != before.get(type_, time)]
    expect(not moved, f"lastTransitionTime of {', '.join(moved)} changed within a second")


@required
def addresses_are_a_list_of_node_addresses(provider: ProviderClient) -> None:
    """`GET /nodeAddresses` returns 200 and a JSON array of `{type, address}`.

    The original broker panics on any other body; the API server rejects an unknown type.
    """
    for address in document(provider.get("/nodeAddresses"), list):
        at(address, "address", str)
        type_ = at(address, "type", str)
        expect(type_ in _ADDRESS_TYPES, f"the type {type_!r} is not one of {', '.join(_ADDRESS_TYPES)}")


@recommended
def addresses_include_an_internal_ip(provider: ProviderClient) -> None:
    """One of the addresses has the type `InternalIP`.

    The API server connects to the node at this address: without one, `kubectl logs` fails.
    """
    types = [at(address, "type", str) for address in document(provider.get("/nodeAddresses"), list)]
    expect("InternalIP" in types, "no address has the type InternalIP")


@recommended
def root_path_returns_200(provider: ProviderClient) -> None:
    """`GET /` returns 200.

    The Helm charts of the first providers use it as a probe: on any other status the container is restarted in a
    loop.
    """
    code(provider.request("GET", "/", Authorization=""), 200)


@extension
def each_node_is_described_by_name(provider: ProviderClient) -> None:
    """`/node`, `/capacity`, `/nodeConditions` and `/nodeAddresses` take `?node=NAME`, of any name.

    The broker asks for each node of a fleet. `/node` has `labels`, `taints` and `allocatable`, or leaves out what
    the broker decides; the others return what they return without the parameter, or what differs.
    """
    require(provider, "nodes")
    node = {"node": "conformance-0"}
    described = document(provider.get("/node", **node), dict)
    labels = described.get("labels", {})
    expect(all(isinstance(value, str) for value in labels.values()), "a label is not a string")
    for taint in described.get("taints", []):
        at(taint, "key", str)
        effect = at(taint, "effect", str)
        expect(effect in _TAINT_EFFECTS, f"the effect {effect!r} is not one of {', '.join(_TAINT_EFFECTS)}")
    _expect_quantities(described.get("allocatable", {}))
    _expect_quantities(document(provider.get("/capacity", **node), dict))
    for path in ("/nodeConditions", "/nodeAddresses"):
        for entry in document(provider.get(path, **node), list):
            at(entry, "type", str)
