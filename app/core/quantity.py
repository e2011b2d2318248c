"""Kubernetes quantities: `100m`, `1.5`, `2Gi`, `1e3`.

Source: `k8s.io/apimachinery/pkg/api/resource`, the serialization format in the comment of `Quantity`.
"""

import math
import re
from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache

_SUFFIXES = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate(("k", "M", "G", "T", "P", "E"), 1)},
    **{suffix: Decimal(1024) ** power for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)},
}
BINARY_SUFFIXES = ("", "Ki", "Mi", "Gi", "Ti", "Pi")
_QUANTITY = re.compile(
    r"(?P<number>[+-]?(?:\d+\.?\d*|\.\d+))(?:(?P<exponent>[eE][+-]?\d{1,3})|(?P<suffix>[numkMGTPE]|[KMGTPE]i)?)",
    re.ASCII,
)


def parse_quantity(text: str) -> Decimal:
    """Parse a quantity.

    >>> parse_quantity("100m")
    Decimal('0.100')

    Raises:
        ValueError: the text is not a quantity.
    """
    match = _QUANTITY.fullmatch(text)
    if match is None or len(text) > 64:
        raise ValueError("not a quantity such as 500m, 2 or 1Gi")
    if match["exponent"]:
        return Decimal(match["number"] + match["exponent"])
    return Decimal(match["number"]) * _SUFFIXES[match["suffix"] or ""]


@lru_cache(maxsize=64)
def parse_amount_or_percentage(text: str) -> tuple[Decimal, bool]:
    """Parse a quantity that is not negative, or a percentage; return the number and whether it is a percentage.

    >>> parse_amount_or_percentage("100m"), parse_amount_or_percentage("12.5%")
    ((Decimal('0.100'), False), (Decimal('12.5'), True))

    Raises:
        ValueError: the text is neither.
    """
    number = text.removesuffix("%")
    is_percentage = number != text
    try:
        amount = parse_quantity(number)
    except ValueError:
        raise ValueError("not a quantity such as 500m or 1Gi, or a percentage such as 10%") from None
    if amount < 0:
        raise ValueError("must not be negative")
    return amount, is_percentage


def format_amount(value: float, resource: str) -> str:
    """Format an amount of a resource for people, with the suffixes of Kubernetes, to two decimals.

    >>> format_amount(12.5, "cpu"), format_amount(1.5 * 2**30, "memory"), format_amount(1000, "pods")
    ('12.5', '1.5Gi', '1,000')
    """
    suffix = ""
    if resource in ("memory", "ephemeral-storage"):
        power = 0
        while abs(value) >= 1024 and power < len(BINARY_SUFFIXES) - 1:
            value, power = value / 1024, power + 1
        suffix = BINARY_SUFFIXES[power]
    return f"{value:,.2f}".rstrip("0").rstrip(".") + suffix


def format_usage(nano_cores: int, memory_bytes: int) -> tuple[str, str]:
    """Format CPU and memory in use as `kubectl top` does: millicores, rounded up, and whole MiB.

    >>> format_usage(1_500_001, 3 * 2**20 + 1)
    ('2m', '3Mi')
    """
    return f"{-(-nano_cores // 10**6)}m", f"{memory_bytes // 2**20}Mi"


def percentage(part: float, whole: float) -> float:
    """Return a part of a whole in percent, at most 100; 0 where the whole is 0."""
    return round(min(100 * part / whole, 100), 2) if whole > 0 else 0


def percentile(values: Sequence[float], part: float) -> float | None:
    """Return the least value that at least this part of the values does not exceed; None without values.

    >>> percentile([3.0, 1.0, 2.0], 0.5)
    2.0
    """
    return sorted(values)[max(math.ceil(len(values) * part) - 1, 0)] if values else None
