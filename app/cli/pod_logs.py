"""`vkweb pods logs`: the log of a container."""

from datetime import datetime

import click

from app.cli.options import TIME
from app.cli.output import wait_for_reader
from app.cli.pods import pod_argument, pods
from app.pods.history import PodRecord
from app.pods.logs import LogOptions
from app.pods.watch import never_wait
from app.services import get_services

_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"


@pods.command()
@pod_argument
@click.option("--container", "-c", metavar="NAME", help="Container; default the first one.")
@click.option("--follow", "-f", is_flag=True, help="Print new lines as they are written, until Ctrl-C.")
@click.option("--previous", "-p", is_flag=True, help="Print the log of the previous run of the container.")
@click.option("--tail", type=int, metavar="N", help="Only the last lines; -1 for all, the default.")
@click.option("--since", type=TIME, help="Lines at or after this time, or since a duration ago.")
@click.option("--timestamps", is_flag=True, help="Print the time of each line.")
def logs(
    *,
    pod: str,
    container: str | None,
    follow: bool,
    previous: bool,
    tail: int | None,
    since: datetime | None,
    timestamps: bool,
) -> None:
    """Print the log of a container. That of a deleted pod is there as long as the runtime keeps it."""
    record, services = get_services().history.find(pod), get_services()
    options = LogOptions(tail=tail, since_time=since, timestamps=timestamps, previous=previous, follow=follow)
    name = container or _default_container(record)
    if record.history.deleted_at is None:
        pause = wait_for_reader if follow else never_wait
        chunks = services.logs.read(record.namespace, record.name, name, options, pause=pause)
    else:
        chunks = services.logs.read_past(record.uid, name, options)
    for chunk in chunks:
        click.echo(chunk, nl=False)


def _default_container(record: PodRecord) -> str:
    """Return the container that kubectl chooses, and name it where there are several."""
    names = [container["name"] for container in record.pod["spec"]["containers"]]
    named = (record.pod["metadata"].get("annotations") or {}).get(_DEFAULT_CONTAINER)
    if named in names:
        return str(named)
    if len(names) > 1:
        click.echo(f'Defaulted container "{names[0]}" out of: {", ".join(names)}', err=True)
    return str(names[0])
