"""Answers of a provider: their shapes; success, refusal or outage, and the message of a refusal."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import NamedTuple, TypeVar

import msgspec

from broker.errors import ProviderRefused, ProviderUnavailable
from broker.types import Object, PodReference

T = TypeVar("T")

NO_SUCH_PATH = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED)
"""The statuses of a provider that does not have a path."""
NOT_NOW = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS)
"""The statuses of a provider that would answer otherwise with another token, or later."""
_MESSAGE_LIMIT = 1000
_SHORTEST_SECRET = 4


class Answer(NamedTuple):
    """The answer to a request: its HTTP status, the header `Retry-After` (empty: none), and the body."""

    status: int
    retry_after: str
    body: bytes


class StatusChange(PodReference, frozen=True, kw_only=True):
    """The present status of a pod, in JSON."""

    status: msgspec.Raw


class DeletedPod(PodReference, frozen=True, kw_only=True):
    """A pod that is gone, with its last status in JSON; empty or null where the provider does not report it."""

    status: msgspec.Raw = msgspec.Raw(b"")


class Changes(msgspec.Struct, frozen=True):
    """Changed statuses and deleted pods, and the revision from which to continue."""

    revision: int | str
    statuses: list[StatusChange] = []
    deleted: list[DeletedPod] = []


class NodeDetails(msgspec.Struct, frozen=True):
    """Labels, taints and allocatable resources of a node; null counts as empty."""

    labels: dict[str, str] | None = None
    taints: list[Object] | None = None
    allocatable: dict[str, str] | None = None


def check(answer: Answer, *, sent: Object | None = None) -> None:
    """Raise the error of an answer other than 2xx.

    Args:
        answer: the answer.
        sent: the pod in the request; values of its environment variables are removed from the error.

    Raises:
        ProviderUnavailable: 429 or 5xx.
        ProviderRefused: any other status.
    """
    if is_success(answer.status):
        return
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        seconds = float(answer.retry_after) if answer.retry_after.isdigit() else None
        raise ProviderUnavailable(f"the provider answers {answer.status}", seconds)
    raise refusal(answer.status, answer.body, secrets=_environment_values(sent or {}))


def refusal(status: int, body: bytes, *, secrets: Iterable[str] = ()) -> ProviderRefused:
    """Return the error of an answer, with the provider's message.

    Args:
        status: the HTTP status.
        body: the body.
        secrets: values that are removed from the message.
    """
    message = _message(body)
    for value in sorted(secrets, key=len, reverse=True):
        message = message.replace(value, "…")
    return ProviderRefused(status, " ".join(message.split())[:_MESSAGE_LIMIT])


def is_success(status: int) -> bool:
    """Return whether the provider has carried out the request."""
    return HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES


def is_outage(status: int) -> bool:
    """Return whether the provider is out of order; one without the path is not."""
    return status >= HTTPStatus.INTERNAL_SERVER_ERROR and status not in NO_SUCH_PATH


def is_refusal(status: int) -> bool:
    """Return whether the provider has refused the request for what is in it, not for its sender or its rate."""
    return HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in NOT_NOW


def _message(body: bytes) -> str:
    """Return the message in a body: of `{"error": {"message": …}}`, `{"message": …}`, or any text but HTML."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = body.decode(errors="replace")
        return "" if text.lstrip().startswith("<") else text
    for key in ("error", "message", "detail"):
        if isinstance(found, dict):
            found = found.get(key, found)
    return found if isinstance(found, str) else ""


def _environment_values(pod: Object) -> frozenset[str]:
    """Return the values of a pod's environment variables that are long enough not to occur in other text."""
    lists = [field for field in (pod.get("spec") or {}).values() if isinstance(field, list)]
    return frozenset(
        value
        for containers in lists
        for container in containers
        if isinstance(container, dict)
        for variable in container.get("env") or ()
        if len(value := str(variable.get("value") or "")) >= _SHORTEST_SECRET
    )


def decode(body: bytes, type_: type[T], path: str) -> T:
    """Decode the JSON of an answer.

    Raises:
        ProviderUnavailable: the body has another shape.
    """
    try:
        return msgspec.json.decode(body, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise ProviderUnavailable(f"the provider's answer to {path} does not follow the contract: {exc}") from exc
