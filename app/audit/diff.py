"""The fields that differ between two versions of a pod; of some fields also the values.

The values of an environment, a command or an annotation may be secret, and the audit log keeps what it has. Values
are therefore recorded of the fields in `_RECORDED` alone: those that Kubernetes lets a client change in a pod, and
that everybody who may see the pod knows. Where one contains a value of the environment, it is redacted. See
docs/decisions/0081-values-in-the-audit-log.md.
"""

import re
from collections.abc import Iterator
from typing import Any

import orjson

from app.kubernetes.redact import Redactor

_CONTAINER = r"spec\.(containers|initContainers|ephemeralContainers)\[[^\]]*\]"
_IMAGE = re.compile(rf"{_CONTAINER}\.image")
_RECORDED = re.compile(
    r"metadata\.(labels(\..*)?|generation|deletionTimestamp|deletionGracePeriodSeconds)"
    r"|spec\.(activeDeadlineSeconds|terminationGracePeriodSeconds|tolerations|schedulingGates|priority|nodeName)"
    r"|spec\.resources(\..*)?"
    rf"|{_CONTAINER}\.resources(\..*)?",
    re.DOTALL,
)
"""The fields whose values are recorded, beside images."""
_LONGEST_VALUE = 300

Change = dict[str, str | None]


def pod_changes(old: dict[str, Any], new: dict[str, Any]) -> list[Change]:
    """Return the fields that differ between two versions of a Pod, with `from` and `to` where values are recorded.

    >>> old = {"metadata": {"labels": {"track": "stable"}}, "spec": {"activeDeadlineSeconds": 5}}
    >>> for change in pod_changes(old, {"metadata": {"labels": {"track": "canary"}}, "spec": {}}):
    ...     print(change)
    {'field': 'metadata.labels.track', 'from': 'stable', 'to': 'canary'}
    {'field': 'spec.activeDeadlineSeconds', 'from': '5', 'to': None}
    """
    changes = [change for change in diff(old, new) if change["field"] != "metadata.resourceVersion"]
    return [_redacted(change, old, new) for change in changes]


def diff(old: Any, new: Any, *, field: str = "") -> Iterator[Change]:
    """Yield every field that differs between two JSON documents, with values that may contain secrets.

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
    change: Change = {"field": field}
    if _IMAGE.fullmatch(field) and isinstance(old, str | None) and isinstance(new, str | None):
        change |= {"from": old, "to": new}
    elif _RECORDED.fullmatch(field):
        values = _text(old), _text(new)
        if all(len(value or "") <= _LONGEST_VALUE for value in values):
            change |= dict(zip(("from", "to"), values, strict=True))
    yield change


def _text(value: Any) -> str | None:
    """Return a value as text: a text as it is, anything else as JSON."""
    return value if value is None or isinstance(value, str) else orjson.dumps(value).decode()


def _redacted(change: Change, old: dict[str, Any], new: dict[str, Any]) -> Change:
    """Redact the environment values of both versions in the values of a change. An image is a name, as it is."""
    if "from" not in change or _IMAGE.fullmatch(str(change["field"])):
        return change
    values = {name: change[name] for name in ("from", "to")}
    return {**change, **Redactor(new)(Redactor(old)(values))}


def _members(value: Any) -> dict[str, Any] | None:
    """Return a list of named objects by name, {} for None, and None for any other value."""
    if value is None:
        return {}
    if not isinstance(value, list):
        return None
    members = {m["name"]: m for m in value if isinstance(m, dict) and isinstance(m.get("name"), str)}
    return members if len(members) == len(value) else None
