"""The contract, for programs that make clients and tests from it."""

from functools import cache
from pathlib import Path

import orjson
import yaml
from flask import Blueprint

from app.web.responses import Response

blueprint = Blueprint("openapi", __name__)


@blueprint.get("/openapi.json")
def openapi() -> Response:
    """Give the contract and the extensions of this provider as an OpenAPI 3.1 document."""
    return Response(document())


@cache
def document() -> bytes:
    """Read the document, which is written by hand, when it is first asked for."""
    text = Path(__file__).with_name("openapi.yaml").read_bytes()
    return orjson.dumps(yaml.safe_load(text))
