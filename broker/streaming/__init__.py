"""Streams of containers (exec, attach, port-forward): they carry bytes between a client and the provider.

A session has two peers. The *client* is the API server, at the kubelet API; the *provider* is a WebSocket that
this broker opens. Each peer translates its protocol (`v5.channel.k8s.io`, an older WebSocket one, SPDY) to the
same few operations of :class:`~broker.streaming.peer.Peer`: numbered channels that carry bytes and can be closed.
:func:`~broker.streaming.relay.relay` carries the bytes, and knows nothing of commands, terminals or ports.

Back-pressure: each direction of a session has one task that receives one message, and sends it before it receives
the next one. `send` waits while the peer takes nothing, so nothing is received meanwhile, and the sender's own
TCP connection fills up. A session never needs more memory than a few messages.

The end: the provider sends the final status, or its connection ends, which is a Failure. The status is then sent
to the client. A client that disconnects ends the provider's connection.

A port-forward has one session for each forwarded connection: the bytes of the client are channel 0, those of the
pod channel 1, and the status is that of the connection.
"""
