"""Logs of containers."""

from flask import Blueprint

from app.api.query import optional_int, required
from app.api.responses import Response, plain
from app.provider import provider

blueprint = Blueprint("logs", __name__)


@blueprint.get("/getContainerLogs")
def get_container_logs() -> Response:
    """Give the last `tail` lines that a container wrote, as plain text."""
    return plain(
        provider().pods.logs(
            required("namespace"),
            required("podName"),
            required("containerName"),
            tail=optional_int("tail"),
        )
    )
