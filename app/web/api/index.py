"""The root path."""

from flask import Blueprint

from app.web.responses import Response, json_response

blueprint = Blueprint("index", __name__)


@blueprint.get("/")
def index() -> Response:
    """Return 200: the Helm charts of the first providers probe this path, without a token."""
    return json_response({"name": "virtual-kubelet-web"})
