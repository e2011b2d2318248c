"""Redirects from a page to the same page at the previous or the next change of what it shows."""

from typing import Literal

from flask import redirect, request
from werkzeug.wrappers import Response

from app.services import get_services
from app.web.query import Text
from app.web.ui.formats import iso
from app.web.ui.page import blueprint, make_url
from app.web.ui.shown_time import PARAMETERS, PageQuery

Direction = Literal["previous", "next"]


class StepQuery(PageQuery):
    """The parameters of the page; `uid` where it shows one pod."""

    uid: Text = None


@blueprint.get("/<any(previous, next):direction>/<any(overview, pods, pod, audit):page>")
def step(direction: Direction, page: str) -> Response:
    """Redirect to a page at the previous or the next change; after the last change, the page is live."""
    query = StepQuery.from_request()
    changes, shown = get_services().changes, query.shown
    if direction == "next":
        time = changes.after(shown.end, until=shown.now, uid=query.uid)
    else:
        time = changes.before(shown.end, uid=query.uid) or shown.at
    others = dict.fromkeys((*PARAMETERS, "after"))
    return redirect(make_url(page, {**request.args.to_dict(), **others, "at": time and iso(time)}))
