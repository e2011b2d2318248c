"""The files of pods' volumes: an extension, which other providers may lack."""

from flask import Blueprint

from app.services import get_services
from app.web.body import read_volumes
from app.web.middleware import audited, caller
from app.web.responses import Response, empty_response

blueprint = Blueprint("pod_volumes", __name__)


@blueprint.put("/podVolumes")
@audited("mount")
def put_pod_volumes() -> Response:
    """Take volumes of a pod, which may not have been created yet; the same volumes again change nothing."""
    get_services().volumes.put(read_volumes(), caller())
    return empty_response()
