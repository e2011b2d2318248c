"""Errors of the broker. The message of each is written for the operator who has to act on it."""


class BrokerError(Exception):
    """Base class of the broker's errors.

    Attributes:
        at_most: upper limit of the delay before a retry in seconds; None: that of the caller.
    """

    at_most: float | None = None


class ConfigurationError(BrokerError):
    """A setting, or a file named by a setting, is invalid; the message names it. The broker does not start."""
