"""The page of a pod."""

import yaml

from app.audit.service import AuditFilter
from app.pods.headline import headline
from app.pods.queries import MAX_STATUSES
from app.services import get_services
from app.web.query import Flag, Name, Text
from app.web.responses import Response
from app.web.ui.conditions import pod_condition_health
from app.web.ui.logs import LINES, read_end
from app.web.ui.page import EVENTS_PER_PAGE, blueprint, events_page, render
from app.web.ui.pod_charts import charts_of
from app.web.ui.pod_manifest import commands, containers, ports, volumes
from app.web.ui.shown_time import PageQuery
from app.web.ui.timeline import MAX_SCHEDULED, axis, fold, lanes, timeline_entries


class PodQuery(PageQuery):
    """The pod to show, and the container whose log is shown: None for the first."""

    uid: Name
    container: Text = None
    previous: Flag = False
    find: Text = None
    wrap: Flag = False


@blueprint.get("/pod")
def pod() -> Response:
    """Show a pod: an explanation of its state, its timeline, containers, conditions, requests and log."""
    query = PodQuery.from_request()
    services, at, shown_at = get_services(), query.shown.at, query.shown.end
    record = services.history.pod(uid=query.uid, limit=MAX_STATUSES)
    history, redact = record.history, record.redact
    entries = timeline_entries(history.statuses, at=shown_at, deleted_at=record.deleted_at)
    current = next((entry for entry in reversed(entries) if entry.since <= shown_at), None)
    status = redact(current.status) if current else None
    document = {**record.pod, "status": status} if status else record.pod
    begun = sum(entry.when != "next" for entry in entries)
    listed = entries[: begun + MAX_SCHEDULED]
    drawn = lanes(entries, at=shown_at)
    container = query.container or document["spec"]["containers"][0]["name"]
    wanted = AuditFilter(namespace=record.namespace, name=record.name, uid=record.uid)
    is_deleted = history.deletion_before(shown_at) is not None
    return render(
        "pod.html",
        record=record,
        is_deleted=is_deleted,
        deletion=services.history.deletion(record) if is_deleted else None,
        headline=headline(history, now=shown_at),
        sentences=services.history.explain(record, at=shown_at),
        status=current.status if current else None,
        message=status.get("message") if status else None,
        conditions=(status.get("conditions") or []) if status else [],
        condition_health=pod_condition_health,
        columns=current.columns if current else None,
        folds=fold(listed),
        more_scheduled=len(entries) - len(listed),
        lanes=drawn,
        ticks=axis(entries, drawn[0]),
        charts=charts_of(record, query.shown),
        used=services.usage.sentences(record.uid, at=shown_at),
        has_past_usage=services.usage.has_past,
        containers=containers(document, current.status if current else {}, redact),
        document=document,
        yaml=yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=1000),
        ports=ports(document),
        volumes=volumes(document),
        commands=commands(record.namespace, record.name, container),
        query=query,
        container=container,
        log_lines=LINES,
        log=read_end(record, container, at=at, previous=query.previous, find=query.find),
        namesakes=services.queries.namesakes(record.namespace, record.name, uid=record.uid),
        events=events_page(wanted, at, limit=EVENTS_PER_PAGE)[0],
    )
