"""Errors of the broker. The message of each is written for the operator who has to act on it."""

from http import HTTPStatus

PERMANENT_REFUSALS = frozenset(
    {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY}
)
"""HTTP statuses of a request that is invalid itself: the provider or the API server refuses a repetition too."""


class BrokerError(Exception):
    """Base class of the broker's errors."""


class ConfigurationError(BrokerError):
    """A setting, or a file named by a setting, is invalid; the message names it. The broker does not start."""
