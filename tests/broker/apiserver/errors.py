"""Error responses."""

from typing import Any


class Refusal(Exception):
    """An error, to which the API server responds with a `Status`."""

    def __init__(self, code: int, reason: str, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.retry_after = retry_after

    def status(self) -> dict[str, Any]:
        """Return the response body."""
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "details": {"retryAfterSeconds": self.retry_after} if self.retry_after else {},
            "code": self.code,
        }


def not_found(resource: str, name: str) -> Refusal:
    return Refusal(404, "NotFound", f'{resource} "{name}" not found')


def conflict(message: str) -> Refusal:
    return Refusal(409, "Conflict", message)


def invalid(message: str) -> Refusal:
    return Refusal(422, "Invalid", message)


def gone(message: str = "too old resource version") -> Refusal:
    return Refusal(410, "Expired", message)


def bad_request(message: str) -> Refusal:
    return Refusal(400, "BadRequest", message)
