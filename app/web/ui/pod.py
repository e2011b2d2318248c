"""The page of a pod."""

from shlex import quote
from typing import Annotated, Any

import orjson
import yaml

from app.audit.service import AuditFilter
from app.db.statement import Row
from app.kubernetes.manifest import Manifest
from app.kubernetes.redact import mask_values, redact_pod
from app.kubernetes.resources import pod_limits, pod_requests
from app.pods.explain import PodHistory, explain
from app.pods.headline import headline
from app.pods.queries import MAX_STATUSES
from app.services import get_services
from app.web.query import Blank, Flag, Name
from app.web.responses import Response
from app.web.ui.chart import ChartTable
from app.web.ui.conditions import pod_condition_health
from app.web.ui.logs import LINES, read_end
from app.web.ui.page import EVENTS_PER_PAGE, blueprint, events_page, render
from app.web.ui.pod_charts import usage_charts, usage_times
from app.web.ui.shown_time import DEFAULT_WINDOW, PageQuery
from app.web.ui.timeline import MAX_SCHEDULED, axis, container_state, fold, lanes, timeline_entries


class PodQuery(PageQuery):
    """The pod to show, and the container whose log is shown: None for the first."""

    uid: Name
    container: Annotated[str | None, Blank] = None
    previous: Flag = False
    find: Annotated[str | None, Blank] = None
    wrap: Flag = False


@blueprint.get("/pod")
def pod() -> Response:
    """Show a pod: an explanation of its state, its timeline, containers, conditions, requests and log."""
    query = PodQuery.from_request()
    at = query.moment
    shown_at = query.shown.end
    queries = get_services().queries
    record = queries.pod(query.uid)
    intervals = queries.statuses(record, limit=MAX_STATUSES)
    history = PodHistory.of(record, intervals)
    entries = timeline_entries(intervals, at=shown_at, deleted_at=record.deleted_at)
    current = next((entry for entry in reversed(entries) if entry.since <= shown_at), None)
    document = orjson.loads(record.pod)
    status = {"status": current.status} if current else {}
    shown = redact_pod({**document, **status})
    begun = sum(entry.when != "next" for entry in entries)
    listed = entries[: begun + MAX_SCHEDULED]
    drawn = lanes(entries, at=shown_at)
    used = get_services().usage.sentences(record.uid, at=shown_at)
    containers = _containers(document, current.status if current else {})
    container = query.container or document["spec"]["containers"][0]["name"]
    wanted = AuditFilter(namespace=record.namespace, name=record.name, uid=record.uid)
    return render(
        "pod.html",
        record=record,
        is_deleted=history.deletion_before(shown_at) is not None,
        headline=headline(history, now=shown_at),
        sentences=mask_values(
            [
                *explain(history, now=shown_at),
                *used,
                *get_services().volumes.sentences(record.uid, at=shown_at),
            ],
            document,
        ),
        status=current.status if current else None,
        message=mask_values(current.status.get("message"), document) if current else None,
        conditions=mask_values(current.status.get("conditions") or [], document) if current else [],
        condition_health=pod_condition_health,
        columns=current.columns if current else None,
        folds=fold(listed),
        more_scheduled=len(entries) - len(listed),
        lanes=drawn,
        ticks=axis(entries, drawn[0]),
        charts=_usage_charts(record, query),
        used=used,
        has_past_usage=get_services().usage.has_past,
        containers=containers,
        document=shown,
        yaml=yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=1000),
        ports=_ports(shown),
        volumes=_volumes(shown),
        commands=_commands(record, container),
        query=query,
        container=container,
        log_lines=LINES,
        log=read_end(record, container, at=at, previous=query.previous, find=query.find),
        namesakes=queries.namesakes(record),
        events=events_page(wanted, at, limit=EVENTS_PER_PAGE)[0],
    )


def _containers(document: dict[str, Any], status: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row of the table of containers for each container, from its spec and its status."""
    statuses = {
        container.get("name"): container
        for kind in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
        for container in status.get(kind) or ()
    }
    return [
        {
            "name": container.get("name"),
            "kind": kind,
            "image": container.get("image") or "",
            "variables": [variable.get("name") for variable in container.get("env") or ()],
            "requests": (container.get("resources") or {}).get("requests") or {},
            "limits": (container.get("resources") or {}).get("limits") or {},
            "state": container_state(statuses.get(container.get("name"), {})),
            "message": mask_values(_message(statuses.get(container.get("name"), {})), document),
            "last": mask_values(
                (statuses.get(container.get("name"), {}).get("lastState") or {}).get("terminated"), document
            ),
            "restarts": statuses.get(container.get("name"), {}).get("restartCount", 0),
        }
        for field, kind in (("initContainers", "init"), ("containers", ""), ("ephemeralContainers", "ephemeral"))
        for container in document["spec"].get(field) or ()
    ]


def _message(status: dict[str, Any]) -> str | None:
    """Return why a container waits or has ended, as the runtime says it."""
    state = status.get("state") or {}
    return (state.get("waiting") or state.get("terminated") or {}).get("message")


def _usage_charts(record: Row, query: PodQuery) -> list[ChartTable]:
    """Return the charts of a pod's usage in the range of the page, else in an hour, as far as the pod existed."""
    usage = get_services().usage
    end = min(query.shown.end, record.deleted_at or query.shown.end)
    start = max(query.shown.start or end - DEFAULT_WINDOW, record.created_at)
    if not usage.has_past or end < start:
        return []
    times = usage_times(start, end)
    spec = Manifest.stored(record.pod, digest="").pod.spec
    requested = pod_requests(spec)
    return usage_charts(
        times,
        usage.levels(times, uid=record.uid),
        requests={"cpu": requested.cpu_millicores / 1000, "memory": requested.memory_bytes},
        limits={name: float(amount) for name, amount in pod_limits(spec).items()},
    )


def _ports(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the ports of the containers, each with the name of its container."""
    containers = [*(document["spec"].get("initContainers") or ()), *document["spec"]["containers"]]
    return [{**port, "container": one.get("name")} for one in containers for port in one.get("ports") or ()]


def _volumes(document: dict[str, Any]) -> list[dict[str, str]]:
    """Return name, type and source of each volume, and where containers mount it."""
    containers = [*(document["spec"].get("initContainers") or ()), *document["spec"]["containers"]]
    mounts = [(one.get("name"), mount) for one in containers for mount in one.get("volumeMounts") or ()]
    found = []
    for volume in document["spec"].get("volumes") or ():
        kind = next((key for key in volume if key != "name"), "emptyDir")
        source = volume.get(kind) or {}
        places = [
            f"{name}:{mount.get('mountPath')}" for name, mount in mounts if mount.get("name") == volume["name"]
        ]
        found.append({
            "name": volume["name"],
            "kind": kind,
            "source": str(source.get("name") or source.get("secretName") or source.get("claimName") or ""),
            "mounts": ", ".join(places),
        })  # fmt: skip
    return found


def _commands(record: Row, container: str) -> list[str]:
    """Return commands of kubectl about a pod."""
    pod = f"-n {quote(record.namespace)} {quote(record.name)}"
    return [
        f"kubectl describe pod {pod}",
        f"kubectl logs {pod} -c {quote(container)} --previous",
        f"kubectl logs {pod} -c {quote(container)} --follow",
        f"kubectl exec {pod} -c {quote(container)} -it -- sh",
        f"kubectl get events -n {quote(record.namespace)} --for pod/{quote(record.name)}",
        f"kubectl delete pod {pod}",
    ]
