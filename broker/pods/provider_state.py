"""The state of pods at the provider, as far as this broker knows it.

Everything here can be read again from Kubernetes and the provider, so nothing is stored across restarts. A
:class:`ProviderState` is changed by its own methods alone.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

import msgspec

from broker.kubernetes.objects import key
from broker.pods.actions import UNKNOWN, PodVersion, ProviderPod
from broker.pods.phase import is_terminal
from broker.pods.provider_payload import Environment, digest, environment_in
from broker.pods.resize import Allocation, allocation_in
from broker.pods.store import PodStore
from broker.types import Object

_MISSES = 2
"""Number of consecutive polls without a status after which a pod is lost: one may fall into a provider's
restart."""


@dataclass(slots=True)
class Termination:
    """A termination at the provider. Times are those of the clock of the event loop, in seconds.

    Attributes:
        uid: UID of the pod.
        grace: grace period of the pod in seconds.
        is_sent: whether the provider has answered the request.
        is_graceful: whether the provider has the extension `gracefulDelete`.
        deadline: time after which the end is no longer awaited.
        poll_at: time of the next poll.
        has_left: whether the provider has reported, by long poll, that the pod has left.
        give_up_at: time after which the last status is no longer awaited; None: the pod has not left.
    """

    uid: str
    grace: int
    is_sent: bool = False
    is_graceful: bool = False
    deadline: float = 0.0
    poll_at: float = 0.0
    has_left: bool = False
    give_up_at: float | None = None


class ProviderState:
    """The state of one pod name at the provider.

    Args:
        pod: the pod that the provider has.
    """

    __slots__ = (
        "_acknowledged",
        "_allocation",
        "_deleted",
        "_environment",
        "_misses",
        "_pod",
        "_status",
        "_terminal",
        "_termination",
        "_waiting",
    )

    def __init__(self, pod: ProviderPod) -> None:
        self._pod = pod
        self._deleted: bytes | None = None
        self._acknowledged = ""
        self._termination: Termination | None = None
        self._misses = 0
        self._environment: tuple[str, bytes] | None = None
        self._allocation: tuple[str, bytes] | None = None
        self._waiting: tuple[str, Mapping[str, str]] | None = None
        self._status: tuple[str, bytes] | None = None
        self._terminal = ""

    @property
    def pod(self) -> ProviderPod:
        """The pod that the provider has; None: no pod; UNKNOWN: to be read."""
        return self._pod

    @property
    def acknowledged(self) -> str:
        """The `resourceVersion` of the pod that the provider has acknowledged; empty before the first."""
        return self._acknowledged

    def has(self, uid: str) -> bool:
        """Return whether the provider has acknowledged the pod with this UID."""
        return isinstance(self._pod, PodVersion) and self._pod.uid == uid

    def record_copy(self, copy: Object | None, *, wanted: str) -> None:
        """Record a pod that was read from the provider, with the environment that it was created with.

        Args:
            copy: the provider's pod; None where it has none.
            wanted: UID of the pod in Kubernetes under the name; used where the copy has no UID.
        """
        self._pod, self._deleted = None, None
        if copy is not None:
            uid = str(copy["metadata"].get("uid") or wanted)
            self._pod = PodVersion(uid, digest(copy))
            self._deleted = None if uid == wanted else msgspec.json.encode(copy)
            self.record_environment(uid, environment_in(copy))
            if self.allocation(uid) is None:
                self.record_allocation(uid, allocation_in(copy))

    def record_written(self, pod: PodVersion) -> None:
        """Record that the provider has acknowledged a create or an update."""
        self._pod, self._misses = pod, 0

    def acknowledge(self, version: str) -> None:
        """Record the `resourceVersion` that the provider is up to date with."""
        self._acknowledged = version

    def mark_absent(self) -> None:
        """Record that the provider has no pod under this name."""
        self._pod, self._deleted, self._acknowledged, self._misses = None, None, "", 0

    def mark_unknown(self) -> None:
        """Record that the provider may or may not have the pod: a create was not confirmed."""
        self._pod = UNKNOWN

    def record_missing(self, uid: str, *, certain: bool) -> bool:
        """Record that the provider has no status of a pod that is to run.

        Args:
            uid: UID of the pod.
            certain: whether one report is enough; else :data:`_MISSES` polls in a row have to miss the pod.

        Returns:
            Whether the pod is lost: it has to be reconciled, and created again.
        """
        if not self.has(uid):
            return False
        self._misses += 1
        if self._misses < _MISSES and not certain:
            return False
        self.mark_absent()
        self.mark_unknown()
        return True

    def record_left(self, uid: str, *, reported: bool) -> bool:
        """Record that the provider no longer has a pod that was to end.

        Args:
            uid: UID of the pod.
            reported: whether the provider has reported it by long poll, with the last status if it knows that.

        Returns:
            Whether the pod has to be reconciled.
        """
        terminating = self.is_terminating(uid)
        if self._termination and terminating:
            self._termination.has_left |= reported
        if not self.has(uid) and not terminating:
            return False
        self.mark_absent()
        return True

    def record_deleted(self, raw: bytes) -> None:
        """Keep the last version of a pod that is gone from Kubernetes, in JSON, for :meth:`delete_body`."""
        self._deleted = raw

    def delete_body(self, key: str) -> Object:
        """Return the body of a delete request, without a grace period, for a pod that Kubernetes no longer has.

        Args:
            key: `namespace/name`.
        """
        if self._deleted is not None:
            copy: Object = msgspec.json.decode(self._deleted)
        else:
            namespace, _, name = key.partition("/")
            uid = self._pod.uid if isinstance(self._pod, PodVersion) else ""
            copy = {"metadata": {"namespace": namespace, "name": name, "uid": uid}, "spec": {"containers": []}}
        copy["metadata"]["deletionGracePeriodSeconds"] = 0
        return copy

    def begin_termination(self, termination: Termination) -> None:
        """Record a termination, which replaces one with a longer grace period."""
        self._termination = termination

    def end_termination(self) -> None:
        """Forget the termination in progress: a further attempt is a new one."""
        self._termination = None

    def is_terminating(self, uid: str) -> bool:
        """Return whether the termination of a pod was requested, or is about to be."""
        return self._termination is not None and self._termination.uid == uid

    def termination(self, uid: str, grace: int) -> Termination | None:
        """Return the termination in progress; None where none is, or the grace period was shortened since."""
        found = self._termination
        return found if found and found.is_sent and found.uid == uid and grace >= found.grace else None

    def environment(self, uid: str) -> Environment:
        """Return the complete environments of a pod by container; empty before one is resolved."""
        if self._environment is None or self._environment[0] != uid:
            return {}
        known: Environment = msgspec.json.decode(self._environment[1])
        return known

    def record_environment(self, uid: str, environment: Environment) -> None:
        """Keep the environment of a pod: later changes of ConfigMaps and Secrets do not reach its containers."""
        self._environment = (uid, msgspec.json.encode(environment))

    def allocation(self, uid: str) -> Allocation | None:
        """Return the resources that the node has allocated to a pod; None before its admission."""
        if self._allocation is None or self._allocation[0] != uid:
            return None
        known: Allocation = msgspec.json.decode(self._allocation[1])
        return known

    def record_allocation(self, uid: str, allocation: Allocation) -> None:
        """Keep the resources of a pod: after a restart of the broker, those of the provider's copy."""
        self._allocation = (uid, msgspec.json.encode(allocation))

    def waiting(self, uid: str) -> Mapping[str, str]:
        """Return the containers whose environment is incomplete: name → message."""
        return self._waiting[1] if self._waiting and self._waiting[0] == uid else {}

    def record_waiting(self, uid: str, waiting: Mapping[str, str]) -> None:
        """Record the containers whose environment is incomplete; see :meth:`waiting`."""
        self._waiting = (uid, waiting) if waiting else None

    def status(self, uid: str) -> bytes | None:
        """Return the status that the provider last reported of a pod, in JSON; None before the first."""
        return self._status[1] if self._status and self._status[0] == uid else None

    def has_ended(self, uid: str) -> bool:
        """Return whether the provider has reported a terminal phase of a pod: none of its containers runs."""
        return bool(uid) and self._terminal == uid

    def record_status(self, uid: str, status: bytes) -> bool:
        """Record the status that the provider reports of a pod, in JSON; return whether it has changed.

        A pod that has ended stays ended: a later status with another phase is ignored.
        """
        self._misses = 0
        ends = is_terminal(status)
        changed = self._status != (uid, status) and (ends or not self.has_ended(uid))
        if changed:
            self._status = (uid, status)
        if ends:
            self._terminal = uid
        return changed


class ProviderStates:
    """The :class:`ProviderState` of each key, which is `namespace/name`.

    Args:
        store: the pods that Kubernetes has.
        on_end: is called with the UID of a pod whenever the provider reports a terminal phase of it.
    """

    def __init__(self, store: PodStore, *, on_end: Callable[[str], None] = lambda _: None) -> None:
        self._store = store
        self._on_end = on_end
        self._states: dict[str, ProviderState] = {}
        self._unlisted: ProviderPod = UNKNOWN

    def get(self, key: str) -> ProviderState:
        """Return the state of a key, created if needed.

        A new one says UNKNOWN before the first :meth:`record_list`, and that there is no pod after it.
        """
        if key not in self._states:
            self._states[key] = ProviderState(self._unlisted)
        return self._states[key]

    def discard(self, key: str) -> None:
        """Remove the state of a key under which neither Kubernetes nor the provider has a pod."""
        if key not in self._store:
            self._states.pop(key, None)

    def record_list(self, copies: Iterable[Object]) -> list[str]:
        """Record the provider's complete list of pods.

        Returns:
            The keys to reconcile: of the pods that were not known to be at the provider.
        """
        listed = {key(copy): copy for copy in copies}
        for name, state in self._states.items():
            if name not in listed and state.pod is UNKNOWN:
                state.mark_absent()
        self._unlisted = None
        found = []
        for name, copy in listed.items():
            state, stored = self.get(name), self._store.get(name)
            if not isinstance(state.pod, PodVersion):
                state.record_copy(copy, wanted=stored.uid if stored else "")
                found.append(name)
        return found

    def active(self) -> list[tuple[str, str]]:
        """Return key and UID of each pod that the provider has and that is neither terminating nor ended."""
        return [
            (name, stored.uid)
            for name, state in self._states.items()
            if (stored := self._store.get(name))
            and state.has(stored.uid)
            and not stored.is_terminating
            and not stored.has_ended
        ]

    def any_left_unseen(self, reported: Collection[str]) -> bool:
        """Return whether a pod that is to end has left the provider without a last status known here.

        Args:
            reported: UIDs of the pods in the provider's complete answer.
        """
        to_end = {stored.key: stored.uid for stored in self._store.terminating()}
        for name, state in self._states.items():
            if (stored := self._store.get(name)) and state.is_terminating(stored.uid):
                to_end[name] = stored.uid
        return any(uid not in reported and not self.get(name).has_ended(uid) for name, uid in to_end.items())

    def record_status(self, key: str, uid: str, status: bytes) -> bool:
        """Record the reported status of a pod; return whether it is a change of a pod that Kubernetes has."""
        stored, state = self._store.get(key), self.get(key)
        if stored is None or stored.uid != uid:
            return False
        changed = state.record_status(uid, status)
        if state.has_ended(uid):
            self._on_end(uid)
        return changed

    def record_missing(self, key: str, uid: str, *, certain: bool = False) -> bool:
        """Record that the provider has no status of a pod; see :meth:`ProviderState.record_missing`.

        A pod that was to end has ended; it is never created again.
        """
        if self._is_to_end(key, uid):
            return self.get(key).record_left(uid, reported=False)
        return self.get(key).record_missing(uid, certain=certain)

    def record_left(self, key: str, uid: str, status: bytes | None) -> bool:
        """Record the provider's report that a pod has left; return whether the pod has to be reconciled.

        Args:
            key: `namespace/name`.
            uid: UID of the pod.
            status: its last status in JSON; None where the provider does not report it.
        """
        if status is not None:
            self.record_status(key, uid, status)
        if self._is_to_end(key, uid):
            return self.get(key).record_left(uid, reported=True)
        return self.get(key).record_missing(uid, certain=True)

    def _is_to_end(self, key: str, uid: str) -> bool:
        stored, state = self._store.get(key), self.get(key)
        is_wanted = stored is not None and stored.uid == uid and not stored.is_terminating and not stored.has_ended
        return not is_wanted or state.has_ended(uid) or state.is_terminating(uid)
