"""The OpenAPI document, for generators of clients and tests."""

from functools import cache
from pathlib import Path

import orjson
import yaml
from flask import Blueprint

from app.web.responses import Response

blueprint = Blueprint("openapi", __name__)


@blueprint.get("/openapi.json")
def openapi() -> Response:
    """Return the contract and the extensions of this provider as an OpenAPI 3.1 document."""
    return Response(document())


@cache
def document() -> bytes:
    """Return `openapi.yaml`, which is written by hand, as JSON; it is converted on the first call."""
    text = Path(__file__).with_name("openapi.yaml").read_bytes()
    return orjson.dumps(yaml.safe_load(text))
