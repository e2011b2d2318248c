"""`vkweb pods`: pods, their history, and an explanation of their state."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from operator import attrgetter
from typing import Any, TypeVar, get_args

import click
import msgspec

from app.cli.completion import complete_namespace, complete_pod
from app.cli.group import Group
from app.cli.options import Parsed, as_json, at, color, node_option
from app.cli.output import HEALTH_COLORS, Colored, Table, lines, printable, table, wait_for_reader
from app.core.errors import InvalidRequest
from app.core.quantity import format_usage
from app.core.timestamps import format_age, rfc3339
from app.kubernetes.label_selector import LabelSelector, parse_label_selector
from app.kubernetes.stats import ContainerStats, PodStats
from app.kubernetes.status import Phase
from app.pods.attention import PROBLEMS
from app.pods.explain import StatusInterval, summary
from app.pods.follow import follow_pods
from app.pods.history import PodRecord, PodSnapshot
from app.pods.pod_filter import SORT_KEYS, PodFilter, Sort
from app.services import get_services

Command = TypeVar("Command", bound=Callable[..., Any])


pod_argument = click.argument("pod", metavar="NAMESPACE/NAME|UID", shell_complete=complete_pod)
namespace_option = click.option(
    "--namespace", "-n", help="Only pods in this namespace.", shell_complete=complete_namespace
)
selector_option = click.option(
    "--selector", "-l", type=Parsed("selector", parse_label_selector), default="",
    help="Only pods with these labels, such as app=web,tier in (a,b),!canary.",
)  # fmt: skip

wide_option = click.option(
    "--output", "-o", "wide", type=click.Choice(["wide"]), callback=lambda _, __, value: value == "wide",
    help="Print a column for the node, too.",
)  # fmt: skip


@click.group(cls=Group)
def pods() -> None:
    """Show the pods of this node, past and present. Environment values are redacted."""


@pods.command("list")
@namespace_option
@selector_option
@click.option("--status", multiple=True, help="Only pods with this STATUS, such as CrashLoopBackOff; repeatable.")
@click.option(
    "--phase",
    type=click.Choice(get_args(Phase)),
    help="Only pods in this phase.",
)
@click.option(
    "--problem", type=click.Choice(list(PROBLEMS)), help="Only pods with this problem; see `vkweb attention`."
)
@node_option("Only pods on this node.")
@click.option(
    "--sort-by", "sort", type=Parsed("key", Sort.parse), default="name", show_default=True,
    help=f"{', '.join(SORT_KEYS)}; -KEY for the reverse order. cpu and memory are requests: pods top has usage.",
)  # fmt: skip
@click.option("--deleted", is_flag=True, help="Also deleted pods, with their last status.")
@click.option("--watch", "-w", is_flag=True, help="Then print each change, until Ctrl-C.")
@wide_option
@color
@at
@as_json
def list_pods(
    *,
    sort: Sort,
    deleted: bool,
    watch: bool,
    wide: bool,
    at: datetime | None,
    as_json: bool,
    **conditions: Any,
) -> None:
    """List pods."""
    services = get_services()
    if watch and (at or deleted):
        raise click.UsageError("--watch shows the present: without --at and --deleted")
    wanted = PodFilter(**conditions)
    if watch:
        batches: Iterable[Iterable[PodSnapshot]] = follow_pods(
            services.history, services.watch, wanted, sort=sort, pause=wait_for_reader
        )
    else:
        batches = [services.history.pods(wanted, at=at, sort=sort, deleted=deleted)]
    node = ["NODE"] if wide else []
    shown = Table(("NAMESPACE", "NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", *node, "UID"))
    for batch in batches:
        if as_json:
            lines(batch)
        else:
            time = at or services.clock()
            shown.print(_row(pod, time, wide=wide) for pod in batch)


@pods.command()
@pod_argument
@at
@as_json
def show(*, pod: str, at: datetime | None, as_json: bool) -> None:
    """Show the latest spec of a pod, and its status."""
    record, time = get_services().history.find(pod), at or get_services().clock()
    interval = _interval_at(record, time)
    if as_json:
        lines([{**record.pod, "status": interval.status}])
        return
    _show(record, interval, time)


@pods.command()
@namespace_option
@selector_option
@node_option("Only pods on this node.")
@click.option("--containers", is_flag=True, help="Show each container.")
@click.option("--sort-by", "sort", type=click.Choice(["name", "cpu", "memory"]), default="name", show_default=True)
@wide_option
@at
@as_json
def top(
    *,
    namespace: str | None,
    selector: LabelSelector,
    node: str | None,
    containers: bool,
    sort: str,
    wide: bool,
    at: datetime | None,
    as_json: bool,
) -> None:
    """Show the CPU and memory usage of pods with running containers. With --sort-by, the highest is first."""
    found = get_services().usage.pods(at, namespace=namespace, selector=selector, node=node)
    if sort != "name":
        of = attrgetter("cpu.usage_nano_cores" if sort == "cpu" else "memory.working_set_bytes")
        found.sort(key=of, reverse=True)
    if as_json:
        lines({**msgspec.structs.asdict(stats), "cpu": stats.cpu, "memory": stats.memory} for stats in found)
        return
    nodes = get_services().queries.node_names() if wide else None
    names = ("NAMESPACE", "NAME", *(["CONTAINER"] if containers else []))
    titles = (*names, "CPU(cores)", "MEMORY(bytes)", *(["NODE"] if wide else []))
    table(titles, _usages(found, nodes, containers=containers))


@pods.command()
@pod_argument
@as_json
def history(*, pod: str, as_json: bool) -> None:
    """List the requests and statuses of a pod, also scheduled ones."""
    services = get_services()
    entries, now = services.history.steps(services.history.find(pod)), services.clock()
    if as_json:
        lines(entries)
    else:
        table(("TIME", "", "EVENT"), ((e.at, "scheduled" if e.at > now else "", e.summary) for e in entries))


@pods.command()
@pod_argument
@at
@as_json
def explain(*, pod: str, at: datetime | None, as_json: bool) -> None:
    """Explain why a pod is in its state, and what happens next."""
    record, time = get_services().history.find(pod), at or get_services().clock()
    sentences = get_services().history.explain(record, at=time)
    if as_json:
        identity = {name: getattr(record, name) for name in ("namespace", "name", "uid", "node_name")}
        lines([{**identity, "explanation": sentences}])
        return
    click.echo(f"{record.namespace}/{record.name} (UID {record.uid}) on node {record.node_name}")
    for sentence in sentences:
        click.echo(f"  {printable(sentence)}")


def _usages(
    pods: list[PodStats], nodes: Mapping[str, str] | None, *, containers: bool
) -> Iterator[tuple[object, ...]]:
    """Yield rows as `kubectl top pods` prints them: millicores and MiB; then the node, by UID, if given."""
    for pod in pods:
        node = [nodes.get(pod.pod_ref.uid)] if nodes is not None else []
        name = pod.pod_ref.namespace, pod.pod_ref.name
        for usage in pod.containers if containers else [pod]:
            names = (*name, usage.name) if isinstance(usage, ContainerStats) else name
            yield *names, *format_usage(usage.cpu.usage_nano_cores, usage.memory.working_set_bytes), *node


def _interval_at(pod: PodRecord, time: datetime) -> StatusInterval:
    """Return the status of a pod at a time; of a deleted pod, the last one.

    Raises:
        InvalidRequest: the pod did not exist yet.
    """
    begun = [interval for interval in pod.history.statuses if interval.since <= time]
    if not begun:
        raise InvalidRequest(f"{pod.namespace}/{pod.name} did not exist yet at {rfc3339(time)}", field="at")
    return begun[-1]


def _row(pod: PodSnapshot, time: datetime, *, wide: bool) -> tuple[object, ...]:
    is_gone = pod.deleted_at is not None and pod.deleted_at <= time
    return (
        pod.namespace,
        pod.name,
        pod.columns.ready,
        "Deleted" if is_gone else Colored(pod.columns.status, HEALTH_COLORS[pod.health]),
        pod.columns.format_restarts(time),
        format_age(time - pod.created_at),
        pod.status.get("podIP"),
        *([pod.node_name] if wide else []),
        pod.uid,
    )


def _show(pod: PodRecord, interval: StatusInterval, time: datetime) -> None:
    age = format_age(time - interval.since)
    fields = {
        "Pod": f"{pod.namespace}/{pod.name}",
        "UID": pod.uid,
        "Status": f"{summary(interval, at=time)}, since {rfc3339(interval.since)} ({age})",
        "Node": pod.node_name,
        "IP": interval.status.get("podIP"),
        "Created": pod.created_at,
        "Updated": pod.updated_at,
        "Deleted": pod.history.deleted_at,
    }
    width = max(map(len, fields)) + 1
    for name, value in fields.items():
        if value is not None:
            shown = rfc3339(value) if isinstance(value, datetime) else printable(str(value))
            click.echo(f"{name + ':':<{width}} {shown}")
    click.echo()
    table(("CONTAINER", "IMAGE", "READY", "STATE", "RESTARTS", "ENVIRONMENT"), _containers(pod, interval))
    click.echo()
    table(
        ("CONDITION", "STATUS", "SINCE", "REASON"),
        (
            (c.get("type"), c.get("status"), c.get("lastTransitionTime"), c.get("reason"))
            for c in interval.status.get("conditions") or ()
        ),
    )


def _containers(pod: PodRecord, interval: StatusInterval) -> Iterator[tuple[object, ...]]:
    spec = pod.pod["spec"]
    specs = {c["name"]: c for field in ("initContainers", "containers") for c in spec.get(field) or ()}
    for field in ("initContainerStatuses", "containerStatuses"):
        for container in interval.status.get(field) or ():
            variables = specs.get(container.get("name"), {}).get("env") or ()
            state = container.get("state") or {}
            yield (
                container.get("name"),
                container.get("image"),
                container.get("ready"),
                ", ".join(f"{kind} {(detail or {}).get('reason', '')}".strip() for kind, detail in state.items()),
                container.get("restartCount"),
                " ".join(str(variable.get("name")) for variable in variables),
            )
