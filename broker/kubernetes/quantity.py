"""Kubernetes quantities: `100m`, `1.5`, `2Gi`, `1e3`.

Source: `k8s.io/apimachinery/pkg/api/resource`, the serialization format in the comment of `Quantity`.
"""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import lru_cache
from math import ceil
from typing import Any

Amounts = Mapping[str, Decimal]
"""Resource name → amount, in the resource's unit: cores, bytes, pods."""

_SUFFIXES = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGTPE", 1)},
    **{f"{suffix}i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", 1)},
}
_LARGEST = 2**63 - 1
_QUANTITY = re.compile(
    r"(?P<number>[+-]?(?:\d+\.?\d*|\.\d+))(?:(?P<exponent>[eE][+-]?\d{1,3})|(?P<suffix>[numkMGTPE]|[KMGTPE]i)?)",
    re.ASCII,
)


@lru_cache(maxsize=4096)  # the pods of a node have few different quantities
def parse_quantity(text: str) -> Decimal:
    """Parse a quantity.

    >>> parse_quantity("100m")
    Decimal('0.100')

    Raises:
        ValueError: not a quantity.
    """
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:64]!r} is not a quantity such as 500m, 2 or 1Gi")
    if match["exponent"]:
        return Decimal(match["number"] + match["exponent"])
    return Decimal(match["number"]) * _SUFFIXES[match["suffix"] or ""]


def check_quantity(text: str) -> None:
    """Check a quantity of a Node.

    Raises:
        ValueError: it is none, is negative, or has no place in the 64 bits of the API server.
    """
    amount = parse_quantity(text)
    if amount < 0:
        raise ValueError("must not be negative")
    if amount > _LARGEST:
        raise ValueError("is too large")


def is_extended(resource: str) -> bool:
    """Return whether a resource is none of Kubernetes, such as `example.com/gpu`."""
    return "/" in resource and "kubernetes.io/" not in resource


def check_resource(name: str, text: str) -> None:
    """Check the quantity of a resource of a Node: of pods and extended resources, there are integers.

    Raises:
        ValueError: it is invalid; the API server would refuse the Node, which it checks in thousandths.
    """
    check_quantity(text)
    amount = parse_quantity(text)
    if (name == "pods" or is_extended(name)) and (amount % 1 or amount * 1000 > _LARGEST):
        raise ValueError(f"must be an integer, at most {_LARGEST // 1000}")


def format_quantity(amount: int, *, binary: bool) -> str:
    """Return a whole amount with the largest suffix that is exact: powers of 1024 or of 1000.

    >>> format_quantity(52_428_800, binary=True), format_quantity(2000, binary=False)
    ('50Mi', '2k')
    """
    base, suffixes = (1024, ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")) if binary else (1000, ("", *"kMGTPE"))
    power = 0
    while amount and amount % base == 0 and power < len(suffixes) - 1:
        amount, power = amount // base, power + 1
    return f"{amount}{suffixes[power]}"


def amounts(resources: Mapping[str, Any] | None) -> dict[str, Decimal]:
    """Parse a `ResourceList`."""
    return {name: parse_quantity(str(quantity)) for name, quantity in (resources or {}).items()}


def total(lists: Iterable[Amounts]) -> dict[str, Decimal]:
    """Return the sum of lists."""
    result: dict[str, Decimal] = {}
    for resources in lists:
        for name, amount in resources.items():
            result[name] = result.get(name, Decimal(0)) + amount
    return result


def less(one: Amounts, other: Amounts) -> dict[str, Decimal]:
    """Return one list less another."""
    return {name: amount - other.get(name, 0) for name, amount in one.items()}


def largest(one: Amounts, other: Amounts) -> dict[str, Decimal]:
    """Return the larger amount of each resource."""
    return {name: max(one.get(name, Decimal(0)), other.get(name, Decimal(0))) for name in (*one, *other)}


def limited(quantities: Mapping[str, str], limits: Mapping[str, str]) -> dict[str, str]:
    """Return quantities, with the limit in place of each that is more.

    >>> limited({"cpu": "2", "memory": "8Gi"}, {"cpu": "1500m"})
    {'cpu': '1500m', 'memory': '8Gi'}
    """
    return {
        name: limits[name] if name in limits and parse_quantity(text) > parse_quantity(limits[name]) else text
        for name, text in quantities.items()
    }


def whole(amount: Decimal, unit: Decimal = Decimal(1)) -> int:
    """Return an amount in units, rounded up, as a kubelet does."""
    return ceil(amount / unit)
