"""Fixtures: a provider that the tests script, and a client of the kubelet API over WebSocket."""

from collections.abc import AsyncIterator

import pytest

from tests.broker.kubelet.conftest import Kubelet
from tests.broker.kubelet.streams.websocket_client import Client
from tests.stub_provider.streams import StreamProvider


@pytest.fixture
async def stub() -> AsyncIterator[StreamProvider]:
    """The provider."""
    async with StreamProvider().running() as stub:
        yield stub


@pytest.fixture
def streams(kubelet: Kubelet) -> Client:
    """A client of the API."""
    return Client(kubelet)
