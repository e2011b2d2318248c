"""What stops or hinders the broker, in the words of the person who has to act on it."""


class BrokerError(Exception):
    """Anything that this broker cannot do."""


class ConfigurationError(BrokerError):
    """A setting, or a file that one names, stops the start; the message names it."""
