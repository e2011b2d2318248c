"""Pods: create, update, delete, get; the batches."""

from flask import Blueprint

from app.kubernetes.manifest import Manifest, parse_reference
from app.services import get_services
from app.web.batch import answer_batch
from app.web.body import read_manifest, read_reference
from app.web.middleware import audited, caller
from app.web.query import Name, Query
from app.web.responses import Response, empty_response, json_text_response, streaming_response

blueprint = Blueprint("pods", __name__)


class PodQuery(Query):
    """The parameters of `/getPod` and `/getPodStatus`."""

    namespace: Name
    name: Name


@blueprint.post("/createPod")
@audited("create")
def create_pod() -> Response:
    """Create a pod; the same pod again changes nothing."""
    get_services().pods.create(read_manifest(), caller())
    return empty_response()


@blueprint.put("/updatePod")
@audited("update")
def update_pod() -> Response:
    """Update a pod."""
    get_services().pods.update(read_manifest(), caller())
    return empty_response()


@blueprint.delete("/deletePod")
@audited("delete")
def delete_pod() -> Response:
    """Delete a pod, by the name and UID of the Pod in the body."""
    get_services().pods.delete(read_reference(), caller())
    return empty_response()


@blueprint.post("/createPods")
@audited("create")
def create_pods() -> Response:
    """Create each pod of an array; return the outcome of each."""
    return answer_batch(Manifest.parse, get_services().pods.create_all)


@blueprint.delete("/deletePods")
@audited("delete")
def delete_pods() -> Response:
    """Delete each pod of an array, by its name and UID; return the outcome of each."""
    return answer_batch(parse_reference, get_services().pods.delete_all)


@blueprint.get("/getPod")
def get_pod() -> Response:
    """Return a Pod with its status."""
    query = PodQuery.from_request()
    return json_text_response(get_services().pods.get(query.namespace, query.name))


@blueprint.get("/getPodStatus")
def get_pod_status() -> Response:
    """Return a PodStatus."""
    query = PodQuery.from_request()
    return json_text_response(get_services().pods.status(query.namespace, query.name))


@blueprint.get("/getPods")
def get_pods() -> Response:
    """Return an array of all Pods with their statuses."""
    return streaming_response(get_services().pods.list())
