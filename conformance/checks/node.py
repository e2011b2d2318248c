"""The node: `/`, `/capacity`, `/nodeConditions`, `/nodeAddresses`."""

import re

from conformance.check import at, code, document, expect, recommended, required
from conformance.provider import Provider, let_a_second_pass
from conformance.times import is_rfc3339, times_in

PATHS = ("/capacity", "/nodeConditions", "/nodeAddresses")

_QUANTITY = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?")
_ADDRESS_TYPES = ("InternalIP", "InternalDNS", "ExternalIP", "ExternalDNS", "Hostname")


@required
def capacity_is_a_map_of_quantities(provider: Provider) -> None:
    """`GET /capacity` answers 200 and a JSON map, resource name → quantity.

    The original broker panics on anything else: the node is gone.
    """
    for resource, quantity in document(provider.get("/capacity"), dict).items():
        is_number = isinstance(quantity, int | float) and not isinstance(quantity, bool)
        expect(
            is_number or (isinstance(quantity, str) and _QUANTITY.fullmatch(quantity)),
            f"the quantity of {resource} is not one of Kubernetes",
        )


@required
def capacity_has_cpu_memory_and_pods(provider: Provider) -> None:
    """`/capacity` has `cpu`, `memory` and `pods`.

    The scheduler takes what is missing for none: it never places a pod on the node.
    """
    missing = {"cpu", "memory", "pods"} - set(document(provider.get("/capacity"), dict))
    expect(not missing, f"{', '.join(sorted(missing))} missing")


@required
def conditions_say_that_the_node_is_ready(provider: Provider) -> None:
    """`GET /nodeConditions` answers 200 and an array of NodeConditions; `Ready` is `True`.

    The original broker panics on what is no such array. A node without the condition is NotReady: its pods are
    evicted, and none is placed on it. Kubernetes knows `True`, `False` and `Unknown`, in this spelling.
    """
    said = {}
    for condition in document(provider.get("/nodeConditions"), list):
        said[at(condition, "type", str)] = at(condition, "status", str)
    wrong = [type_ for type_, status in said.items() if status not in ("True", "False", "Unknown")]
    expect(not wrong, f"the status of {', '.join(wrong)} is none of True, False, Unknown")
    expect(said.get("Ready") == "True", f"Ready is {said.get('Ready', 'missing')}")


@required
def times_of_conditions_have_a_zone(provider: Provider) -> None:
    """Every time in `/nodeConditions` is RFC 3339 with a zone: `2026-11-22T08:46:38Z`.

    The original broker panics on a time without a zone: the node is gone.
    """
    for field, time in times_in(document(provider.get("/nodeConditions"), list)):
        expect(is_rfc3339(time), f"{field} is {time!r}")


@recommended
def transitions_of_conditions_stand_still(provider: Provider) -> None:
    """`lastTransitionTime` moves only when the condition changes.

    It is what people and controllers read to tell how long a node has been ready: one that moves says that the
    node has just come back, all the time.
    """

    def transitions() -> dict[str, object]:
        found = document(provider.get("/nodeConditions"), list)
        return {at(condition, "type", str): condition.get("lastTransitionTime") for condition in found}

    before = transitions()
    let_a_second_pass()
    moved = [type_ for type_, time in transitions().items() if time != before.get(type_, time)]
    expect(not moved, f"of {', '.join(moved)} it has moved within a second")


@required
def addresses_are_an_array_of_type_and_address(provider: Provider) -> None:
    """`GET /nodeAddresses` answers 200 and a JSON array of `{type, address}`.

    The original broker panics on anything else; the API server refuses a type that it does not know.
    """
    for address in document(provider.get("/nodeAddresses"), list):
        at(address, "address", str)
        type_ = at(address, "type", str)
        expect(type_ in _ADDRESS_TYPES, f"the type {type_!r} is none of {', '.join(_ADDRESS_TYPES)}")


@recommended
def one_address_is_internal(provider: Provider) -> None:
    """One of the addresses is an `InternalIP`.

    The API server reaches the node by it: without an address, `kubectl logs` finds nobody.
    """
    types = [at(address, "type", str) for address in document(provider.get("/nodeAddresses"), list)]
    expect("InternalIP" in types, "there is none")


@recommended
def root_answers_200(provider: Provider) -> None:
    """`GET /` answers 200.

    The charts of the first providers probe it: with any other answer the container is restarted for ever.
    """
    code(provider.request("GET", "/", Authorization=""), 200)
