"""Serve a stub provider from a thread, for tests of synchronous clients."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from conformance.client import Target
from tests.stub_provider.graceful import GracefulProvider
from tests.stub_provider.provider import StubProvider
from tests.stub_provider.server import Reply, Request
from tests.stub_provider.ways import Ways

TOKEN = "a-token-of-the-stub"
LOG = "".join(f"line {number}\n" for number in range(1, 6))


def complete_provider(*, without: str | None = None) -> GracefulProvider:
    """Return a provider that implements the contract and every extension but one, and requires `TOKEN`."""
    names = (
        "activeDeadline batch containerEnvironments gracefulDelete logs nodeStats nodes podStats podStatuses "
        "podVolumes streams"
    )
    extensions = tuple(name for name in names.split() if name != without)
    ways = Ways(reports_changes=True, log_options=True, token=TOKEN, extensions=extensions)
    stub = GracefulProvider(ways)
    stub.log = LOG
    return stub


@contextmanager
def serving(
    stub: StubProvider, answer: Callable[[StubProvider, Request], Awaitable[Reply]] | None = None
) -> Iterator[Target]:
    """Serve a provider for the duration of the block; `answer`, if given, returns the responses instead."""
    stub.override = answer
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(stub.start(), loop).result(10)
        yield Target("127.0.0.1", stub.port, token=TOKEN)
    finally:
        asyncio.run_coroutine_threadsafe(stub.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
