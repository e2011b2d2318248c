"""The audit log, and its export."""

import csv
import io
from collections.abc import Generator, Sequence
from itertools import islice
from typing import Annotated, Any, Literal, get_args

import orjson

from app.audit import Verb
from app.audit.hash_chain import digest
from app.audit.service import AuditFilter, chunk_sizes
from app.core.timestamps import rfc3339_micro
from app.services import get_services
from app.web.query import Blank, Flag, RowId, Text
from app.web.responses import Response, streaming_response
from app.web.ui.page import EVENTS_PER_PAGE, blueprint, events_page, render
from app.web.ui.shown_time import PageQuery

_EXPORTED = (
    "id", "at", "verb", "code", "namespace", "name", "uid", "node_name", "user_agent", "address", "request_id",
    "revision", "change",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
EventRow = dict[str, Any]


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
    def wanted(self) -> AuditFilter:
        """The filters."""
        return AuditFilter(
            namespace=self.namespace,
            name=self.name,
            node=self.node,
            verb=self.verb,
            who=self.who,
            what=self.what,
            outcome="refused" if self.refused else None,
            since=self.shown.start,
        )


class ExportQuery(AuditQuery):
    """The filters and the format of an export."""

    format: Literal["csv", "jsonl"] = "jsonl"


@blueprint.get("/audit")
def audit() -> Response:
    """List write requests, newest first: filtered, a page at a time."""
    query = AuditQuery.from_request()
    events, after = events_page(query.wanted, query.shown.at, after=query.after, limit=EVENTS_PER_PAGE)
    return render(
        "audit.html",
        query=query,
        is_filtered=query.wanted != AuditFilter(),
        events=events,
        after=after,
        verbs=get_args(Verb),
        chain=_chain([event for event, _ in events]),
    )


@blueprint.get("/audit/export")
def export() -> Response:
    """Return all matching write requests, newest first, as CSV or JSON Lines."""
    query = ExportQuery.from_request()
    events = get_services().audit.events(query.wanted, at=query.shown.at, newest_first=True)
    if query.format == "csv":
        response = streaming_response(_csv(events), content_type="text/csv; charset=utf-8")
    else:
        response = streaming_response(_json_lines(events), content_type="application/jsonl")
    response.headers.set("Content-Disposition", "attachment", filename=f"audit.{query.format}")
    return response


def _chain(events: Sequence[EventRow]) -> dict[str, Any]:
    """Return whether the hash chain is kept, and which events of a page were changed."""
    hashed = [event for event in events if event["hash"] is not None]
    changed = [event["id"] for event in hashed if event["hash"] != digest(event["previous_hash"], event)]
    return {"is_kept": get_services().settings.audit_hash_chain, "hashed": len(hashed), "changed": changed}


def _exported(event: EventRow) -> dict[str, Any]:
    return {**{name: event[name] for name in _EXPORTED}, "at": rfc3339_micro(event["at"])}


def _json_lines(events: Generator[EventRow, None, None]) -> Generator[bytes, None, None]:
    for chunk in _chunks(events):
        values = ({**event, "change": orjson.loads(event["change"] or "{}")} for event in map(_exported, chunk))
        yield b"".join(orjson.dumps(value) + b"\n" for value in values)


def _csv(events: Generator[EventRow, None, None]) -> Generator[str, None, None]:
    yield ",".join(_EXPORTED) + "\r\n"
    for chunk in _chunks(events):
        text = io.StringIO()
        csv.writer(text).writerows([[_cell(value) for value in _exported(event).values()] for event in chunk])
        yield text.getvalue()


def _cell(value: Any) -> Any:
    """Return a value that no spreadsheet takes for a formula: a client chooses its user agent."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _chunks(events: Generator[EventRow, None, None]) -> Generator[list[EventRow], None, None]:
    for size in chunk_sizes():
        if not (chunk := list(islice(events, size))):
            return
        yield chunk
