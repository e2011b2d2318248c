"""Faults of a node, set by annotations of its Node object: by a scenario, or by hand with `kubectl annotate`.

| `fault.virtual-kubelet.io/…` | Value | Effect |
|---|---|---|
| `not-ready` | a message | the condition Ready is False |
| `partition` | `true` | the lease is not renewed, and no status is written; pods go on at the provider |
| `vanish` | `true` | the Node is not registered again once it is deleted, until a client creates it |
| `pressure` | `memory`, `disk`, `pid`, separated by commas | the condition is True |
| `slow` | a factor | new pods have their start delay multiplied |
| `fail` | a failure of simulated pods | new pods fail in this way |
| `fail-share` | a percentage | share of the new pods that fail; 100% by default |
| `fail-seed` | a text | decides with the UID of a pod whether the pod fails |
| `slow-since`, `fail-since` | a time | pods are new that were bound to the node since then; all pods by default |

`slow` and `fail` are passed on to the provider as annotations of the pod, see `docs/synthetic.md`. The Pod in
Kubernetes is not changed.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from broker.types import Object

DOMAIN = "fault.virtual-kubelet.io"
PRESSURES = {"memory": "MemoryPressure", "disk": "DiskPressure", "pid": "PIDPressure"}
"""Value of the annotation → condition of the node."""
START_DELAY_FACTOR = "synthetic.virtual-kubelet.io/start-delay-factor"
FAIL = "synthetic.virtual-kubelet.io/fail"

_PERCENT = re.compile(r"\d{1,3}(\.\d+)?%", re.ASCII)


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """The faults of a node.

    Attributes:
        not_ready: message of the condition Ready that is False; None: as the node is.
        partition: whether the node is cut off from the API server.
        vanish: whether a deleted Node is not registered again.
        pressures: conditions that are True.
        slow: factor of the start delay of new pods; None: unchanged.
        slow_since: time from which pods are new; None: all are.
        fail: failure of new pods.
        fail_share: share of the new pods that fail.
        fail_seed: decides with the UID whether a pod fails.
        fail_since: as `slow_since`.
        problems: an error for each invalid annotation, which has no effect.
    """

    not_ready: str | None = None
    partition: bool = False
    vanish: bool = False
    pressures: tuple[str, ...] = ()
    slow: str | None = None
    slow_since: datetime | None = None
    fail: str | None = None
    fail_share: float = 1.0
    fail_seed: str = ""
    fail_since: datetime | None = None
    problems: tuple[str, ...] = ()

    def describe(self) -> dict[str, Any]:
        """Return the fields that differ from the defaults, for the log."""
        return {
            name: value for name in self.__struct_fields__ if (value := getattr(self, name)) != getattr(NONE, name)
        }


NONE = Faults()


def parse_faults(annotations: Mapping[str, str]) -> Faults:
    """Parse the annotations of a Node. An invalid one is ignored and named in `problems`."""
    if not any(name.startswith(f"{DOMAIN}/") for name in annotations):
        return NONE
    fields: dict[str, Any] = {}
    problems = []
    for name, parse in _PARSERS.items():
        if (text := annotations.get(f"{DOMAIN}/{name}")) is not None:
            try:
                fields[_FIELDS.get(name, name.replace("-", "_"))] = parse(text)
            except ValueError as exc:
                problems.append(f"{DOMAIN}/{name}: {exc}")
    return Faults(**fields, problems=tuple(problems))


def pod_annotations(pod: Object, faults: Faults) -> dict[str, str]:
    """Return the annotations with which a provider simulates the faults of the node for a pod."""
    found = {}
    if faults.slow is not None and _is_new(pod, faults.slow_since):
        found[START_DELAY_FACTOR] = faults.slow
    if faults.fail is not None and _is_new(pod, faults.fail_since):
        uid = pod["metadata"].get("uid", "")
        if fraction(faults.fail_seed, uid) < faults.fail_share:
            found[FAIL] = faults.fail
    return found


def fraction(*parts: str) -> float:
    """Return a number from 0, inclusive, to 1, exclusive, that depends on the parts only."""
    digest = hashlib.blake2b("\0".join(parts).encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big") / 2**48


def _is_new(pod: Object, since: datetime | None) -> bool:
    """Return whether a pod was bound to its node at a time or later, by the whole seconds of Kubernetes' times."""
    if since is None:
        return True
    conditions = (pod.get("status") or {}).get("conditions") or ()
    scheduled = next((c.get("lastTransitionTime") for c in conditions if c["type"] == "PodScheduled"), None)
    bound = scheduled or pod["metadata"].get("creationTimestamp")
    return bound is None or datetime.fromisoformat(bound) >= since.replace(microsecond=0)


def _is_true(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("must be true or false")
    return text == "true"


def _pressures(text: str) -> tuple[str, ...]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names or not PRESSURES.keys() >= set(names):
        raise ValueError(f"must be of {', '.join(PRESSURES)}, separated by commas")
    return tuple(PRESSURES[name] for name in PRESSURES if name in names)


def _factor(text: str) -> str:
    if not re.fullmatch(r"\d{1,4}(\.\d{1,6})?", text, re.ASCII):
        raise ValueError("must be a number such as 10 or 2.5")
    return text


def _share(text: str) -> float:
    if not _PERCENT.fullmatch(text) or float(text[:-1]) > 100:
        raise ValueError("must be a percentage such as 30%")
    return float(text[:-1]) / 100


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise ValueError("must be a time such as 2026-11-27T20:30:00Z")
    return time


def _text(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text.strip()


_PARSERS: dict[str, Callable[[str], Any]] = {
    "not-ready": _text,
    "partition": _is_true,
    "vanish": _is_true,
    "pressure": _pressures,
    "slow": _factor,
    "slow-since": _time,
    "fail": _text,
    "fail-share": _share,
    "fail-seed": str,
    "fail-since": _time,
}
_FIELDS = {"pressure": "pressures"}
