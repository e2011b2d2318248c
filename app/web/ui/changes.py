"""Describe what an event records beside changed fields: a scenario, a stream, a grace period, a pruning."""

from collections.abc import Iterator, Mapping
from typing import Any

_SHOWN = 8
"""The number of nodes that are named."""


def described(change: Mapping[str, Any]) -> Iterator[str]:
    """Yield a phrase for each part of the `change` of an event that is no field of a pod.

    >>> list(described({"gracePeriodSeconds": 5}))
    ['grace period 5s']
    >>> stream = {"container": "db", "command": "psql", "ended": "exited", "exitCode": 2, "seconds": 1.5}
    >>> list(described({"stream": stream}))
    ['psql in db, exited with code 2, 1.5s']
    >>> list(described({"before": "2026-11-01", "events": 3, "pods": 1, "statuses": 0, "file": "a.jsonl"}))
    ['events 3, pods 1, statuses 0 from before 2026-11-01, moved to a.jsonl']
    """
    if "gracePeriodSeconds" in change:
        yield f"grace period {change['gracePeriodSeconds']}s"
    if "stream" in change:
        yield ", ".join(_stream(change["stream"]))
    if "scenario" in change:
        yield "; ".join(_scenario(change))
    if "file" in change:
        counts = ", ".join(f"{table} {change[table]}" for table in ("events", "pods", "statuses"))
        yield f"{counts} from before {change['before']}, moved to {change['file']}"


def _stream(stream: Mapping[str, Any]) -> Iterator[str]:
    if "port" in stream:
        yield f"port {stream['port']}"
    else:
        yield " in ".join(part for part in (stream.get("command"), stream.get("container")) if part)
    if "ended" in stream:
        yield stream["ended"] + (f" with code {stream['exitCode']}" if "exitCode" in stream else "")
        yield f"{stream['seconds']:g}s"


def _scenario(entry: Mapping[str, Any]) -> Iterator[str]:
    """Yield phrases as `vkweb scenario play` prints them."""
    nodes = entry["nodes"]
    names = " ".join(nodes[:_SHOWN]) + (f" … ({len(nodes)})" if len(nodes) > _SHOWN else "")
    evicted = entry.get("details", {}).get("evicted")
    step = f"step {entry['step']}" if entry["step"] else "end"
    yield f"{entry['scenario']}, {step}: {entry['action']} {names or 'no node'}"
    if evicted is not None:
        yield f"{evicted} evicted"
    for name, reason in entry.get("skipped", {}).items():
        yield f"not {name}: {reason}"
    if entry.get("missing"):
        yield f"{entry['missing']} fewer than the step wants"
    for name, error in (*entry.get("errors", {}).items(), *entry.get("details", {}).get("left", {}).items()):
        yield f"{name}: {error}"
