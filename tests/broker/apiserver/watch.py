"""The watch of a collection: a response without an end."""

import asyncio
from collections.abc import Iterator

import orjson
from aiohttp import web

from tests.broker.apiserver.errors import Refusal
from tests.broker.apiserver.store import RESOURCES, Change, Object, Selector, Store


class Watcher:
    """A watch: the events to send, and its end."""

    def __init__(self, store: Store, resource: str, namespace: str, selector: Selector) -> None:
        self._store = store
        self._resource = resource
        self._namespace = namespace
        self._selector = selector
        self._outbox: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.bookmarks = False

    async def run(self, request: web.Request, after: int, seconds: float) -> web.StreamResponse:
        """Stream the changes after a version, up to a number of seconds.

        Raises:
            Refusal: 410 if the version is too old.
        """
        for change in self._store.history(self._resource, after):
            self._notice(change)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        stop_listening = self._store.listen(self._notice)
        try:
            await response.prepare(request)
            async with asyncio.timeout(seconds):
                while (line := await self._outbox.get()) is not None:
                    await response.write(line)
                    if not line.endswith(b"\n") and request.transport is not None:
                        request.transport.abort()
        except (TimeoutError, ConnectionError):
            pass
        finally:
            stop_listening()
        return response

    def bookmark(self) -> None:
        """Send a bookmark with the latest version."""
        if self.bookmarks:
            version, kind = RESOURCES[self._resource]
            metadata = {"resourceVersion": str(self._store.version), "creationTimestamp": None}
            self._send("BOOKMARK", {"kind": kind, "apiVersion": version, "metadata": metadata})

    def fail(self, refusal: Refusal) -> None:
        """Send an ERROR event and end the watch."""
        self._send("ERROR", refusal.status())
        self.end()

    def cut(self) -> None:
        """Break the connection in the middle of a line."""
        self._outbox.put_nowait(b'{"type":"MODIFIED","object":{"kind":"Pod","metad')

    def end(self) -> None:
        """End the watch as a server does at its timeout."""
        self._outbox.put_nowait(None)

    def _notice(self, change: Change) -> None:
        if change.resource == self._resource:
            for type_, obj in self._events(change):
                self._send(type_, obj)

    def _events(self, change: Change) -> Iterator[tuple[str, Object]]:
        """Yield a change as the selector shows it: ADDED if an object begins to match, DELETED if it ceases."""
        before = change.before is not None and self._sees(change.before)
        after = change.after is not None and self._sees(change.after)
        if after:
            assert change.after is not None
            yield "MODIFIED" if before else "ADDED", change.after
        elif before:
            assert change.before is not None
            version = {"resourceVersion": str(change.version)}
            yield "DELETED", {**change.before, "metadata": {**change.before["metadata"], **version}}

    def _sees(self, obj: Object) -> bool:
        return self._namespace in ("", obj["metadata"].get("namespace")) and self._selector(obj)

    def _send(self, type_: str, obj: Object) -> None:
        self._outbox.put_nowait(orjson.dumps({"type": type_, "object": obj}) + b"\n")
