"""Request bodies: read whole within a limit, decoded once, or discarded."""

from contextlib import suppress

from flask import g, request
from werkzeug.exceptions import RequestEntityTooLarge

from app.core.errors import InvalidRequest
from app.kubernetes.manifest import Manifest, parse_array, parse_reference
from app.kubernetes.pod import PodReference
from app.kubernetes.volumes import PodVolumes
from app.services import get_services

LARGEST_BATCH = 500
"""The most items of a batch. A longer transaction would hold up other requests for too long."""

_CHUNK_BYTES = 64 * 1024
_MAX_DISCARDED_BYTES = 16 * 1024 * 1024


def read_manifest() -> Manifest:
    """Parse the body of this request as a Pod.

    Raises:
        InvalidRequest: the body is incomplete, or no valid Pod.
        RequestEntityTooLarge: the body is longer than MAX_CONTENT_LENGTH.
    """
    manifest = Manifest.parse(_read_body())
    metadata = manifest.pod.metadata
    g.pod = PodReference(metadata.namespace, metadata.name, metadata.uid, node_name=manifest.pod.spec.node_name)
    return manifest


def read_reference() -> PodReference:
    """Parse the body of this request as the Pod to delete, of which only `metadata` is read.

    Raises:
        InvalidRequest: the body is incomplete, or names no pod.
        RequestEntityTooLarge: the body is longer than MAX_CONTENT_LENGTH.
    """
    body = _read_body()
    g.pod = None  # of a body that names no pod
    g.pod = reference = parse_reference(body)
    return reference


def read_volumes() -> PodVolumes:
    """Parse the body of this request as volumes of a pod.

    Raises:
        InvalidRequest: the body is incomplete, or not valid.
        RequestEntityTooLarge: the body is longer than MAX_CONTENT_LENGTH.
    """
    volumes = PodVolumes.parse(_read_body())
    g.pod = volumes.pod
    return volumes


def read_items() -> list[bytes]:
    """Parse the body of this request as a JSON array, and return its items undecoded.

    Raises:
        InvalidRequest: the body is incomplete, no array, or an array of more than `LARGEST_BATCH` items.
        RequestEntityTooLarge: the body is longer than MAX_CONTENT_LENGTH.
    """
    body = _read_body()
    g.pod = None
    items = parse_array(body)
    if len(items) > LARGEST_BATCH:
        raise InvalidRequest(f"the array has {len(items)} items, more than {LARGEST_BATCH}")
    return items


def requested_pod() -> PodReference | None:
    """Return the pod that this request names, for the audit log; None for a body without a valid name.

    A Pod that was refused because of its `spec` still has a name: only such a body is decoded a second time.
    """
    if "pod" not in g:
        g.pod = None
        with suppress(InvalidRequest):
            g.pod = parse_reference(g.get("body", b""))
    pod: PodReference | None = g.pod
    return pod


def discard_body() -> None:
    """Read the rest of the body of a refused request, so that the connection can be used again.

    A body of more than 16 MiB, or without an end, is not read: gunicorn closes the connection after the response.
    """
    content_length = request.content_length
    stream = request.environ["wsgi.input"]
    remaining = _MAX_DISCARDED_BYTES if (content_length or 0) <= _MAX_DISCARDED_BYTES else 0
    with suppress(Exception):  # an unreadable body: gunicorn closes the connection
        while remaining > 0 and (chunk := stream.read(_read_size(_CHUNK_BYTES, content_length))):
            remaining -= len(chunk)


def _read_body() -> bytes:
    """Read the whole body of this request, and keep it for :func:`requested_pod`.

    The limit is checked here: Werkzeug's own cuts a chunked body off at the limit without an error.
    """
    limit = get_services().settings.max_content_length
    content_length = request.content_length
    if (content_length or 0) > limit:
        raise RequestEntityTooLarge
    try:
        body: bytes = request.environ["wsgi.input"].read(_read_size(limit + 1, content_length))
    except Exception:
        raise InvalidRequest("the body is incomplete, or its chunked encoding is invalid") from None
    g.body = body
    if len(body) > limit:
        raise RequestEntityTooLarge
    if len(body) < (content_length or 0):
        raise InvalidRequest(f"the body is incomplete: {len(body)} of {content_length} bytes")
    return body


def _read_size(limit: int, content_length: int | None) -> int:
    """Return how many bytes may be read at once: past the end of a body, some servers wait for more."""
    if content_length is not None:
        return min(limit, content_length)
    return limit if request.environ.get("wsgi.input_terminated") else 0
