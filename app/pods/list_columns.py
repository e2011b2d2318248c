"""The columns by which pods are listed: filtered, sorted and counted.

The problem: a list of 50,000 pods that is filtered by status or label would read and decode two documents of each.

The rule: what a list needs is stored beside the documents when these are written. Each status has its columns in
`pod_statuses`. Those of the status that holds now are also in `pods`, with columns of the manifest: a write copies
them where it inserts a status that holds already, and the statement that publishes due statuses copies those that
became due. On SQLite, the index `ix_pods_list` contains them all, so that a list of the present reads no document.
A list of a past time reads the copies too, of the pods whose status has not changed since, and the columns of
`pod_statuses` for the others: see `app.pods.list_parts`.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from app.kubernetes.pod import Pod
from app.kubernetes.printer import print_pod, termination_reason
from app.kubernetes.resources import pod_requests
from app.kubernetes.status import PodStatus

OF_STATUS = (
    "phase", "reason", "ready_containers", "containers", "restarts", "termination_reason", "cpu_millicores",
    "memory_bytes",
)  # fmt: skip
"""The columns of a status, in `pod_statuses` and `pods`."""
OF_MANIFEST = ("labels", "images", "owner")
"""The columns of a manifest, in `pods`."""


def status_columns(pod: Pod, statuses: list[PodStatus]) -> list[dict[str, Any]]:
    """Return the columns `OF_STATUS` of each status of a pod."""
    requested = pod_requests(pod.spec)
    found = []
    for status in statuses:
        columns = print_pod(pod, status)
        found.append({
            "phase": status.phase,
            "reason": None if columns.status == status.phase else columns.status,
            "ready_containers": columns.ready_containers,
            "containers": columns.containers,
            "restarts": columns.restarts,
            "termination_reason": status.reason or termination_reason(status),
            "cpu_millicores": requested.cpu_millicores,
            "memory_bytes": requested.memory_bytes,
        })  # fmt: skip
    return found


def manifest_columns(pod: Pod) -> dict[str, Any]:
    """Return the columns `OF_MANIFEST` of a pod."""
    controller = pod.metadata.controller
    images = dict.fromkeys(container.image for container in pod.spec.all_containers if container.image)
    return {
        "labels": orjson.dumps(pod.metadata.labels or {}).decode(),
        "images": _stored(" ".join(images)),
        "owner": _stored(f"{controller.kind}/{controller.name}") if controller else None,
    }


def search_text(row: Mapping[str, Any]) -> str:
    """Return the column in which a search looks, of a row of `pods`: one comparison replaces six."""
    texts = (row[name] for name in ("images", "owner", "pod_ip", "node_name", "uid"))
    return " ".join((f"{row['namespace']}/{row['name']}", *(text for text in texts if text is not None)))


def _stored(text: str) -> str:
    """Replace NUL, which PostgreSQL does not store."""
    return text.replace("\0", "\ufffd")
