"""The root, which says only that it is there."""

from flask import Blueprint

from app.web.responses import Response, rendered

blueprint = Blueprint("index", __name__)


@blueprint.get("/")
def index() -> Response:
    """Answer 200: the charts of the first providers probe this path, without a token."""
    return rendered({"name": "virtual-kubelet-web"})
