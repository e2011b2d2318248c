"""Pods as runtimes take them."""

from collections.abc import Iterable

import structlog

from app.db.statement import Row
from app.kubernetes.pod import Manifest
from app.runtimes import AcceptedPod, Runtime

log = structlog.get_logger("app")


def accepted_pod(runtime: Runtime, row: Row) -> AcceptedPod:
    """Return the pod of a row. The row has `pod`, `digest`, `pod_ip` and the times."""
    requested_at = row.deletion_requested_at
    return runtime.accepted(
        Manifest.stored(row.pod, digest=row.digest),
        pod_ip=row.pod_ip,
        accepted_at=row.created_at,
        starts_at=row.starts_at,
        deletion_requested_at=requested_at,
        grace=row.grace_ends_at - requested_at if requested_at and row.grace_ends_at else None,
    )


def sync_pods(runtime: Runtime, pods: Iterable[AcceptedPod]) -> None:
    """Call `Runtime.sync` for pods whose timelines changed, after the commit."""
    for pod in pods:
        try:
            runtime.sync(pod)
        except Exception:  # the change is committed; the runtime catches up when it is next asked
            log.exception("the runtime failed to sync a pod", uid=pod.manifest.pod.metadata.uid)
