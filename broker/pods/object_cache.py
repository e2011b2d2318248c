"""The ConfigMaps, Secrets and trust bundles that pods refer to, each read once and watched while a pod needs it.

Many pods of a node refer to the same object: a namespace's root certificate, or the ConfigMap of a Deployment. The
first reader of an object begins a watch of that object alone, by a field selector on its name, which a node's
identity may do; all others share it. An object without readers is watched for one more minute, since the pods of a
rollout come one after another. An object with `immutable: true` is read, and not watched.

Source: `pkg/kubelet/util/manager/watch_based_manager.go`.
"""

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Literal, NamedTuple, Self
from urllib.parse import quote

import structlog

from broker.dependencies import Dependencies
from broker.kubernetes.errors import ApiError
from broker.kubernetes.objects import drop_managed_fields
from broker.kubernetes.watch import list_and_watch
from broker.pods.env import Unreadable
from broker.types import Object

_LINGER = 60.0
"""Seconds for which an object is watched after its last reader has left."""
_LONGEST_DELAY = 8.0
"""Upper limit in seconds of the delay after an error: a change arrives within ten seconds after an outage."""
_RESOURCES = {"ConfigMap": "configmaps", "Secret": "secrets"}

log = structlog.get_logger()


class ObjectId(NamedTuple):
    """An object to read.

    Attributes:
        kind: `ConfigMap` or `Secret`; for any other, the path of a collection that is watched as a whole.
        namespace: namespace of the object; empty for a collection.
        name: name of the object; empty for a collection.
    """

    kind: str
    namespace: str = ""
    name: str = ""


class Reader(NamedTuple):
    """A pod, `namespace/name`, and what it reads objects for."""

    key: str
    purpose: Literal["environment", "volumes"]


Found = Object | Unreadable | None
"""An object, a List of objects for a collection; None where the object does not exist."""


class ObjectCache:
    """Objects that are read by pods. An asynchronous context manager: at its end, no object is watched any more.

    Args:
        dependencies: of the broker.
        on_change: is called with the key of each pod whose object has changed, was created or deleted, or can be
            read after a failure.
        linger: seconds for which an object is watched after its last reader has left.
    """

    def __init__(
        self, dependencies: Dependencies, *, on_change: Callable[[str], None], linger: float = _LINGER
    ) -> None:
        self._dependencies = dependencies
        self._on_change = on_change
        self._linger = linger
        self._watches: dict[ObjectId, _Watch] = {}
        self._read_by: dict[Reader, frozenset[ObjectId]] = {}
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for watch in self._watches.values():
            watch.end()
        await self._group.__aexit__(type_, error, traceback)

    def __len__(self) -> int:
        """Return the number of objects in the cache."""
        return len(self._watches)

    async def read(self, reader: Reader, ids: Iterable[ObjectId]) -> Mapping[ObjectId, Found]:
        """Read objects, and watch them for a reader in place of those that it has read before."""
        wanted = frozenset(id_ for id_ in ids if id_.name or id_.kind not in _RESOURCES)
        for id_ in wanted:
            if id_ not in self._watches:
                watch = self._watches[id_] = _Watch()
                watch.task = self._group.create_task(self._follow(id_, watch), name=f"watch {'/'.join(id_)}")
            self._watches[id_].add(reader)
        before = self._read_by.get(reader, frozenset())
        self._read_by[reader] = wanted
        self._leave(reader, before - wanted)
        return {id_: await self._watches[id_].result() for id_ in wanted}

    def release(self, reader: Reader) -> None:
        """End the watches of objects that nobody else reads."""
        self._leave(reader, self._read_by.pop(reader, frozenset()))

    def _leave(self, reader: Reader, ids: Iterable[ObjectId]) -> None:
        for id_ in ids:
            watch = self._watches[id_]
            watch.readers.discard(reader)
            if not watch.readers:
                # A deleted immutable object may be replaced by another one, which is not noticed without a watch.
                delay = 0 if watch.is_immutable else self._linger
                watch.timer = asyncio.get_running_loop().call_later(delay, self._remove, id_, watch)

    def _remove(self, id_: ObjectId, watch: "_Watch") -> None:
        watch.end()
        if self._watches.get(id_) is watch:
            del self._watches[id_]

    async def _follow(self, id_: ObjectId, watch: "_Watch") -> None:
        """Watch an object until it is known to be immutable, or cancelled."""
        path, selector = id_.kind, None
        if resource := _RESOURCES.get(id_.kind):
            path, selector = (
                f"/api/v1/namespaces/{quote(id_.namespace)}/{resource}",
                f"metadata.name={_escaped(id_.name)}",
            )
        present: dict[str, Object] = {}

        def fail(error: ApiError) -> None:
            if watch.fail(error):
                log.warning("object not read", object="/".join(id_), error=str(error))

        events = list_and_watch(
            self._dependencies.client,
            path,
            field_selector=selector,
            clock=self._dependencies.clock,
            random=self._dependencies.random,
            on_error=fail,
            longest_delay=_LONGEST_DELAY,
        )
        async for type_, obj in events:
            if obj is not None:
                present.pop(obj.metadata.name, None)
                if type_ != "DELETED":
                    present[obj.metadata.name] = decoded = obj.decode()
                    drop_managed_fields(decoded)
                if not watch.is_known:
                    continue  # the list is not complete before SYNCED
            elif watch.is_known:
                continue
            found = present.get(id_.name) if selector else {"items": list(present.values())}
            for key in watch.publish(found):
                self._on_change(key)
            if watch.is_immutable:
                return


def _escaped(value: str) -> str:
    """Escape a value of a field selector: names of objects in a pod are not validated by the API server."""
    return re.sub(r"([\\,=])", r"\\\1", value)


class _Watch:
    """One object: its latest version, and who reads it.

    Attributes:
        readers: who reads the object.
        task: the watch.
        timer: the removal of an object without readers.
        is_known: whether the object, or its absence, was read at least once.
    """

    def __init__(self) -> None:
        self.readers: set[Reader] = set()
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.is_known = False
        self._found: Found = None
        self._answered = asyncio.Event()

    @property
    def is_immutable(self) -> bool:
        return isinstance(self._found, dict) and self._found.get("immutable") is True

    def add(self, reader: Reader) -> None:
        self.readers.add(reader)
        if self.timer:
            self.timer.cancel()
            self.timer = None

    async def result(self) -> Found:
        """Wait for the first answer, and return the latest version."""
        await self._answered.wait()
        return self._found

    def publish(self, found: Found) -> set[str]:
        """Record a version; return the keys of the pods that have read another one."""
        is_first = not self._answered.is_set()
        self._found, self.is_known = found, True
        self._answered.set()
        return set() if is_first else {reader.key for reader in self.readers}

    def fail(self, error: ApiError) -> bool:
        """Record an error, unless a version is known: that one stays. Return whether the error is a new one."""
        if self.is_known:
            return False
        is_new = self._found != Unreadable(error.reason)
        self._found = Unreadable(error.reason)
        self._answered.set()
        return is_new

    def end(self) -> None:
        if self.timer:
            self.timer.cancel()
        if self.task:
            self.task.cancel()
