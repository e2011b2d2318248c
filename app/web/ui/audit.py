"""The audit log, and its export."""

import csv
import io
from collections.abc import Generator, Sequence
from typing import Annotated, Any, Literal, get_args

import orjson

from app.audit import Verb
from app.audit.hash_chain import digest
from app.core.timestamps import rfc3339_micro
from app.db.statement import Row
from app.pods.queries import EventFilter
from app.services import get_services
from app.web.query import Blank, Flag, RowId
from app.web.responses import Response, streaming_response
from app.web.ui.page import EVENTS_PER_PAGE, blueprint, events_page, render
from app.web.ui.shown_time import PageQuery

_EXPORTED = (
    "id", "at", "verb", "code", "namespace", "name", "uid", "node_name", "user_agent", "address", "request_id",
    "revision", "change",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_ROWS_PER_CHUNK = 500
Text = Annotated[str | None, Blank]


class AuditQuery(PageQuery):
    """The filters and the page of the audit log."""

    namespace: Text = None
    name: Text = None
    node: Text = None
    verb: Annotated[Verb | None, Blank] = None
    who: Text = None
    what: Text = None
    refused: Flag = False
    after: RowId = None

    @property
    def wanted(self) -> EventFilter:
        """The filters."""
        return EventFilter(
            namespace=self.namespace,
            name=self.name,
            node=self.node,
            verb=self.verb,
            who=self.who,
            what=self.what,
            refused=self.refused,
            since=self.shown.start,
        )


class ExportQuery(AuditQuery):
    """The filters and the format of an export."""

    format: Literal["csv", "jsonl"] = "jsonl"


@blueprint.get("/audit")
def audit() -> Response:
    """List write requests, newest first: filtered, a page at a time."""
    query = AuditQuery.from_request()
    events, after = events_page(query.wanted, query.moment, after=query.after, limit=EVENTS_PER_PAGE)
    return render(
        "audit.html",
        query=query,
        is_filtered=query.wanted != EventFilter(),
        events=events,
        after=after,
        verbs=get_args(Verb),
        chain=_chain([row for row, _ in events]),
    )


@blueprint.get("/audit/export")
def export() -> Response:
    """Return all matching write requests, newest first, as CSV or JSON Lines."""
    query = ExportQuery.from_request()
    rows = get_services().queries.stream_events(query.wanted, at=query.moment)
    if query.format == "csv":
        response = streaming_response(_csv(rows), content_type="text/csv; charset=utf-8")
    else:
        response = streaming_response(_json_lines(rows), content_type="application/jsonl")
    response.headers.set("Content-Disposition", "attachment", filename=f"audit.{query.format}")
    return response


def _chain(rows: Sequence[Row]) -> dict[str, Any]:
    """Return whether the hash chain is kept, and which events of a page were changed."""
    hashed = [row for row in rows if row.hash is not None]
    changed = [row.id for row in hashed if row.hash != digest(row.previous_hash, row._mapping)]
    return {"is_kept": get_services().settings.audit_hash_chain, "hashed": len(hashed), "changed": changed}


def _exported(row: Row) -> dict[str, Any]:
    values = {name: getattr(row, name) for name in _EXPORTED}
    return {**values, "at": rfc3339_micro(row.at)}


def _json_lines(rows: Generator[Row, None, None]) -> Generator[bytes, None, None]:
    for chunk in _chunks(rows):
        values = ({**row, "change": orjson.loads(row["change"] or "{}")} for row in map(_exported, chunk))
        yield b"".join(orjson.dumps(value) + b"\n" for value in values)


def _csv(rows: Generator[Row, None, None]) -> Generator[str, None, None]:
    yield ",".join(_EXPORTED) + "\r\n"
    for chunk in _chunks(rows):
        text = io.StringIO()
        csv.writer(text).writerows([[_cell(value) for value in _exported(row).values()] for row in chunk])
        yield text.getvalue()


def _cell(value: Any) -> Any:
    """Return a value that no spreadsheet takes for a formula: a client chooses its user agent."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _chunks(rows: Generator[Row, None, None]) -> Generator[list[Row], None, None]:
    chunk: list[Row] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == _ROWS_PER_CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
