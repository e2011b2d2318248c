"""Errors of the broker. The message of each is written for the operator who has to act on it."""


class BrokerError(Exception):
    """Base class of the broker's errors."""


class ConfigurationError(BrokerError):
    """A setting, or a file named by a setting, is invalid; the message names it. The broker does not start."""
