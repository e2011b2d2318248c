"""Log messages about nodes, of which one cause mostly concerns many.

An API server that refuses a fleet of 1,000 nodes would lead to 1,000 lines. The first message of a kind is logged
at once, and those about other nodes in the time after it as one, with their number and the names of some:

    node not registered  node=spot-0 error=forbidden
    node not registered  nodes=999 names=spot-1, spot-2, spot-3, spot-4, spot-5, … error=forbidden

Messages are of a kind if they differ in the name of the node and in UIDs alone, which many errors contain.
"""

import asyncio
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import structlog

_FIRST_WINDOW, _WINDOW = 1.0, 10.0
"""Seconds for which messages are gathered: after the first one, and while more follow."""
_NAMED = 5

_Kind = tuple[int, str, tuple[str, ...]]
"""Level, message, and its causes without the name of the node and UIDs."""

_UID = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

_log = structlog.get_logger()


@dataclass
class _Gathered:
    """Messages of a kind since the last one that was logged.

    Attributes:
        nodes: names of the nodes, in the order of the messages.
        pods: number of the pods that they concern.
        cause: what the first of them says.
    """

    nodes: dict[str, None] = field(default_factory=dict)
    pods: int = 0
    cause: Mapping[str, str] = field(default_factory=dict)


class NodeLog:
    """Logs messages about nodes, those of a kind together."""

    def __init__(self) -> None:
        self._kinds: dict[_Kind, _Gathered] = {}

    def info(self, event: str, node: str, *, pods: int = 0, own: Mapping[str, object] | None = None) -> None:
        """Log that something has happened to a node.

        Args:
            event: the message, the same for each node.
            node: name of the node.
            pods: the number of its pods, where that matters.
            own: what concerns this node alone, and is left out of a message about several.
        """
        self._add(logging.INFO, event, node, pods=pods, own=own or {})

    def warning(self, event: str, node: str, *, own: Mapping[str, object] | None = None, error: str = "") -> None:
        """Log something unexpected, and the error that caused it; otherwise as :meth:`info`."""
        self._add(logging.WARNING, event, node, cause={"error": error} if error else {}, own=own or {})

    def error(self, event: str, node: str, *, reason: str) -> None:
        """Log an error with its reason."""
        self._add(logging.ERROR, event, node, cause={"reason": reason})

    def flush(self) -> None:
        """Log what is gathered: the process ends."""
        for kind in list(self._kinds):
            self._write(kind)

    def _add(
        self,
        level: int,
        event: str,
        node: str,
        *,
        pods: int = 0,
        own: Mapping[str, object] | None = None,
        cause: Mapping[str, str] | None = None,
    ) -> None:
        cause = cause or {}
        kind = level, event, tuple(_UID.sub("UID", text).replace(node, "NODE") for text in cause.values())
        if gathered := self._kinds.get(kind):
            gathered.cause = gathered.cause or cause
            gathered.nodes[node] = None
            gathered.pods += pods
            return
        self._kinds[kind] = _Gathered()
        asyncio.get_running_loop().call_later(_FIRST_WINDOW, self._end_window, kind)
        _log.log(level, event, node=node, **cause, **(own or {}), **_number(pods))

    def _end_window(self, kind: _Kind) -> None:
        if self._write(kind):
            asyncio.get_running_loop().call_later(_WINDOW, self._end_window, kind)
        else:
            del self._kinds[kind]

    def _write(self, kind: _Kind) -> bool:
        """Log what is gathered of a kind; return whether there was anything."""
        gathered = self._kinds[kind]
        if not gathered.nodes:
            return False
        self._kinds[kind] = _Gathered()
        level, event, _ = kind
        _log.log(level, event, **about(gathered.nodes), **gathered.cause, **_number(gathered.pods))
        return True


def about(nodes: Iterable[str]) -> dict[str, object]:
    """Return what a message says about nodes: the name of one, or the number of several and some names."""
    names = list(nodes)
    if len(names) == 1:
        return {"node": names[0]}
    return {"nodes": len(names), "names": ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")}


def _number(pods: int) -> dict[str, int]:
    return {"pods": pods} if pods else {}
