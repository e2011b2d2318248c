"""What this broker knows of pods on their way between Kubernetes and the provider; all of it can be had anew."""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from broker.kubernetes.objects import Object, key
from broker.pods.actions import UNKNOWN, Held, Pod
from broker.pods.provider_payload import Environment, digest, environment_in
from broker.pods.store import PodStore

_MISSES = 2
"""How often in a row a provider has to say that it does not know a pod which it has taken on."""


@dataclass(slots=True)
class Ending:
    """A deletion under way.

    Attributes:
        uid: the pod's.
        grace: seconds that the pod was given to end.
        deadline: when they are over, by the clock of the event loop.
    """

    uid: str
    grace: int
    deadline: float


@dataclass(slots=True)
class Record:
    """What is known under one key.

    Attributes:
        held: what the provider has.
        copy: that pod in JSON, where Kubernetes has none any more: what a delete is sent with.
        version: the resourceVersion of the pod that the provider has acknowledged; whatever is newer is looked at.
        ending: the deletion under way.
        misses: how often in a row the provider had no status of the pod.
    """

    held: Held
    copy: bytes | None = None
    version: str = ""
    ending: Ending | None = None
    misses: int = 0
    _environment: tuple[str, bytes] | None = None
    _reported: tuple[str, bytes] | None = None

    def hold(self, copy: Object | None, *, wanted: str) -> None:
        """Take what the provider says it has: a pod, with the environment that it was given, or none.

        Args:
            copy: the pod.
            wanted: the UID that Kubernetes has under the name; it is taken for the copy's where that has none.
        """
        self.held, self.copy = None, None
        if copy is not None:
            uid = str(copy["metadata"].get("uid") or wanted)
            self.held = Pod(uid, digest(copy))
            self.copy = None if uid == wanted else msgspec.json.encode(copy)
            self.remember_environment(uid, environment_in(copy))

    def let_go(self) -> None:
        """Take it that the provider has nothing under this name any more."""
        self.held, self.copy, self.version, self.misses = None, None, "", 0

    def body(self, key: str) -> Object:
        """Give what to send to have the provider delete what Kubernetes has no more."""
        if self.copy is not None:
            copy: Object = msgspec.json.decode(self.copy)
            return copy
        namespace, _, name = key.partition("/")
        uid = self.held.uid if isinstance(self.held, Pod) else ""
        return {"metadata": {"namespace": namespace, "name": name, "uid": uid}, "spec": {"containers": []}}

    def environment(self, uid: str) -> Environment:
        """Give the environment that a pod was given, by container; empty where it has not been resolved."""
        if self._environment is None or self._environment[0] != uid:
            return {}
        known: Environment = msgspec.json.decode(self._environment[1])
        return known

    def remember_environment(self, uid: str, environment: Environment) -> None:
        """Remember what a pod was given: it gets no other, whatever becomes of what it was made of."""
        self._environment = (uid, msgspec.json.encode(environment))

    def reported(self, uid: str) -> bytes | None:
        """Give the status, in JSON, that the provider reported last of a pod."""
        return self._reported[1] if self._reported and self._reported[0] == uid else None

    def report(self, uid: str, status: bytes) -> bool:
        """Take what the provider reports of a pod; tell whether it is news."""
        self.misses = 0
        news = self._reported != (uid, status)
        self._reported = (uid, status)
        return news


class Records:
    """The record of each key; one that nobody has looked up is as good as none.

    Args:
        store: the pods that Kubernetes has.
    """

    def __init__(self, store: PodStore) -> None:
        self._store = store
        self._records: dict[str, Record] = {}
        self._unheard: Held = UNKNOWN

    def of(self, key: str) -> Record:
        """Give the record of a key.

        Of one that nobody has heard of, the provider has nothing, once it has told what it has.
        """
        if key not in self._records:
            self._records[key] = Record(self._unheard)
        return self._records[key]

    def forget(self, key: str) -> None:
        """Forget a key that neither Kubernetes nor the provider has a pod under."""
        if key not in self._store:
            self._records.pop(key, None)

    def compare(self, copies: Iterable[Object]) -> list[str]:
        """Take in every pod that the provider has.

        Returns:
            The keys to look at: of the pods that were not known to be there.
        """
        listed = {key(copy): copy for copy in copies}
        for name, record in self._records.items():
            if name not in listed and record.held is UNKNOWN:
                record.held = None
        self._unheard = None
        news = []
        for name, copy in listed.items():
            record, stored = self.of(name), self._store.get(name)
            if not isinstance(record.held, Pod):
                record.hold(copy, wanted=stored.uid if stored else "")
                news.append(name)
        return news

    def running(self) -> list[tuple[str, str]]:
        """List key and UID of each pod that the provider has taken on and that is to go on there."""
        return [
            (name, stored.uid)
            for name, record in self._records.items()
            if isinstance(record.held, Pod)
            and (stored := self._store.get(name))
            and stored.uid == record.held.uid
            and not stored.is_terminating
            and not stored.has_ended
        ]

    def report(self, key: str, uid: str, status: bytes) -> bool:
        """Take what the provider reports of a pod; tell whether it is news of a pod that Kubernetes has."""
        stored = self._store.get(key)
        return stored is not None and stored.uid == uid and self.of(key).report(uid, status)

    def miss(self, key: str, uid: str, *, surely: bool = False) -> bool:
        """Take it that the provider has no status of a pod that it had taken on.

        Args:
            key: the pod's.
            uid: the pod's.
            surely: it is known to be gone; without, it has to be missed more than once.

        Returns:
            Whether the pod counts as lost: it is to be looked at, and made again.
        """
        record = self.of(key)
        if not isinstance(record.held, Pod) or record.held.uid != uid:
            return False
        record.misses += 1
        if record.misses < _MISSES and not surely:
            return False
        record.let_go()
        record.held = UNKNOWN
        return True
