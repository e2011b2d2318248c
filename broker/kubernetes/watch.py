"""Lists and watches a collection, and resumes after every kind of interruption.

A watch is a response without an end: one line of JSON for each change. Servers end each watch after some minutes,
and connections break. The next watch therefore starts at the `resourceVersion` of the last event, and misses
nothing. Only where the server no longer has the changes since that version (410 Gone), or fails in another way, is
the collection listed again; the difference between the list and the events so far becomes events too.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from datetime import datetime
from random import Random
from typing import Literal, NamedTuple

import msgspec
import structlog

from broker.backoff import Backoff
from broker.kubernetes.client import Client
from broker.kubernetes.errors import ApiError, Gone, Unreachable, error_from
from broker.kubernetes.objects import Metadata, RawObject

IDLE_TIMEOUT = 150.0
"""Seconds without a byte after which a connection counts as lost, unless TCP finds it earlier. A server sends a
bookmark about every minute; with one that does not, a new watch from the same `resourceVersion` is cheap."""
_BACKOFF, _BACKOFF_LIMIT = 0.8, 30.0

log = structlog.get_logger()


class Event(NamedTuple):
    """A change of one object; or SYNCED, with None in place of the object, after each complete list."""

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
    known: "KnownObjects | None" = None,
    clock: Callable[[], datetime],
    random: Random,
    on_sync: Callable[[datetime], None] = lambda _: None,
    on_error: Callable[[ApiError], None] | None = None,
    longest_delay: float = _BACKOFF_LIMIT,
) -> AsyncGenerator[Event, None]:
    """Yield every change of a collection, without an end. Errors of the server are retried with backoff.

    Events may be late, and several changes of an object may become one event, but no object's last state is
    missed: after a gap, the collection is listed again, and each difference is an event, deletions included. An
    object that was replaced by another of the same name is DELETED, then ADDED.

    Args:
        client: client of the API server, of which one connection is in use all the time.
        path: path of the collection, such as `/api/v1/pods`.
        field_selector: selects objects of the collection, such as `spec.nodeName=a`.
        known: the objects in the events of an earlier watch of the collection; selects objects where no selector
            of the server can.
        clock: returns the current time, for `on_sync`.
        random: source of jitter.
        on_sync: is called with the current time whenever the events so far are known to be complete: after a list,
            and on each sign of life of the watch.
        on_error: is called with each error before the delay that follows it; without it, errors are logged.
        longest_delay: upper limit in seconds of the delay after an error.
    """
    selector = {"fieldSelector": field_selector} if field_selector else {}
    known = known or KnownObjects()
    version: str | None = None  # None: list first
    backoff = Backoff(_BACKOFF, longest_delay, jitter=lambda: random.uniform(0.5, 1))
    while True:
        listed = version is None
        try:
            if version is None:
                items, version = await client.list(path, **selector)
                for event in known.relist(items):
                    yield event
                del items  # this generator runs for days
                yield Event("SYNCED", None)
                on_sync(clock())
            alive = False
            query = {**selector, "resourceVersion": version, "timeoutSeconds": str(random.randint(300, 600))}
            async with aclosing(_watch(client, path, query, opened=lambda: on_sync(clock()))) as events:
                async for type_, obj in events:
                    alive, version = True, obj.metadata.resource_version
                    backoff.reset()
                    for event in known.apply(type_, obj):
                        yield event
                    on_sync(clock())
            if alive:
                continue  # the server ends each watch after a while
            failure: ApiError = Unreachable("the watch ended without an event")
        except ApiError as exc:
            failure = exc
            if exc.status not in (0, 429):  # the version may be unusable; after a lost connection it is not
                version = None
            if isinstance(exc, Gone) and not listed:
                backoff.reset()
                continue  # the server works; only the version was too old
        delay = backoff.after(failure)
        if on_error:
            on_error(failure)
        else:
            log.info(
                "watch interrupted",
                path=path,
                error=str(failure),
                failures=backoff.failures,
                retry_in=round(delay, 1),
            )
        await asyncio.sleep(delay)


class KnownObjects:
    """Metadata of the objects in the events so far, by key: enough to detect deletions and replacements.

    Args:
        keep: selects objects. What it selects may grow: an object that was not kept is unknown until its next
            change, or until the collection is listed again.
    """

    def __init__(self, keep: Callable[[RawObject], bool] | None = None) -> None:
        self._keep = keep
        self._metadata: dict[str, Metadata] = {}

    def relist(self, items: list[RawObject]) -> Iterator[Event]:
        """Yield the difference between a new list and the events so far."""
        items = [item for item in items if self._keep(item)] if self._keep else items
        gone = self._metadata.keys() - {item.key for item in items}
        for key in sorted(gone):
            yield self._deleted(key)
        for item in items:
            before = self._metadata.get(item.key)
            if before is None or before.resource_version != item.metadata.resource_version:
                yield from self.apply("MODIFIED", item)

    def apply(self, type_: str, obj: RawObject) -> Iterator[Event]:
        """Yield the events for an event of the watch."""
        if self._keep and not self._keep(obj):
            return
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
        """Return the event of a deletion that was not watched; its object has metadata alone."""
        metadata = self._metadata.pop(key)
        return Event("DELETED", RawObject(metadata, msgspec.json.encode({"metadata": metadata})))


async def _watch(
    client: Client, path: str, query: dict[str, str], *, opened: Callable[[], None]
) -> AsyncGenerator[tuple[str, RawObject], None]:
    """Yield the events of one connection, bookmarks included, until the server ends the response.

    Args:
        client: client of the API server.
        path: path of the collection.
        query: selectors, `resourceVersion` and timeout.
        opened: is called when the server has accepted the watch.

    Raises:
        ApiError: the connection ended in another way; Gone: the `resourceVersion` is too old.
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
                raise ApiError(502, "BadGateway", "the watch has sent an invalid event") from exc
