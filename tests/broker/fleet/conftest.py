"""Fixtures: a fleet file, and brokers that read it."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from broker.fleet import removal, source
from broker.kubernetes.config import ClusterConfig
from broker.runner import Broker
from broker.settings import Settings
from tests.broker.nodes import running_node, settings_of_a_node
from tests.stub_provider import StubProvider


class FleetFile:
    """A fleet file, and the settings with it."""

    def __init__(self, path: Path, url: str, cluster: ClusterConfig) -> None:
        self.path = path
        self.settings: Settings = settings_of_a_node(url, node_name="fleet", fleet=str(path))
        self._cluster = cluster

    def write(self, text: str) -> None:
        self.path.write_text(text)

    def running(self, text: str | None = None) -> AbstractAsyncContextManager[Broker]:
        """Write a text if there is one, and run a broker with the file for the duration of the block."""
        if text is not None:
            self.write(text)
        return running_node(self.settings, self._cluster)


@pytest.fixture
def file(tmp_path: Path, stub: StubProvider, cluster: ClusterConfig, monkeypatch: pytest.MonkeyPatch) -> FleetFile:
    """A fleet file whose changes are noticed at once."""
    monkeypatch.setattr(source, "POLL", 0.05)
    monkeypatch.setattr(removal, "_POLL", 0.05)
    monkeypatch.setattr(removal, "_EVICTION_RETRY", 0.05)
    return FleetFile(tmp_path / "fleet.yaml", stub.url, cluster)
