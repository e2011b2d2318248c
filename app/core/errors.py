"""The exceptions of the provider.

Services and pure functions raise these exceptions; :mod:`app.web.errors` maps each to an HTTP status code in one
table. The message goes to the client, so it names fields of a pod and never quotes their values.
"""


class ProviderError(Exception):
    """The base class of all errors of the provider."""


class InvalidRequest(ProviderError):
    """The request is invalid; `field` names the field of the Pod or the query parameter."""

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field


class NotFound(ProviderError):
    """The pod, the container in the pod, or the node does not exist."""


class Outdated(ProviderError):
    """The request is older than one that was served; the client has sent it long ago."""


class NotSupported(ProviderError):
    """The runtime, or this server, cannot do what the request asks for; no retry helps."""


class Unavailable(ProviderError):
    """The request is valid and cannot be served now; a retry may succeed."""


class DatabaseUnavailable(Unavailable):
    """The database does not answer or refuses the write: unreachable, locked, full or read-only."""


class DiskFull(DatabaseUnavailable):
    """The disk of the database is full. Deleting or pruning rows, or more disk space, helps."""


class DiskShortage(Unavailable):
    """The rest of the disk is kept for deletions."""


class DatabaseUnusable(DatabaseUnavailable):
    """The database answers and a retry does not help: read-only, damaged, or not at the head revision."""


class DatabaseFault(ProviderError):
    """The database refused a statement because of a bug in this program. The message quotes no row."""


class ConfigurationError(ProviderError):
    """A setting is invalid and prevents the start; the message names the setting."""
