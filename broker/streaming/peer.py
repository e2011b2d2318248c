"""The two ends of a session, and what they exchange."""

from enum import IntEnum
from typing import NamedTuple, Protocol

from broker.errors import BrokerError
from broker.streaming.status import Status


class Channel(IntEnum):
    """Channels of a session, with the numbers of `v5.channel.k8s.io`.

    A port-forward uses `STDIN` for bytes to the pod, `STDOUT` for bytes from the pod, and `STATUS`.
    """

    STDIN = 0
    STDOUT = 1
    STDERR = 2
    STATUS = 3
    RESIZE = 4


class StreamOptions(NamedTuple):
    """The streams that a client asks for."""

    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool

    def to_client(self) -> frozenset[int]:
        """Return the channels from the provider to the client."""
        asked = ((Channel.STDOUT, self.stdout), (Channel.STDERR, self.stderr), (Channel.STATUS, True))
        return frozenset(channel for channel, wanted in asked if wanted)

    def to_provider(self) -> frozenset[int]:
        """Return the channels from the client to the provider."""
        return frozenset((Channel.RESIZE, *((Channel.STDIN,) if self.stdin else ())))


class Data(NamedTuple):
    """Bytes on a channel; an unknown channel has its number."""

    channel: int
    payload: bytes


class ChannelClosed(NamedTuple):
    """The peer sends no more on a channel."""

    channel: int


Event = Data | ChannelClosed


class PeerGone(BrokerError):
    """The connection of a peer has ended: nothing more can be received from it or sent to it."""


class Peer(Protocol):
    """One end of a session.

    :meth:`receive` and :meth:`send` may run at the same time, each in one task at most.
    """

    async def receive(self) -> Event:
        """Return the next event; cancellation loses none.

        A peer reads from its connection only as fast as its events are received.

        Raises:
            PeerGone: the connection has ended.
        """
        ...

    async def send(self, channel: int, payload: bytes) -> None:
        """Send bytes on a channel, of any length; wait while the peer's buffers are full.

        Bytes on a channel that the peer has not asked for are discarded.

        Raises:
            PeerGone: the connection has ended.
        """
        ...

    async def close_channel(self, channel: int) -> None:
        """Send that a channel has no more bytes; without effect where the protocol cannot express it.

        Raises:
            PeerGone: the connection has ended.
        """
        ...

    def abort(self) -> None:
        """End the connection at once; bytes that were not sent are lost. May be called at any time, and again."""
        ...


class ClientPeer(Peer, Protocol):
    """The end that asked for the session."""

    async def finish(self, status: Status) -> None:
        """Send the final status, then end the session in order; without effect for a client that has gone.

        Called once, after the last `send` has returned, and without a `receive` in progress. Returns when the
        client has all bytes, or has gone. There is no limit: a slow reader may need long for what is buffered.
        :meth:`abort` ends the wait.
        """
        ...


class ProviderPeer(Peer, Protocol):
    """The end at which a command runs."""

    async def close(self) -> None:
        """End the connection in order, within few seconds; without effect after its end."""
        ...
