"""Write requests: which pods each one creates, updates or deletes, by the steps of a :class:`PodWriter`."""

from dataclasses import dataclass
from typing import Literal
from uuid import uuid4

from app.audit import Caller, Verb
from app.core.errors import NotFound
from app.core.timestamps import seconds
from app.kubernetes.pod import Manifest, ObjectMeta, PodReference
from app.pods.removal import is_ending
from app.pods.rows import Unchanged
from app.pods.writer import PodWriter


@dataclass(frozen=True)
class PutRequest:
    """A request to create or update a pod."""

    verb: Literal["create", "update"]
    manifest: Manifest
    caller: Caller

    @property
    def pod(self) -> ObjectMeta:
        """The pod of the request."""
        return self.manifest.pod.metadata

    def apply(self, writer: PodWriter) -> None:
        """Create, update, restore or replace a pod.

        Raises:
            NotFound: no live pod has the name, for an update.
            InvalidRequest: the runtime refuses the pod.
            Unchanged: the pod is as requested, or is being deleted and requested again.
            Unavailable: no address or no disk space is left for it.
        """
        manifest, metadata = self.manifest, self.manifest.pod.metadata
        found = writer.find(metadata.namespace, metadata.name)
        if found is None and self.verb == "update":
            raise pod_not_found(metadata.namespace, metadata.name)
        live = None if found is None or is_ending(found) else found
        if not metadata.uid:
            named = found if self.verb == "update" else live
            manifest = manifest.with_uid(named.uid if named else str(uuid4()))
        uid = manifest.pod.metadata.uid or ""
        if found and found.uid != uid:
            found = writer.find_ending(metadata.namespace, metadata.name, uid)
        if found and found.uid == uid:
            if found.digest == manifest.digest or (self.verb == "create" and is_ending(found)):
                raise Unchanged
            writer.check_disk(manifest)
            writer.update(found, manifest)
            return
        writer.check_disk(manifest)
        if live:
            writer.delete(live)
        replaced = live.uid if live else None
        if known := writer.find_by_uid(uid):
            writer.restore(known, manifest, replaced=replaced)
        else:
            writer.create(manifest, replaced=replaced)


@dataclass(frozen=True)
class DeleteRequest:
    """A request to delete a pod, or to shorten the grace period of its deletion."""

    pod: PodReference
    caller: Caller
    verb: Verb = "delete"

    def apply(self, writer: PodWriter) -> None:
        """Begin the deletion of the pod.

        Raises:
            NotFound: no pod has the name, or none with that UID.
            Unchanged: it is being deleted, and would not end sooner.
        """
        pod = self.pod
        found = writer.find(pod.namespace, pod.name)
        if found and pod.uid and pod.uid != found.uid:
            found = writer.find_ending(pod.namespace, pod.name, pod.uid)
        if found is None:
            raise pod_not_found(pod.namespace, pod.name)
        grace = pod.deletion_grace_period_seconds
        writer.delete(found, grace=None if grace is None else seconds(grace))


WriteRequest = PutRequest | DeleteRequest


def pod_not_found(namespace: str, name: str) -> NotFound:
    """Return the error for a name that no pod has."""
    return NotFound(f'pod "{name}" is not in namespace "{namespace}"')
