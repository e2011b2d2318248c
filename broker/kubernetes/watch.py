"""A watch that survives everything: list, then watch, then watch on, for as long as anybody listens.

How it goes on after each kind of end is what the API promises:
https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from datetime import datetime
from random import Random
from typing import Literal, NamedTuple

import msgspec
import structlog

from broker.kubernetes.client import Client
from broker.kubernetes.errors import ApiError, Gone, Unreachable, error_from
from broker.kubernetes.objects import Metadata, RawObject

IDLE_TIMEOUT = 150.0
"""Seconds of silence after which a connection counts as lost. Bookmarks come about every minute; where a server
knows none, asking again from the same resourceVersion costs one request."""
_BACKOFF, _BACKOFF_LIMIT = 0.8, 30.0

log = structlog.get_logger()


class Event(NamedTuple):
    """A change of one object; or SYNCED, without an object, after each complete list."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "SYNCED"]
    object: RawObject | None


class _Envelope(msgspec.Struct, frozen=True):
    type: str
    object: msgspec.Raw


_envelopes = msgspec.json.Decoder(_Envelope)


async def list_and_watch(
    client: Client,
    path: str,
    *,
    field_selector: str | None = None,
    clock: Callable[[], datetime],
    random: Random,
    on_sync: Callable[[datetime], None] = lambda _: None,
) -> AsyncGenerator[Event, None]:
    """Tell every change of a collection, for ever; whatever the server does is waited out.

    A change may be told late, or several as one, and never not at all: after a gap the collection is listed
    again, and what happened in between is told as if it had been seen, deletes included. An object that was
    replaced by another of its name is told as DELETED, then ADDED.

    Args:
        client: for the requests, of which one is always open.
        path: the collection, such as `/api/v1/pods`.
        field_selector: which objects of it, such as `spec.nodeName=a`.
        clock: gives the time for `on_sync`.
        random: for jitter.
        on_sync: is called with the time when what has been told is known to be complete: after a list, and
            whenever the watch shows that it is alive.
    """
    selector = {"fieldSelector": field_selector} if field_selector else {}
    known = _Known()
    version: str | None = None  # None: list first
    failures = 0
    while True:
        listed = version is None
        try:
            if version is None:
                items, version = await client.list(path, **selector)
                for event in known.relist(items):
                    yield event
                yield Event("SYNCED", None)
                on_sync(clock())
            alive = False
            query = {**selector, "resourceVersion": version, "timeoutSeconds": str(random.randint(300, 600))}
            async with aclosing(_watch(client, path, query, opened=lambda: on_sync(clock()))) as events:
                async for type_, obj in events:
                    alive, failures, version = True, 0, obj.metadata.resource_version
                    for event in known.apply(type_, obj):
                        yield event
                    on_sync(clock())
            if alive:
                continue  # the server ends each watch after a while
            failure: ApiError = Unreachable("the watch ended without an event")
        except ApiError as exc:
            failure = exc
            if exc.status not in (0, 429):  # the server cannot go on from here; after a break it can
                version = None
            if isinstance(exc, Gone) and not listed:
                failures = 0
                continue  # it answers; only the place was too old
        failures += 1
        delay = min(_BACKOFF * 2 ** (failures - 1), _BACKOFF_LIMIT) * random.uniform(0.5, 1)
        delay = max(delay, failure.retry_after or 0)
        log.info("watch interrupted", path=path, error=str(failure), failures=failures, retry_in=round(delay, 1))
        await asyncio.sleep(delay)


class _Known:
    """What has been told so far, by key; enough to tell what is gone."""

    def __init__(self) -> None:
        self._metadata: dict[str, Metadata] = {}

    def relist(self, items: list[RawObject]) -> Iterator[Event]:
        """Tell how the collection differs from what was told."""
        gone = self._metadata.keys() - {item.key for item in items}
        for key in sorted(gone):
            yield self._deleted(key)
        for item in items:
            before = self._metadata.get(item.key)
            if before is None or before.resource_version != item.metadata.resource_version:
                yield from self.apply("MODIFIED", item)

    def apply(self, type_: str, obj: RawObject) -> Iterator[Event]:
        """Tell an event of the watch."""
        key = obj.key
        before = self._metadata.get(key)
        if type_ == "DELETED":
            self._metadata.pop(key, None)
            yield Event("DELETED", obj)
        elif type_ != "BOOKMARK":
            if before is not None and before.uid != obj.metadata.uid:
                yield self._deleted(key)
                before = None
            self._metadata[key] = obj.metadata
            yield Event("MODIFIED" if before else "ADDED", obj)

    def _deleted(self, key: str) -> Event:
        """Tell a deletion that nobody saw: the object has nothing but the metadata that is known."""
        metadata = self._metadata.pop(key)
        return Event("DELETED", RawObject(metadata, msgspec.json.encode({"metadata": metadata})))


async def _watch(
    client: Client, path: str, query: dict[str, str], *, opened: Callable[[], None]
) -> AsyncGenerator[tuple[str, RawObject], None]:
    """Give the events of one connection, bookmarks included, until the server ends it in an orderly way.

    Args:
        opened: is called when the server has accepted the watch: it goes on from what is known.

    Raises:
        ApiError: it ended in another way; a Gone where the resourceVersion is too old.
    """
    query = {"watch": "1", "allowWatchBookmarks": "true", **query}
    async with client.stream(path, idle_timeout=IDLE_TIMEOUT, **query) as lines:
        opened()
        async for line in lines:
            try:
                envelope = _envelopes.decode(line)
                if envelope.type == "ERROR":
                    raise error_from(0, bytes(envelope.object))
                yield envelope.type, RawObject.parse(bytes(envelope.object))
            except msgspec.DecodeError as exc:
                raise ApiError(502, "BadGateway", "the watch gives what is no event") from exc
