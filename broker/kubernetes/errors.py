"""Errors of requests to the API server.

Meaning of each status:
https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md#http-status-codes
"""

from http import HTTPStatus

import msgspec

from broker.errors import BrokerError

_PERMANENT = (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY)
_TEMPORARY = (
    0,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)


class ApiError(BrokerError):
    """A request to the API server has failed.

    Attributes:
        status: HTTP status; 0 without an answer.
        reason: `reason` of the answer's `Status`, such as `NotFound`; the conventions list them.
        message: `message` of the answer's `Status`.
        retry_after: seconds after which the server asks to retry; None where it does not say.
    """

    def __init__(self, status: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{message or reason} ({status} {reason})" if status else message)
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after

    @property
    def is_permanent(self) -> bool:
        """Whether the request is invalid itself: a repetition would be refused too."""
        return self.status in _PERMANENT

    @property
    def is_temporary(self) -> bool:
        """Whether the same request may succeed later: no answer, too many requests, or an overloaded server.

        500 is not: it is also the answer to a request for which an admission webhook fails, each time.
        """
        return self.status in _TEMPORARY


class Unreachable(ApiError):
    """No complete answer; the request may have been carried out."""

    def __init__(self, message: str) -> None:
        super().__init__(0, "Unreachable", message)


class Unauthorized(ApiError):
    """401: the credentials are missing or invalid; a token may have expired."""


class Forbidden(ApiError):
    """403: this identity is not authorized."""


class NotFound(ApiError):
    """404: no such object, or no such path."""


class Conflict(ApiError):
    """409: the object has changed since it was read, or a precondition failed."""


class AlreadyExists(Conflict):
    """409: an object of this name exists."""


class Gone(ApiError):
    """410: the `resourceVersion`, or the `continue` token of a list, has expired; list again."""


class Invalid(ApiError):
    """422: the object is invalid."""


class TooManyRequests(ApiError):
    """429: too many requests; retry after `retry_after` seconds."""


_BY_STATUS: dict[int, type[ApiError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
    429: TooManyRequests,
}


class _Details(msgspec.Struct):
    retryAfterSeconds: int = 0  # noqa: N815 - Kubernetes' name


class _Status(msgspec.Struct):
    code: int = 0
    reason: str = ""
    message: str = ""
    details: _Details | None = None


def error_from(status: int, body: bytes, *, retry_after: str | None = None) -> ApiError:
    """Return the error for an answer.

    Args:
        status: HTTP status of the answer; 0 for an ERROR event of a watch, which has a body alone.
        body: a `Status` in JSON; any other body, such as a proxy's, becomes the message, shortened.
        retry_after: the `Retry-After` header; None where absent.
    """
    try:
        parsed = msgspec.json.decode(body, type=_Status)
    except (msgspec.DecodeError, UnicodeDecodeError):
        parsed = _Status(message=" ".join(body[:200].decode(errors="replace").split()))
    status = status or parsed.code or 500
    seconds: float | None = parsed.details.retryAfterSeconds if parsed.details else None
    if retry_after and retry_after.isdigit():
        seconds = float(retry_after)
    kind = AlreadyExists if parsed.reason == "AlreadyExists" else _BY_STATUS.get(status, ApiError)
    return kind(status, parsed.reason or "Unknown", parsed.message, seconds or None)
