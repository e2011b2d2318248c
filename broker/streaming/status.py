"""The final status of a session: a Kubernetes `Status` in JSON."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Self

import msgspec

_REASONS: dict[int, str] = {
    HTTPStatus.BAD_REQUEST: "BadRequest",
    HTTPStatus.UNAUTHORIZED: "Unauthorized",
    HTTPStatus.FORBIDDEN: "Forbidden",
    HTTPStatus.NOT_FOUND: "NotFound",
    HTTPStatus.METHOD_NOT_ALLOWED: "MethodNotAllowed",
    HTTPStatus.CONFLICT: "Conflict",
    HTTPStatus.TOO_MANY_REQUESTS: "TooManyRequests",
    HTTPStatus.INTERNAL_SERVER_ERROR: "InternalError",
    HTTPStatus.SERVICE_UNAVAILABLE: "ServiceUnavailable",
    HTTPStatus.GATEWAY_TIMEOUT: "Timeout",
}
"""`metav1.StatusReason` of HTTP statuses; others have none."""


class _Cause(msgspec.Struct):
    reason: str = ""
    message: str = ""


class _Details(msgspec.Struct):
    causes: list[_Cause] | None = None


class _Schema(msgspec.Struct):
    status: str
    message: str = ""
    reason: str = ""
    details: _Details | None = None


@dataclass(frozen=True)
class Status:
    """A `Status`.

    Attributes:
        raw: the JSON.
        success: whether it is a Success.
        message: text of a failure; empty for a Success.
        exit_code: exit code of a command that failed, as text; None for any other failure, and for a Success.
    """

    raw: bytes
    success: bool
    message: str = ""
    exit_code: str | None = None

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Parse a status of the provider; one that is invalid is a Failure."""
        try:
            found = msgspec.json.decode(raw, type=_Schema)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return cls.failure("the provider has ended the session with an invalid status")
        if found.status == "Success":
            return cls(raw, success=True)
        if not found.message and not found.details:
            return cls.failure("the session has failed")
        causes = found.details.causes if found.details else None
        code = next((cause.message for cause in causes or () if cause.reason == "ExitCode"), None)
        return cls(raw, success=False, message=found.message or "the session has failed", exit_code=code)

    @classmethod
    def failure(cls, message: str, code: int = HTTPStatus.INTERNAL_SERVER_ERROR) -> Self:
        """Return a Failure with a message and an HTTP status."""
        raw = msgspec.json.encode(
            {
                "kind": "Status",
                "apiVersion": "v1",
                "metadata": {},
                "status": "Failure",
                "message": message,
                **({"reason": reason} if (reason := _REASONS.get(code)) else {}),
                "code": code,
            }
        )
        return cls(raw, success=False, message=message)
