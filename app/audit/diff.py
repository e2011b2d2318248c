"""The fields that differ between two versions of a pod, without their values, which may be secret."""

import re
from collections.abc import Iterator
from typing import Any

_IMAGE = re.compile(r"spec\.(containers|initContainers|ephemeralContainers)\[[^\]]*\]\.image")
"""The fields whose values are included. Environments, commands and annotations may hold secrets."""


def diff(old: Any, new: Any, *, field: str = "") -> Iterator[dict[str, str | None]]:
    """Yield every field that differs between two JSON documents.

    Items of a list that have names are compared by name, so their order does not matter.

    >>> list(diff({"spec": {"containers": [{"name": "a", "image": "x"}]}},
    ...           {"spec": {"containers": [{"name": "a", "image": "y"}]}}))
    [{'field': 'spec.containers[a].image', 'from': 'x', 'to': 'y'}]
    """
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            path = f"{field}.{key}" if field else str(key)
            yield from diff(old.get(key), new.get(key), field=path)
        return
    old_members, new_members = _members(old), _members(new)
    if old_members is not None and new_members is not None and (old_members or new_members):
        for name in {**old_members, **new_members}:
            yield from diff(old_members.get(name), new_members.get(name), field=f"{field}[{name}]")
        return
    change: dict[str, str | None] = {"field": field}
    if _IMAGE.fullmatch(field) and isinstance(old, str | None) and isinstance(new, str | None):
        change |= {"from": old, "to": new}
    yield change


def _members(value: Any) -> dict[str, Any] | None:
    """Return a list of named objects by name, {} for None, and None for any other value."""
    if value is None:
        return {}
    if not isinstance(value, list):
        return None
    members = {m["name"]: m for m in value if isinstance(m, dict) and isinstance(m.get("name"), str)}
    return members if len(members) == len(value) else None
