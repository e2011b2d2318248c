"""What the API server answers where it does not do as it is told.

The API conventions say what each status means:
https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md#http-status-codes
"""

import msgspec

from broker.errors import BrokerError


class ApiError(BrokerError):
    """A request to the API server has failed.

    Attributes:
        status: the HTTP status; 0 where there was no answer.
        reason: the reason of the answer's `Status`, such as `NotFound`; the conventions list them.
        message: the message of the answer's `Status`.
        retry_after: seconds for which the server asks to be left alone, where it does.
    """

    def __init__(self, status: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{message or reason} ({status} {reason})" if status else message)
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after


class Unreachable(ApiError):
    """There was no answer, or half of one; whether the request was carried out is not known."""

    def __init__(self, message: str) -> None:
        super().__init__(0, "Unreachable", message)


class Unauthorized(ApiError):
    """401: the server does not know who asks; a token may have expired."""


class Forbidden(ApiError):
    """403: this identity may not do that."""


class NotFound(ApiError):
    """404: there is no such object, or no such path."""


class Conflict(ApiError):
    """409: the object has changed since it was read, or a precondition does not hold."""


class AlreadyExists(Conflict):
    """409: there is an object of this name."""


class Gone(ApiError):
    """410: the resourceVersion, or the place in a list, is too old to go on from; list again."""


class Invalid(ApiError):
    """422: the object breaks a rule; sending it again breaks it again."""


class TooManyRequests(ApiError):
    """429: come back later, after `retry_after` seconds."""


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
    """Make the error of an answer.

    Args:
        status: HTTP status of the answer; 0 where the body is all there is (an ERROR event of a watch).
        body: a `Status` in JSON; whatever else a proxy may have put there becomes the message, shortened.
        retry_after: the header of that name.
    """
    try:
        told = msgspec.json.decode(body, type=_Status)
    except (msgspec.DecodeError, UnicodeDecodeError):
        told = _Status(message=" ".join(body[:200].decode(errors="replace").split()))
    status = status or told.code or 500
    seconds: float | None = told.details.retryAfterSeconds if told.details else None
    if retry_after and retry_after.isdigit():
        seconds = float(retry_after)
    kind = AlreadyExists if told.reason == "AlreadyExists" else _BY_STATUS.get(status, ApiError)
    return kind(status, told.reason or "Unknown", told.message, seconds or None)
