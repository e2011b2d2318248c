"""Container logs."""

from collections.abc import Generator

from flask import Blueprint

from app.core.errors import InvalidRequest
from app.pods.logs import LogOptions
from app.services import get_services
from app.web.long_poll import hold_request
from app.web.query import Flag, Name, Number, PositiveNumber, Query, Time
from app.web.responses import Response, streaming_response

blueprint = Blueprint("logs", __name__)


class LogQuery(Query):
    """The parameters of `/getContainerLogs`; see :class:`app.pods.logs.LogOptions`."""

    namespace: Name
    pod_name: Name
    container_name: Name
    tail: Number | None = None
    since_time: Time | None = None
    since_seconds: PositiveNumber | None = None
    limit_bytes: PositiveNumber | None = None
    timestamps: Flag = False
    previous: Flag = False
    follow: Flag = False


@blueprint.get("/getContainerLogs")
def get_container_logs() -> Response:
    """Return the log of a container as plain text. All parameters but the names and `tail` are extensions."""
    query = LogQuery.from_request()
    if query.since_time and query.since_seconds:
        raise InvalidRequest("sinceTime and sinceSeconds exclude each other", field="sinceTime")
    options = LogOptions(**query.model_dump(exclude={"namespace", "pod_name", "container_name"}))
    chunks = read_log(query.namespace, query.pod_name, query.container_name, options)
    return streaming_response(chunks, content_type="text/plain; charset=utf-8")


def read_log(namespace: str, pod: str, container: str, options: LogOptions) -> Generator[bytes, None, None]:
    """Yield a log in chunks; with `options.follow`, this request is held open until the container ends.

    Raises:
        InvalidRequest: the options do not fit the state of the container.
        NotFound: there is no such pod or container.
        Unavailable: too many requests are held open.
    """
    if options.follow:
        return _follow(namespace, pod, container, options)
    return get_services().logs.read(namespace, pod, container, options)


def _follow(namespace: str, pod: str, container: str, options: LogOptions) -> Generator[bytes, None, None]:
    with hold_request() as pause:
        yield from get_services().logs.read(namespace, pod, container, options, pause=pause)
