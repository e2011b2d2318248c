"""The steps of a write request: create, restore, update and delete a pod."""

from datetime import datetime, timedelta
from typing import Any

import orjson
import structlog

from app.audit import Caller, Event, Verb
from app.audit.diff import pod_changes
from app.core.errors import InvalidRequest
from app.core.timestamps import rfc3339
from app.db.statement import Row
from app.kubernetes import status as statuses
from app.kubernetes.manifest import Manifest
from app.kubernetes.pod import ObjectMeta, PodReference
from app.kubernetes.resources import pod_requests
from app.kubernetes.status import Transition
from app.pods.accepted import accept, accepted_pod
from app.pods.context import FleetContext
from app.pods.list_columns import OF_STATUS, manifest_columns
from app.pods.removal import end, is_ending, waiting_status
from app.pods.rows import FOREVER, Unchanged, last_transition
from app.pods.transaction import FleetTransaction
from app.runtimes import AcceptedPod
from app.runtimes.base import Timeline
from app.runtimes.observed import build_lost_status

log = structlog.get_logger("app")


class PodWriter:
    """The steps of one write request, in a transaction that may have others.

    Args:
        transaction: the transaction.
        fleet: the fleet of the pods.
        caller: the client that sent the request, for the audit log.
        verb: the request, for the audit log.

    Attributes:
        touched: the pods whose timelines changed, for `Runtime.sync` after the commit.
    """

    def __init__(self, transaction: FleetTransaction, fleet: FleetContext, *, caller: Caller, verb: Verb) -> None:
        self._transaction = transaction
        self._rows = transaction.rows
        self._runtime = fleet.runtime
        self._disk = fleet.disk
        self._caller = caller
        self._verb = verb
        self.touched: list[AcceptedPod] = []

    def find(self, namespace: str, name: str) -> Row | None:
        """Return the row of the newest pod with a name that is not gone; None where there is none."""
        found = self._rows.named(namespace, name)
        ending = next(filter(is_ending, found), None)
        if ending and self._has_ended(ending):
            found = self._rows.named(namespace, name)
        return found[0] if found else None

    def find_ending(self, namespace: str, name: str, uid: str) -> Row | None:
        """Return the row of the pod with a name and UID that is being deleted; None where there is none."""
        found = self._rows.named(namespace, name)
        return next((row for row in found if is_ending(row) and row.uid == uid), None)

    def find_by_uid(self, uid: str) -> Row | None:
        """Return the row of the pod with a UID, gone or not; None where there is none."""
        return self._rows.with_uid(uid)

    def check_disk(self, manifest: Manifest) -> None:
        """Check that the disk has room for a pod, besides those that earlier steps of the transaction stored.

        Raises:
            DiskShortage: it has not.
        """
        self._disk.check(self._transaction.pod_bytes + len(manifest.text))
        self._transaction.pod_bytes += len(manifest.text)

    def create(self, manifest: Manifest, *, replaced: str | None = None) -> None:
        """Insert a new pod and its statuses. It waits if another pod of its name has not ended.

        Args:
            replaced: the UID of the pod that had the name until now, for the audit log.
        """
        now = self._transaction.now
        metadata = manifest.pod.metadata
        pod, timeline = self._begin(manifest, now=now)
        self._rows.insert_statuses(metadata.uid or "", manifest, timeline.transitions)
        self._rows.insert_pod(
            namespace=metadata.namespace,
            name=metadata.name,
            uid=metadata.uid or "",
            revision=self._transaction.revision,
            **_new_pod(pod, timeline, now=now),
        )
        self._record(metadata, pod.node_name, {"replaced": replaced}, timeline)

    def restore(self, row: Row, manifest: Manifest, *, replaced: str | None = None) -> None:
        """Restore a pod that is gone, for a create request with its UID, as :meth:`create`.

        Raises:
            InvalidRequest: the UID belongs to a pod with another name.
        """
        metadata = manifest.pod.metadata
        if row.deleted_at is None or (row.namespace, row.name) != (metadata.namespace, metadata.name):
            raise InvalidRequest(f"belongs to {row.namespace}/{row.name}", field="metadata.uid")
        now, _ = self._transaction.next_timestamp(row)
        pod, timeline = self._begin(manifest, now=now)
        self._rows.delete_statuses_from(row.id, at=now)
        self._transaction.mark_left(row.id, left_at=row.deleted_at)
        self._rows.insert_statuses(row.uid, manifest, timeline.transitions)
        self._transaction.update_pod(row, **_new_pod(pod, timeline, now=now))
        self._record(row, pod.node_name, {"revived": row.uid, "replaced": replaced}, timeline)

    def update(self, row: Row, manifest: Manifest) -> None:
        """Update a pod that is not gone. The runtime continues from its current status.

        The timeline of a pod that is being deleted does not change.
        """
        now, current = self._transaction.next_timestamp(row)
        before = accepted_pod(self._runtime, row)
        if is_ending(row):
            manifest = _with_deletion_of(row, manifest)
        after = accepted_pod(self._runtime, row, manifest)
        row_after = row._replace(
            pod=manifest.text,
            digest=manifest.digest,
            updated_at=now,
            controller_uid=manifest.pod.metadata.controller_uid,
            node_name=after.node_name,
            **manifest_columns(manifest.pod),
        )
        timeline = self._updated_timeline(after, before=before.manifest, current=current, now=now)
        if not is_ending(row):
            upcoming = timeline.transitions or [Transition(now, current.status)]
            is_same = statuses.encode_status(upcoming[0].status) == statuses.encode_status(current.status)
            if is_same and pod_requests(before.manifest.pod.spec) == pod_requests(manifest.pod.spec):
                upcoming = upcoming[1:]  # the stored status holds on, with the time from which it holds
            self._rows.delete_statuses_from(row.id, at=now)
            self._rows.insert_statuses(row.uid, manifest, upcoming)
            row_after = row_after._replace(continues_at=timeline.continues_at)
        self._transaction.update_pod(row_after)
        if self._runtime.reports_usage:
            self._keep_usage(row.id, before, after, now=now)
        changed = pod_changes(orjson.loads(row.pod), orjson.loads(manifest.text))
        self._record(row, after.node_name, {"changed": changed}, timeline)

    def delete(self, row: Row, *, grace: timedelta | None = None) -> None:
        """Begin the deletion of a pod, or shorten its grace period; insert the statuses of its termination.

        Args:
            row: a pod that is not gone.
            grace: the grace period of its containers; None for that of the pod's spec.

        Raises:
            Unchanged: it is being deleted, and would not end sooner.
        """
        now, current = self._transaction.next_timestamp(row)
        manifest = Manifest.stored(row.pod, digest=row.digest)
        grace = manifest.pod.spec.grace if grace is None else grace
        requested_at, grace_ends_at = row.deletion_requested_at or now, now + grace
        shortens = is_ending(row)
        if shortens and grace_ends_at >= row.grace_ends_at:
            raise Unchanged
        manifest = manifest.with_deletion(rfc3339(grace_ends_at), int(grace.total_seconds()))
        row = row._replace(
            pod=manifest.text, updated_at=now, deletion_requested_at=requested_at, grace_ends_at=grace_ends_at
        )
        pod = accepted_pod(self._runtime, row, manifest)
        if row.starts_at:
            self.touched.append(pod)
            timeline = self._runtime.delete(pod, current=current, grace=grace_ends_at - requested_at, now=now)
        else:  # it has waited for another pod of its name, and no container has run
            timeline = Timeline([Transition(now, build_lost_status(pod, at=now, previous=current.status))])
        self._rows.delete_statuses_from(row.id, at=now)
        self._rows.insert_statuses(row.uid, manifest, timeline.transitions)
        last = (timeline.transitions or [current])[-1]
        self._end(row, last, continues_at=timeline.continues_at, now=now)
        if self._verb == "delete":
            self._record(
                row, row.node_name, {"gracePeriodSeconds": int(grace.total_seconds())} if shortens else None
            )

    def _begin(self, manifest: Manifest, *, now: datetime) -> tuple[AcceptedPod, Timeline]:
        """Return a new pod and its timeline. One that waits has no `starts_at`; the runtime only validates it."""
        metadata = manifest.pod.metadata
        waits = any(map(is_ending, self._rows.named(metadata.namespace, metadata.name)))
        starts_at = None if waits else now
        pod = accept(self._runtime, manifest, pod_ip=self._address(manifest), accepted_at=now, starts_at=starts_at)
        timeline = self._runtime.create(pod, now=now)
        if waits:
            timeline = Timeline([Transition(now, waiting_status(pod, at=now))], problems=timeline.problems)
        else:
            self.touched.append(pod)
        return pod, timeline

    def _updated_timeline(
        self, pod: AcceptedPod, *, before: Manifest, current: Transition, now: datetime
    ) -> Timeline:
        if pod.starts_at is None:
            problems = self._runtime.create(pod, now=now).problems
            status = waiting_status(pod, at=now, previous=current.status)
            return Timeline([Transition(now, status)], problems=problems)
        self.touched.append(pod)
        return self._runtime.update(pod, before=before, current=current, now=now)

    def _keep_usage(self, pod_id: int, before: AcceptedPod, after: AcceptedPod, *, now: datetime) -> None:
        """Insert the usage that a pod had until now, if an update changed it."""
        try:
            usages = [self._runtime.usage(pod) for pod in (before, after)]
        except InvalidRequest:
            raise
        except Exception:  # the update is worth more than the record
            log.exception("the runtime failed to read the usage of a pod", uid=after.manifest.pod.metadata.uid)
            return
        records = [usage.record() if usage else None for usage in usages]
        if records[0] and records[0] != records[1]:
            self._rows.insert_usage_change(pod_id, changed_at=now, usage=records[0])

    def _has_ended(self, row: Row) -> bool:
        """Remove a pod whose stored end has passed; return whether it was removed."""
        last = last_transition(self._transaction.connection, row.id, until=FOREVER)
        now = self._transaction.now
        return (
            last.status.is_terminal
            and last.effective_at <= now
            and self._end(row, last, continues_at=None, now=now)
        )

    def _end(self, row: Row, last: Transition, *, continues_at: datetime | None, now: datetime) -> bool:
        ended = end(self._transaction, self._runtime, row, last=last, continues_at=continues_at, now=now)
        self.touched += ended.started
        return ended.is_gone

    def _address(self, manifest: Manifest) -> str | None:
        if manifest.pod.spec.host_network or not self._runtime.has_pod_network:
            return None
        return self._transaction.addresses.take()

    def _record(
        self,
        pod: Row | ObjectMeta,
        node_name: str,
        change: dict[str, Any] | None = None,
        timeline: Timeline | None = None,
    ) -> None:
        change = {k: v for k, v in (change or {}).items() if v is not None}
        if timeline and timeline.problems:
            change["problems"] = timeline.problems
        event = Event(
            at=self._transaction.now,
            fleet=self._transaction.fleet,
            caller=self._caller,
            verb=self._verb,
            pod=PodReference(namespace=pod.namespace, name=pod.name, uid=pod.uid, node_name=node_name),
            code=200,
            revision=self._transaction.revision,
            change=change,
        )
        self._rows.record(event)


def _new_pod(pod: AcceptedPod, timeline: Timeline, *, now: datetime) -> dict[str, Any]:
    """Return the columns of a pod that was created at a time, without those that identify it."""
    return {
        "pod": pod.manifest.text,
        "digest": pod.manifest.digest,
        "pod_ip": pod.placement.pod_ip,
        "created_at": now,
        "updated_at": now,
        "starts_at": pod.starts_at,
        "deletion_requested_at": None,
        "grace_ends_at": None,
        "deleted_at": None,
        "continues_at": timeline.continues_at,
        "controller_uid": pod.manifest.pod.metadata.controller_uid,
        "node_name": pod.node_name,
        "status_at": now,
        **manifest_columns(pod.manifest.pod),
        **dict.fromkeys(OF_STATUS),
    }


def _with_deletion_of(row: Row, manifest: Manifest) -> Manifest:
    """Return a manifest with the deletion timestamp and grace period of a stored pod."""
    metadata = orjson.loads(row.pod)["metadata"]
    return manifest.with_deletion(metadata["deletionTimestamp"], metadata["deletionGracePeriodSeconds"])
