"""Logs of containers."""

from collections.abc import Generator

from flask import Blueprint

from app.core.errors import InvalidRequest
from app.pods.logs import LogOptions
from app.services import get_services
from app.web.long_poll import hold_request
from app.web.query import flag, optional_number, optional_time, required
from app.web.responses import Response, streamed

blueprint = Blueprint("logs", __name__)


@blueprint.get("/getContainerLogs")
def get_container_logs() -> Response:
    """Give the last `tail` lines that a container wrote, as plain text; the other parameters are extensions."""
    container = required("namespace"), required("podName"), required("containerName")
    options = LogOptions(
        tail=optional_number("tail"),
        since_time=optional_time("sinceTime"),
        since_seconds=optional_number("sinceSeconds", least=1),
        limit_bytes=optional_number("limitBytes", least=1),
        timestamps=flag("timestamps"),
        previous=flag("previous"),
        follow=flag("follow"),
    )
    if options.since_time and options.since_seconds:
        raise InvalidRequest("at most one of sinceTime and sinceSeconds may be given", field="sinceTime")
    pieces = followed(container, options) if options.follow else get_services().logs.read(*container, options)
    return streamed(pieces, content_type="text/plain; charset=utf-8")


def followed(container: tuple[str, str, str], options: LogOptions) -> Generator[bytes, None, None]:
    """Give a log as it is written, with this request held open."""
    with hold_request() as pause:
        yield from get_services().logs.read(*container, options, pause=pause)
