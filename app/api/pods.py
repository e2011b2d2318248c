"""Pods: create, update, delete, get."""

from flask import Blueprint

from app.api.body import read_body
from app.api.query import required
from app.api.requests import caller
from app.api.responses import Response, done, json, streamed
from app.lifecycle.manifest import Manifest, parse_reference
from app.provider import provider

blueprint = Blueprint("pods", __name__)


@blueprint.post("/createPod")
def create_pod() -> Response:
    """Take a pod on; the same one again changes nothing."""
    provider().pods.create(Manifest.parse(read_body()), caller())
    return done()


@blueprint.put("/updatePod")
def update_pod() -> Response:
    """Change a pod."""
    provider().pods.update(Manifest.parse(read_body()), caller())
    return done()


@blueprint.delete("/deletePod")
def delete_pod() -> Response:
    """Let a pod go. Of the Pod in the body, only the name and the UID matter."""
    provider().pods.delete(parse_reference(read_body()), caller())
    return done()


@blueprint.get("/getPod")
def get_pod() -> Response:
    """Give a Pod."""
    return json(provider().pods.get(required("namespace"), required("name")))


@blueprint.get("/getPodStatus")
def get_pod_status() -> Response:
    """Give a PodStatus."""
    return json(provider().pods.status(required("namespace"), required("name")))


@blueprint.get("/getPods")
def get_pods() -> Response:
    """Give an array of every Pod."""
    return streamed(provider().pods.list())
