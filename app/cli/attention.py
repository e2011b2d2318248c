"""`vkweb attention`: what is wrong with the pods of this node, as the overview of the dashboard shows it."""

from datetime import datetime, timedelta

import click

from app.cli.group import Command
from app.cli.options import as_json, at, color, node_option
from app.cli.output import HEALTH_COLORS, Colored, lines, printable, table
from app.core.timestamps import format_age
from app.pods.attention import ProblemGroup
from app.services import get_services

_REFUSED_IN = timedelta(hours=1)


@click.command(cls=Command)
@node_option("Only pods on this node.")
@color
@at
@as_json
def attention(*, node: str | None, at: datetime | None, as_json: bool) -> None:
    """Show what is wrong with pods. Each problem has a line, the worst is first.

    `vkweb pods list --problem KEY` lists the pods of one; the KEY is in the first column.
    """
    services = get_services()
    time = at or services.clock()
    groups = services.attention.groups(at, node=node)
    if as_json:
        lines(groups)
        return
    if groups:
        table(("PROBLEM", "PODS", "FOR", "EXAMPLES", "ADVICE"), (_row(group, time) for group in groups))
    else:
        click.echo("Nothing is wrong with any pod.")
    refused = services.attention.refused(time - _REFUSED_IN, time, node=node)
    if refused.last:
        pod = f"{refused.last.verb} {refused.last.namespace}/{refused.last.name}: {refused.last.code}"
        count = f"{refused.total} request{'' if refused.total == 1 else 's'} refused in the last hour"
        click.echo(printable(f"{count}, the last was {pod}. vkweb audit tail --outcome refused"))


def _row(group: ProblemGroup, time: datetime) -> tuple[object, ...]:
    examples = ", ".join(f"{pod.namespace}/{pod.name}" for pod in group.examples)
    return (
        Colored(group.key, HEALTH_COLORS[group.health]),
        group.pods,
        format_age(time - group.since),
        examples,
        group.advice,
    )
