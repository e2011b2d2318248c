"""The status of a node as JSON, in little memory: what differs between nodes is apart from what is mostly equal.

A fleet may have thousands of nodes. Their statuses differ in the times of the conditions; the rest is in memory
once, see :mod:`broker.sharing`. JSON takes a fifth of the memory of the decoded status.
"""

from typing import Any, NamedTuple, Self

import msgspec

from broker.sharing import shared
from broker.types import Object

_TIMES = ("lastHeartbeatTime", "lastTransitionTime")


class StatusJson(NamedTuple):
    """A NodeStatus, or a part of one.

    Attributes:
        text: the status without the times of its conditions.
        times: the times of each condition, null for one that it has not.
    """

    text: bytes
    times: bytes

    @classmethod
    def encode(cls, status: Object) -> Self:
        """Encode a status."""
        conditions: list[Object] = status.get("conditions") or []
        times = [[condition.get(name) for name in _TIMES] for condition in conditions]
        if conditions:
            status = {**status, "conditions": [_without_times(condition) for condition in conditions]}
        return cls(shared(msgspec.json.encode(status)), shared(msgspec.json.encode(times)))

    def decode(self) -> Object:
        """Decode the status."""
        status: Object = msgspec.json.decode(self.text)
        for condition, times in zip(status.get("conditions") or (), msgspec.json.decode(self.times), strict=True):
            condition.update({name: time for name, time in zip(_TIMES, times, strict=True) if time is not None})
        return status


def _without_times(condition: Object) -> dict[str, Any]:
    return {name: value for name, value in condition.items() if name not in _TIMES}
