"""The log of a container, as the page of a pod shows it and as plain text.

Programs write escape sequences for terminals, such as colours. They are left out of what is shown and searched; a
download has the log as it was written.
"""

import re
from codecs import getincrementaldecoder
from collections.abc import Generator
from contextlib import closing
from datetime import datetime
from io import StringIO
from typing import NamedTuple

from app.core.errors import InvalidRequest, NotFound
from app.pods.history import PodRecord
from app.pods.logs import LogOptions
from app.services import get_services
from app.web.api.logs import read_log
from app.web.query import Flag, Name, Text
from app.web.responses import Response, streaming_response
from app.web.ui.page import blueprint
from app.web.ui.shown_time import PageQuery

LINES = 200
"""The lines at the end of a log that a page shows."""
_ESCAPE_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)|[ -/]*[0-Z\\^-~])")
"""Control sequences, operating system commands and short sequences of ECMA-48."""


class LogQuery(PageQuery):
    """The container whose log is returned, the time up to which, and a text that its lines have."""

    uid: Name
    container: Name
    previous: Flag = False
    follow: Flag = False
    find: Text = None
    download: Flag = False


class LogEnd(NamedTuple):
    """The end of a log.

    Attributes:
        text: the last lines that match.
        is_cut: whether there are lines before these that match.
        problem: why there is no log; None if there is one.
    """

    text: str
    is_cut: bool
    problem: str | None


@blueprint.get("/logs")
def logs() -> Response:
    """Return the last lines of a container's log as plain text; with `follow`, also the lines to come."""
    query = LogQuery.from_request()
    record = get_services().history.pod(uid=query.uid, limit=1)
    tail = None if query.download or query.find else LINES
    options = LogOptions(tail=tail, follow=query.follow, previous=query.previous)
    chunks = _read(record, query.container, options, at=query.shown.at)
    if not query.download:
        chunks = print_log(chunks, find=query.find)
    response = streaming_response(chunks, content_type="text/plain; charset=utf-8")
    if query.download:
        response.headers.set("Content-Disposition", "attachment", filename=f"{record.name}-{query.container}.log")
    return response


def read_end(
    record: PodRecord, container: str, *, at: datetime | None, previous: bool, find: str | None
) -> LogEnd:
    """Return the last lines of a container's log, or the reason why there is none.

    Args:
        at: the time up to which the log is read; None for the present.
        find: the text that each line has, in upper or lower case; None for all lines.
    """
    options = LogOptions(tail=None if find else LINES + 1, previous=previous)
    try:
        text = b"".join(print_log(_read(record, container, options, at=at), find=find)).decode()
    except (NotFound, InvalidRequest) as exc:
        return LogEnd("", False, str(exc))
    lines = _lines(text)
    return LogEnd("".join(lines[-LINES:]), len(lines) > LINES, None)


def print_log(chunks: Generator[bytes, None, None], *, find: str | None) -> Generator[bytes, None, None]:
    """Yield a log as UTF-8, without escape sequences of terminals: a chunk for each one, and the rest at the end.

    Args:
        find: the text that each line has, in upper or lower case; None for all lines.
    """
    decoder = getincrementaldecoder("utf-8")("replace")
    rest = ""
    with closing(chunks):
        for chunk in chunks:
            text = rest + decoder.decode(chunk)
            end = text.rfind("\n") + 1
            if not find and "\x1b" not in text[end:]:  # else what follows may belong to it
                end = len(text)
            rest = text[end:]
            yield _print(text[:end], find)
    yield _print(rest + decoder.decode(b"", final=True), find)


def _read(
    record: PodRecord, container: str, options: LogOptions, *, at: datetime | None
) -> Generator[bytes, None, None]:
    """Yield a log in chunks: that of a past time and of a deleted pod as far as the runtime keeps it."""
    if at or record.deleted_at:
        return get_services().logs.read_past(record.uid, container, options, at=at)
    return read_log(record.namespace, record.name, container, options)


def _print(text: str, find: str | None) -> bytes:
    text = _ESCAPE_SEQUENCE.sub("", text)
    if find:
        text = "".join(line for line in _lines(text) if find.lower() in line.lower())
    return text.encode()


def _lines(text: str) -> list[str]:
    """Return the lines with their ends, as `tail` counts them: a line of a log may have other separators."""
    return list(StringIO(text, newline="\n"))
