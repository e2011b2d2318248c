"""Store the columns by which pods are listed beside the documents that contain them.

Existing statuses get the columns of their containers: READY and RESTARTS of a pod whose init containers have not
completed can differ from those of `kubectl get pods`. `reason` of existing statuses was that of the pod before
that of a container; `kubectl get pods` has it the other way round, so an evicted pod is `ContainerStatusUnknown`.

Revision ID: 0012
Revises: 0011
"""

import json
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

OF_CONTAINERS = {
    "ready_containers": sa.Integer,
    "containers": sa.Integer,
    "restarts": sa.Integer,
    "termination_reason": sa.Text,
}
OF_MANIFEST = {"labels": sa.Text, "images": sa.Text, "owner": sa.Text}
CURRENT = {
    "phase": sa.Text,
    "reason": sa.Text,
    **OF_CONTAINERS,
    "cpu_millicores": sa.BigInteger,
    "memory_bytes": sa.BigInteger,
}
LIST = (
    "fleet", "node_name", "namespace", "name", "id", "deleted_at", "deletion_requested_at", "uid", "pod_ip",
    "created_at", "labels", "images", "owner", "status_at", "phase", "reason", "ready_containers", "containers",
    "restarts", "termination_reason", "cpu_millicores", "memory_bytes",
)  # fmt: skip
PODS_AT_ONCE = 500


def upgrade() -> None:
    for name, type_ in OF_CONTAINERS.items():
        op.add_column("pod_statuses", sa.Column(name, type_(), nullable=True))
    op.add_column("pods", sa.Column("status_at", sa.DateTime(timezone=True), nullable=True))
    for name, type_ in {**OF_MANIFEST, **CURRENT}.items():
        op.add_column("pods", sa.Column(name, type_(), nullable=True))
    for pods in _batches():
        _fill(pods)
    op.execute(
        """UPDATE pods SET status_at = (
    SELECT max(s.effective_at) FROM pod_statuses s
    WHERE s.pod_id = pods.id AND (s.effective_at <= pods.updated_at OR s.effective_at <= (
        SELECT f.settled_at FROM fleets f WHERE f.name = pods.fleet)))"""
    )
    status = "FROM pod_statuses s WHERE s.pod_id = pods.id AND s.effective_at = pods.status_at"
    values = ", ".join(f"{name} = (SELECT s.{name} {status})" for name in CURRENT)
    op.execute(f"UPDATE pods SET {values}")  # noqa: S608 - from the constants above
    if op.get_bind().dialect.name == "sqlite":
        op.create_index("ix_pods_list", "pods", list(LIST), sqlite_where=sa.text("deleted_at IS NULL"))


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.drop_index("ix_pods_list", "pods")
    for name in ("status_at", *OF_MANIFEST, *CURRENT):
        op.drop_column("pods", name)
    for name in OF_CONTAINERS:
        op.drop_column("pod_statuses", name)


def _batches() -> Iterator[list[Any]]:
    """Yield the rows of all pods."""
    query = sa.text("SELECT id, pod FROM pods WHERE id > :after ORDER BY id LIMIT :limit")
    after = -1
    while rows := op.get_bind().execute(query, {"after": after, "limit": PODS_AT_ONCE}).all():
        yield list(rows)
        after = rows[-1].id


def _fill(pods: list[Any]) -> None:
    """Store the columns of pods and of their statuses."""
    connection = op.get_bind()
    documents = {row.id: json.loads(row.pod) for row in pods}
    connection.execute(
        sa.text("UPDATE pods SET labels = :labels, images = :images, owner = :owner WHERE id = :id"),
        [{"id": id_, **_of_manifest(document)} for id_, document in documents.items()],
    )
    statuses = connection.execute(
        sa.text("SELECT pod_id, effective_at, status FROM pod_statuses WHERE pod_id BETWEEN :first AND :last"),
        {"first": pods[0].id, "last": pods[-1].id},
    ).all()
    values = [
        {"pod_id": row.pod_id, "at": row.effective_at, **_of_status(documents[row.pod_id], json.loads(row.status))}
        for row in statuses
    ]
    if values:
        columns = ", ".join(f"{name} = :{name}" for name in OF_CONTAINERS) + ", reason = coalesce(:shown, reason)"
        connection.execute(
            sa.text(f"UPDATE pod_statuses SET {columns} WHERE pod_id = :pod_id AND effective_at = :at"),  # noqa: S608
            values,
        )


def _of_manifest(pod: dict[str, Any]) -> dict[str, Any]:
    metadata, spec = pod["metadata"], pod["spec"]
    kinds = ("containers", "initContainers", "ephemeralContainers")
    images = [container.get("image") for kind in kinds for container in spec.get(kind) or ()]
    owners = [owner for owner in metadata.get("ownerReferences") or () if owner.get("controller")]
    return {
        "labels": json.dumps(metadata.get("labels") or {}, ensure_ascii=False, separators=(",", ":")),
        "images": _stored(" ".join(dict.fromkeys(filter(None, images)))),
        "owner": _stored(f"{owners[0].get('kind')}/{owners[0].get('name')}") if owners else None,
    }


def _stored(text: str) -> str:
    """Replace NUL, which PostgreSQL does not store."""
    return text.replace("\0", "\ufffd")


def _of_status(pod: dict[str, Any], status: dict[str, Any]) -> dict[str, Any]:
    init = pod["spec"].get("initContainers") or ()
    sidecars = {container["name"] for container in init if container.get("restartPolicy") == "Always"}
    of_init, containers = status.get("initContainerStatuses") or (), status.get("containerStatuses") or ()
    counted = [*(container for container in of_init if container["name"] in sidecars), *containers]
    states = [
        (container.get(kind) or {}).get("terminated") or {}
        for container in (*of_init, *containers)
        for kind in ("state", "lastState")
    ]
    failures = [state for state in states if state.get("exitCode")]
    last = max(failures, key=lambda state: str(state.get("finishedAt")), default={})
    return {
        "ready_containers": sum(bool(container.get("ready")) for container in counted),
        "containers": len(pod["spec"]["containers"]) + len(sidecars),
        "restarts": sum(container.get("restartCount") or 0 for container in counted),
        "termination_reason": status.get("reason") or last.get("reason"),
        "shown": _shown(containers) if status.get("reason") else None,
    }


def _shown(containers: Any) -> str | None:
    """Return the reason of the first container that waits or has ended; None without one."""
    states = [container.get("state") or {} for container in containers]
    reasons = [
        (state.get("waiting") or {}).get("reason") or (state.get("terminated") or {}).get("reason")
        for state in states
    ]
    return next(filter(None, reasons), None)
