"""`flask pods`: the pods of this node, as they are, were and will be."""

from collections.abc import Iterator
from datetime import datetime

import click

from app.cli.output import Group, as_json, at, lines, printable, table
from app.core.errors import InvalidRequest
from app.core.timestamps import format_age, rfc3339
from app.pods.explain import StatusInterval, readiness, restarts, summary
from app.pods.history import PodRecord, PodSnapshot
from app.services import get_services

pod_argument = click.argument("pod", metavar="NAMESPACE/NAME|UID")


@click.group(cls=Group)
def pods() -> None:
    """Look at the pods of this node. Environment values are masked everywhere."""


@pods.command("list")
@click.option("--namespace", "-n", help="Only pods of this namespace.")
@click.option("--phase", type=click.Choice(["Pending", "Running", "Succeeded", "Failed", "Unknown"]))
@click.option("--deleted", is_flag=True, help="Also the pods that have gone, as they were last.")
@at
@as_json
def list_pods(
    *, namespace: str | None, phase: str | None, deleted: bool, at: datetime | None, as_json: bool
) -> None:
    """List pods, by namespace and name."""
    time = at or get_services().clock()
    found = get_services().history.pods(at=at, namespace=namespace, phase=phase, deleted=deleted)
    if as_json:
        lines(found)
        return
    columns = ("NAMESPACE", "NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "UID")
    table(columns, (_row(pod, time) for pod in found))


@pods.command()
@pod_argument
@at
@as_json
def show(*, pod: str, at: datetime | None, as_json: bool) -> None:
    """Show a pod: as it was last sent, with its status at a time."""
    known, time = get_services().history.find(pod), at or get_services().clock()
    moment = _moment(known, time)
    if as_json:
        lines([{**known.pod, "status": moment.status}])
        return
    _show(known, moment, time)


@pods.command()
@pod_argument
@as_json
def history(*, pod: str, as_json: bool) -> None:
    """Tell what became of a pod: each status and each request, those to come included."""
    services = get_services()
    steps, now = services.history.steps(services.history.find(pod)), services.clock()
    if as_json:
        lines(steps)
    else:
        table(("TIME", "", "WHAT"), ((s.at, "to come" if s.at > now else "", s.summary) for s in steps))


@pods.command()
@pod_argument
@at
@as_json
def explain(*, pod: str, at: datetime | None, as_json: bool) -> None:
    """Say why a pod is in its state, and what comes next, when."""
    known, time = get_services().history.find(pod), at or get_services().clock()
    sentences = get_services().history.explain(known, at=time)
    if as_json:
        lines([{"namespace": known.namespace, "name": known.name, "uid": known.uid, "explanation": sentences}])
        return
    click.echo(f"{known.namespace}/{known.name} (UID {known.uid})")
    for sentence in sentences:
        click.echo(f"  {printable(sentence)}")


def _moment(pod: PodRecord, time: datetime) -> StatusInterval:
    """Pick the status that a pod had at a time, or last before that.

    Raises:
        InvalidRequest: it was not there yet.
    """
    moments = [moment for moment in pod.history.statuses if moment.since <= time]
    if not moments:
        raise InvalidRequest(f"{pod.namespace}/{pod.name} was not there yet at {rfc3339(time)}", field="at")
    return moments[-1]


def _row(pod: PodSnapshot, time: datetime) -> tuple[object, ...]:
    is_gone = pod.deleted_at is not None and pod.deleted_at <= time
    return (
        pod.namespace,
        pod.name,
        readiness(pod.status),
        "Deleted" if is_gone else pod.reason or pod.phase,
        restarts(pod.status),
        format_age(time - pod.created_at),
        pod.status.get("podIP"),
        pod.uid,
    )


def _show(pod: PodRecord, moment: StatusInterval, time: datetime) -> None:
    age = format_age(time - moment.since)
    facts = {
        "Pod": f"{pod.namespace}/{pod.name}",
        "UID": pod.uid,
        "Status": f"{summary(moment.status)}, since {rfc3339(moment.since)} ({age})",
        "IP": moment.status.get("podIP"),
        "Created": pod.created_at,
        "Changed": pod.updated_at,
        "Deleted": pod.history.deleted_at,
    }
    width = max(map(len, facts)) + 1
    for name, value in facts.items():
        if value is not None:
            shown = rfc3339(value) if isinstance(value, datetime) else printable(str(value))
            click.echo(f"{name + ':':<{width}} {shown}")
    click.echo()
    table(("CONTAINER", "IMAGE", "READY", "STATE", "RESTARTS", "ENVIRONMENT"), _containers(pod, moment))
    click.echo()
    table(
        ("CONDITION", "STATUS", "SINCE", "REASON"),
        (
            (c.get("type"), c.get("status"), c.get("lastTransitionTime"), c.get("reason"))
            for c in moment.status.get("conditions") or ()
        ),
    )


def _containers(pod: PodRecord, moment: StatusInterval) -> Iterator[tuple[object, ...]]:
    spec = pod.pod["spec"]
    specs = {c["name"]: c for kind in ("initContainers", "containers") for c in spec.get(kind) or ()}
    for kind in ("initContainerStatuses", "containerStatuses"):
        for container in moment.status.get(kind) or ():
            variables = specs.get(container.get("name"), {}).get("env") or ()
            state = container.get("state") or {}
            yield (
                container.get("name"),
                container.get("image"),
                container.get("ready"),
                ", ".join(f"{word} {(detail or {}).get('reason', '')}".strip() for word, detail in state.items()),
                container.get("restartCount"),
                " ".join(str(variable.get("name")) for variable in variables),
            )
