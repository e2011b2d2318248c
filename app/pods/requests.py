"""Write requests: which pods each one creates, updates or deletes, by the steps of a :class:`PodWriter`."""

from dataclasses import dataclass
from typing import Literal
from uuid import uuid4

from app.audit import Caller, Verb
from app.core.errors import NotFound
from app.core.timestamps import seconds
from app.kubernetes.manifest import Manifest
from app.kubernetes.pod import ObjectMeta, PodReference
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

        | The pod with this name and UID | create              | update                                  |
        |--------------------------------|---------------------|-----------------------------------------|
        | is live                        | updated             | updated                                 |
        | is being deleted               | unchanged           | updated                                 |
        | is gone                        | restored            | restored, if another pod has the name   |
        | is unknown                     | created             | created, if another pod has the name    |

        Before it is restored or created, the deletion of a live pod that has the name begins. Without a UID, the
        request is for the live pod that has the name, an update also for one that is being deleted, otherwise for
        a pod with a new UID.

        Raises:
            NotFound: no pod has the name, for an update.
            InvalidRequest: the runtime refuses the pod, or a pod with another name has the UID.
            Unchanged: the pod is as requested, or is being deleted and requested again.
            Unavailable: no address or no disk space is left for it.
        """
        manifest, namespace, name = self.manifest, self.pod.namespace, self.pod.name
        named = writer.find(namespace, name)
        if named is None and self.verb == "update":
            raise pod_not_found(namespace, name)
        live = None if named is None or is_ending(named) else named
        if not self.pod.uid:
            meant = named if self.verb == "update" else live
            manifest = manifest.with_uid(meant.uid if meant else str(uuid4()))
        uid = manifest.pod.metadata.uid or ""
        same = named if named and named.uid == uid else writer.find_ending(namespace, name, uid)
        if same and (same.digest == manifest.digest or (self.verb == "create" and is_ending(same))):
            raise Unchanged
        writer.check_disk(manifest)
        if same:
            writer.update(same, manifest)
            return
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
