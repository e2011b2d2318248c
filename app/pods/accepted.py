"""Pods as runtimes take them."""

from collections.abc import Iterable
from datetime import datetime

import msgspec
import structlog

from app.core.nodes import internal_ips
from app.db.statement import Row
from app.kubernetes.manifest import Manifest
from app.runtimes import AcceptedPod, Placement, Runtime, Unavailable

log = structlog.get_logger("app")


def accept(
    runtime: Runtime,
    manifest: Manifest,
    *,
    pod_ip: str | None,
    accepted_at: datetime,
    starts_at: datetime | None,
) -> AcceptedPod:
    """Return a new pod with the addresses of its node."""
    settings = runtime.settings
    node_name = manifest.pod.spec.node_name or settings.node_name
    host_ips = internal_ips(runtime.node_override(node_name).addresses or ()) or settings.host_ips
    return AcceptedPod(
        manifest=manifest,
        placement=Placement(host_ips=host_ips, pod_ip=pod_ip),
        node_name=node_name,
        accepted_at=accepted_at,
        starts_at=starts_at,
    )


def accepted_pod(runtime: Runtime, row: Row, manifest: Manifest | None = None) -> AcceptedPod:
    """Return the pod of a row. The row has `pod`, `digest`, `pod_ip`, `continues_at` and the times.

    Args:
        manifest: the pod's manifest, instead of the stored one.
    """
    requested_at = row.deletion_requested_at
    manifest = manifest or Manifest.stored(row.pod, digest=row.digest)
    return msgspec.structs.replace(
        accept(runtime, manifest, pod_ip=row.pod_ip, accepted_at=row.created_at, starts_at=row.starts_at),
        deletion_requested_at=requested_at,
        grace=row.grace_ends_at - requested_at if requested_at and row.grace_ends_at else None,
        continues_at=row.continues_at,
    )


def sync_pods(runtime: Runtime, pods: Iterable[AcceptedPod]) -> None:
    """Call `Runtime.sync` for pods whose timelines changed, after the commit."""
    for pod in pods:
        try:
            runtime.sync(pod)
        except Unavailable as exc:
            uid = pod.manifest.pod.metadata.uid
            log.warning("the runtime cannot sync a pod now", uid=uid, problem=str(exc))
        except Exception:  # the change is committed; the runtime catches up when it is next asked
            log.exception("the runtime failed to sync a pod", uid=pod.manifest.pod.metadata.uid)
