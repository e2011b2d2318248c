"""Carries bytes between the two ends of a session."""

import asyncio
from collections.abc import Callable
from typing import Any

from broker.streaming.peer import Channel, ClientPeer, Data, Event, Peer, PeerGone, ProviderPeer
from broker.streaming.status import Status

Observe = Callable[[Event], None]
"""Is called with each event before it is sent on."""


async def relay(
    client: ClientPeer,
    provider: ProviderPeer,
    *,
    ended: "asyncio.Future[Status]",
    sent: Observe = lambda _: None,
    received: Observe = lambda _: None,
    finished: Callable[[Status], None] = lambda _: None,
) -> None:
    """Carry bytes until the session ends, then end both connections.

    Args:
        client: the end that asked for the session.
        provider: the end at which the command runs.
        ended: its result ends the session with this status.
        sent: is called with each event of the client.
        received: is called with each event of the provider.
        finished: is called with the final status, before the client is sent it; not where the client has
            disconnected before.
    """
    try:
        status = await _carry(client, provider, ended, sent=sent, received=received)
        finished(status)
        async with asyncio.TaskGroup() as group:
            group.create_task(provider.close())
            group.create_task(client.finish(status))
    except PeerGone:
        client.abort()
    finally:
        await provider.close()  # of a handler that is cancelled, too: its client has disconnected


async def _carry(
    client: Peer, provider: Peer, ended: "asyncio.Future[Status]", *, sent: Observe, received: Observe
) -> Status:
    """Carry bytes in both directions, until the final status.

    Raises:
        PeerGone: the client has disconnected.
    """
    up = asyncio.create_task(_to_provider(client, provider, sent))
    down = asyncio.create_task(_to_client(client, provider, received))
    try:
        parts: list[asyncio.Future[Any]] = [up, down, ended]
        await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        if up.done() and not down.done() and not ended.done():
            up.result()
            # The provider takes no more bytes. Its last output and the status may still arrive.
            await asyncio.wait(parts[1:], return_when=asyncio.FIRST_COMPLETED)
        return down.result() if down.done() else ended.result()
    finally:
        up.cancel()
        down.cancel()
        await asyncio.gather(up, down, return_exceptions=True)


async def _to_provider(client: Peer, provider: Peer, observe: Observe) -> None:
    """Carry events of the client until the provider takes no more.

    Raises:
        PeerGone: the client has disconnected.
    """
    while True:
        event = await client.receive()
        observe(event)
        try:
            await _send(provider, event)
        except PeerGone:
            return


async def _to_client(client: Peer, provider: Peer, observe: Observe) -> Status:
    """Carry events of the provider until its final status.

    Raises:
        PeerGone: the client has disconnected.
    """
    while True:
        try:
            event = await provider.receive()
        except PeerGone:
            return Status.failure("the provider has ended the connection without a status")
        if event.channel == Channel.STATUS and isinstance(event, Data):
            return Status.parse(event.payload)
        observe(event)
        await _send(client, event)


async def _send(peer: Peer, event: Event) -> None:
    if isinstance(event, Data):
        await peer.send(event.channel, event.payload)
    else:
        await peer.close_channel(event.channel)
