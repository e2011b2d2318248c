"""Errors of the broker. The message of each is written for the operator who has to act on it."""

from http import HTTPStatus

_PERMANENT = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)
_TOO_LARGE_DELAY = 5.0
"""Least delay in seconds before a body that was refused as too large is sent again: it has many megabytes."""


class BrokerError(Exception):
    """Base class of the broker's errors.

    Attributes:
        at_most: upper limit of the delay before a retry in seconds; None: that of the caller.
    """

    at_most: float | None = None


class ConfigurationError(BrokerError):
    """A setting, or a file named by a setting, is invalid; the message names it. The broker does not start."""


class ProviderError(BrokerError):
    """The provider did not carry out a request."""


class ProviderUnavailable(ProviderError):
    """No connection, a timeout, 429, 5xx or an invalid body. The request may have been carried out.

    Attributes:
        retry_after: seconds after which the provider asks to retry; None where it does not say.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ProviderRefused(ProviderError):
    """Any other status than 2xx.

    Attributes:
        code: HTTP status.
        message: the provider's message, in which values of environment variables are replaced by `…`.
        retry_after: least delay in seconds before a repetition; None: no limit.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"the provider answers {code}: {message}" if message else f"the provider answers {code}")
        self.code = code
        self.message = message
        self.retry_after = _TOO_LARGE_DELAY if code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE else None

    @property
    def is_permanent(self) -> bool:
        """Whether the request is invalid itself: a repetition would be refused too.

        413 is not: the limit is a setting of the provider, and the ConfigMaps of an environment can shrink.
        """
        return self.code in _PERMANENT
