"""A node whose provider reports usage."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from broker.errors import ProviderUnavailable
from broker.kubelet.stats.source import ProviderUsage, UsageSource
from broker.provider import ProviderClient

STARTED = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
NOW = datetime(2026, 11, 22, 9, 0, 0, 250000, tzinfo=UTC)
RUN_START = "2026-11-22T08:46:40Z"
RUNNING = {"running": {"startedAt": RUN_START}}


def pod(name: str, *, statuses: dict[str, dict[str, Any]], init: dict[str, dict[str, Any]] | None = None) -> bytes:
    """Return a pod whose containers are in these states."""
    return json.dumps(
        {
            "metadata": {"namespace": "shop", "name": name, "uid": f"uid-of-{name}"},
            "spec": {"containers": [{"name": container} for container in statuses]},
            "status": {
                "startTime": "2026-11-22T08:46:38Z",
                "containerStatuses": [{"name": n, "state": state} for n, state in statuses.items()],
                "initContainerStatuses": [{"name": n, "state": state} for n, state in (init or {}).items()],
            },
        }
    ).encode()


def usage(
    name: str,
    seconds: dict[str, float],
    *,
    started: str = RUN_START,
    at: str = "2026-11-22T09:00:00Z",
    memory: int = 1000,
) -> dict[str, Any]:
    """Return a pod's entry of `/podStats`; `seconds` is container → CPU time."""

    def of(used: float, containers: int = 1) -> dict[str, Any]:
        values = {"workingSetBytes": memory, "rssBytes": memory - 1, "usageBytes": memory + 1}
        values = {name: containers * value for name, value in values.items()}
        return {
            "cpu": {
                "time": at,
                "usageNanoCores": containers * 250_000_000,
                "usageCoreNanoSeconds": int(used * 1e9),
            },
            "memory": {"time": at, **values},
        }

    return {
        "podRef": {"namespace": "shop", "name": name, "uid": f"uid-of-{name}"},
        "startTime": "2026-11-22T08:46:38Z",
        "containers": [{"name": n, "startTime": started, **of(used)} for n, used in seconds.items()],
        **of(sum(seconds.values()), len(seconds)),
    }


class UsageProvider(ProviderClient):
    """Client of a provider that reports usage.

    Attributes:
        reported: entries of `/podStats`; None without the extension.
        machine: `/nodeStats`; None without the extension.
        requests: number of requests of `/podStats`.
        is_down: whether the provider does not answer.
    """

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1")
        self.reported: list[dict[str, Any]] | None = []
        self.machine: dict[str, Any] | None = None
        self.requests = 0
        self.is_down = False

    async def node_stats(self) -> bytes | None:
        return None if self.machine is None else json.dumps(self.machine).encode()

    async def pod_stats(self) -> bytes | None:
        self.requests += 1
        if self.is_down:
            raise ProviderUnavailable("down")
        return None if self.reported is None else json.dumps(self.reported).encode()


class UsageNode:
    """The pods of a node, and the source of their usage.

    Attributes:
        pods: name → pod in JSON.
        now: current time.
    """

    def __init__(self) -> None:
        self.pods: dict[str, bytes] = {}
        self.provider = UsageProvider()
        self.now = STARTED
        self.source = UsageSource(
            ProviderUsage(self.provider, clock=lambda: self.now), self, node_name="node-1", clock=lambda: self.now
        )
        self.now = NOW

    def find(self, namespace: str, name: str) -> bytes | None:
        return self.pods.get(name) if namespace == "shop" else None

    def all(self) -> list[bytes]:
        return list(self.pods.values())

    def uids(self) -> set[str]:
        return {f"uid-of-{name}" for name in self.pods}

    def put(self, name: str, seconds: dict[str, float]) -> None:
        """Store a pod whose running containers have used this CPU time."""
        self.pods[name] = pod(name, statuses=dict.fromkeys(seconds, RUNNING))
        self.report(name, seconds)

    def report(self, name: str, seconds: dict[str, float], *, started: str = RUN_START) -> None:
        """Report this CPU time from the next second on."""
        others = [entry for entry in self.provider.reported or () if entry["podRef"]["name"] != name]
        self.provider.reported = [*others, usage(name, seconds, started=started)]
        self.now += timedelta(seconds=1)


@pytest.fixture
def node() -> UsageNode:
    return UsageNode()


def samples(text: bytes) -> dict[tuple[str, ...], float]:
    """Return the samples by the metric's name and the values of its labels, ordered by the labels' names."""
    return {
        (sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }
