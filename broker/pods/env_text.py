"""Values of variables that refer to variables of which only the provider knows the value.

The address of a pod is such a variable: the broker passes on its source, and leaves each reference to it in later
values.

    {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    {"name": "URL", "value": "http://$(IP):80"}

A text that is no reference may look like one, from `$$(IP)` or from a Secret. So dollars before `(IP)` that stand
for themselves are doubled, as in a manifest: to the provider, `$$(IP)` is the text `$(IP)`, and `$$$(IP)` a dollar
and the address. All other dollars are sent as they are.
"""

import re
from collections.abc import Callable, Collection
from typing import NamedTuple

_REFERENCE = re.compile(r"\$(?:\$|\(([^)]*)\))")
_LAST_DOLLARS = re.compile(r"\$+\Z")


class Late(NamedTuple):
    """A reference to a variable of which the provider knows the value."""

    name: str


Text = str | tuple[str | Late, ...]
"""A value, in parts if it has references that the provider expands."""


def expand(text: str, value_of: Callable[[str], Text | None]) -> Text:
    """Expand `$(NAME)` where NAME is known, and `$$` to a single dollar.

    >>> expand("$(A) $(B) $$(A) $A", {"A": "1"}.get)
    '1 $(B) $(A) $A'
    """
    parts: list[str | Late] = []
    end = 0
    for match in _REFERENCE.finditer(text):
        value = "$" if match[0] == "$$" else value_of(match[1])
        parts.append(text[end : match.start()])
        parts += (match[0],) if value is None else (value,) if isinstance(value, str) else value
        end = match.end()
    parts.append(text[end:])
    if any(isinstance(part, Late) for part in parts):
        return tuple(parts)
    return "".join(map(str, parts))


def encode(text: Text, late: Collection[str]) -> str:
    """Return a value as it is sent.

    Args:
        text: the value.
        late: the names of the variables before it of which the provider knows the value.
    """
    if not late:
        return text if isinstance(text, str) else "".join(map(str, text))
    reference = re.compile(rf"\$+(?=\((?:{'|'.join(map(re.escape, late))})\))")
    sent, literal = "", ""
    for part in (text,) if isinstance(text, str) else text:
        if isinstance(part, str):
            literal += part
        else:
            sent += _LAST_DOLLARS.sub(_doubled, reference.sub(_doubled, literal)) + f"$({part.name})"
            literal = ""
    return sent + reference.sub(_doubled, literal)


def _doubled(match: re.Match[str]) -> str:
    return 2 * match[0]
