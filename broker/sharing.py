"""Values that many nodes have in common are in memory once.

The nodes of a pool have equal capacities, and labels, taints and statuses that differ in names and times. A value
is kept as the first of those that equal it, as long as it is one of the values that were used last.

    >>> one, other = shared(("cpu", "memory")), shared(tuple(["cpu", "memory"]))
    >>> one is other
    True
"""

from collections.abc import Hashable, Mapping
from functools import lru_cache
from typing import TypeVar, cast

T = TypeVar("T", bound=Hashable)

_RECENT = 512


def shared(value: T) -> T:
    """Return the first of the values that equal this one; of bytes, str or tuples of these."""
    return cast("T", _first(value))


def shared_mapping(mapping: Mapping[str, str]) -> Mapping[str, str]:
    """Return the first of the mappings that equal this one, in the same order. It must not be changed."""
    return _mapping(tuple(mapping.items()))


@lru_cache(maxsize=_RECENT)
def _first(value: Hashable) -> Hashable:
    return value


@lru_cache(maxsize=_RECENT)
def _mapping(items: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    return dict(items)
