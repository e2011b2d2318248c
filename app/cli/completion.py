"""Shell completion of namespaces and pod names.

The database is read each time that a shell asks. Where it cannot be read, nothing is completed.
"""

from collections.abc import Callable
from contextlib import suppress

import click
from flask.cli import ScriptInfo

from app.core.errors import ProviderError
from app.pods.queries import PodQueries
from app.services import get_services

_MOST = 200


def complete_pod(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the live pods whose `NAMESPACE/NAME` begins with a text."""
    return _complete(ctx, lambda queries: queries.names(incomplete, limit=_MOST))


def complete_namespace(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the namespaces of live pods that begin with a text."""
    return _complete(ctx, lambda queries: queries.namespaces(incomplete, limit=_MOST))


def _complete(ctx: click.Context, read: Callable[[PodQueries], list[str]]) -> list[str]:
    with suppress(ProviderError, SystemExit), ctx.ensure_object(ScriptInfo).load_app().app_context():
        return read(get_services().queries)
    return []
