"""WebSockets of exec, attach and port-forward.

A session lasts for hours and must not hold a thread that requests need. A request therefore starts the session and
answers `101 Switching Protocols`; the worker then gives the connection to the one event loop of its process
(:mod:`app.web.streams.server`), in which a coroutine copies between the WebSocket and the descriptors of the
session (:mod:`app.web.streams.copier`).

Neither side is read before the other has taken what was read. So a session holds one chunk of output and one
message of input, and a slow reader slows the writer.
"""
