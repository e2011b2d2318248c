"""Pods: create, update, delete, get."""

from flask import Blueprint

from app.kubernetes.pod import Manifest, parse_reference
from app.services import get_services
from app.web.body import read_body
from app.web.middleware import caller
from app.web.query import required
from app.web.responses import Response, done, json, streamed

blueprint = Blueprint("pods", __name__)


@blueprint.post("/createPod")
def create_pod() -> Response:
    """Take a pod on; the same one again changes nothing."""
    get_services().pods.create(Manifest.parse(read_body()), caller())
    return done()


@blueprint.put("/updatePod")
def update_pod() -> Response:
    """Change a pod."""
    get_services().pods.update(Manifest.parse(read_body()), caller())
    return done()


@blueprint.delete("/deletePod")
def delete_pod() -> Response:
    """Let a pod go. Of the Pod in the body, only the name and the UID matter."""
    get_services().pods.delete(parse_reference(read_body()), caller())
    return done()


@blueprint.get("/getPod")
def get_pod() -> Response:
    """Give a Pod."""
    return json(get_services().pods.get(required("namespace"), required("name")))


@blueprint.get("/getPodStatus")
def get_pod_status() -> Response:
    """Give a PodStatus."""
    return json(get_services().pods.status(required("namespace"), required("name")))


@blueprint.get("/getPods")
def get_pods() -> Response:
    """Give an array of every Pod."""
    return streamed(get_services().pods.list())
