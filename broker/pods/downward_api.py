"""Fields of a pod and of its containers, for environment variables and volumes.

Source: `pkg/fieldpath/fieldpath.go`, and `ExtractContainerResourceValue` in `pkg/api/v1/resource/helpers.go`.
"""

import re
from collections.abc import Mapping
from decimal import Decimal

from broker.kubernetes.quantity import parse_quantity, whole
from broker.node_info import NodeInfo
from broker.types import Object

_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['(.*)'\]", re.DOTALL)
_ALLOCATABLE = ("cpu", "memory", "ephemeral-storage")
_POD_LEVEL = ("cpu", "memory")
_ESCAPES = {"\a": "a", "\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t", "\v": "v", '"': '"', "\\": "\\"}


def metadata_field(pod: Object, path: str) -> str | None:
    """Return a field of a pod's metadata, such as `metadata.labels['app']`; None for any other path."""
    metadata = pod["metadata"]
    if match := _SUBSCRIPT.fullmatch(path):
        return str((metadata.get(match[1]) or {}).get(match[2], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        return format_map(metadata.get(path.removeprefix("metadata.")) or {})
    if path in ("metadata.name", "metadata.namespace", "metadata.uid"):
        return str(metadata.get(path.removeprefix("metadata."), ""))
    return None


def container_resource(reference: Object, container: Object, defaults: Mapping[str, str]) -> str:
    """Return a request or limit in units of the divisor, rounded up.

    Args:
        reference: a `ResourceFieldSelector`.
        container: the container that it selects.
        defaults: the limits of a container without its own: resource → quantity. A limit of 0 is none.
    """
    kind, _, resource = reference["resource"].partition(".")
    amount = _amount((container.get("resources") or {}).get(kind), resource)
    if not amount and kind == "limits" and resource in _ALLOCATABLE:
        amount = _amount(defaults, resource)
    return str(whole(amount, parse_quantity(str(reference.get("divisor") or "1")) or Decimal(1)))


def default_limits(pod: Object, node: NodeInfo) -> dict[str, str]:
    """Return the default limits for environment variables: those of the pod, else what the node allocates.

    Source: `defaultPodLimitsForDownwardAPI` in `pkg/kubelet/kubelet_resources.go`. Volumes take the latter alone.
    """
    of_pod = (pod["spec"].get("resources") or {}).get("limits") or {}
    given = {name: of_pod[name] for name in _POD_LEVEL if name in node.allocatable and _amount(of_pod, name)}
    return {**node.allocatable, **given}


def _amount(amounts: Mapping[str, object] | None, resource: str) -> Decimal:
    return parse_quantity(str((amounts or {}).get(resource) or "0"))


def format_map(values: Mapping[str, str]) -> str:
    r"""Format labels or annotations: one line for each key in order, the value quoted as a Go string.

    >>> print(format_map({"b": 'say "hi"', "a": "1\n2"}))
    a="1\n2"
    b="say \"hi\""
    """
    return "\n".join(f'{key}="{"".join(map(_escaped, values[key]))}"' for key in sorted(values))


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return f"\\{_ESCAPES[character]}"
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
