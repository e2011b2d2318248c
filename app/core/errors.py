"""What can go wrong, in the words of the person who has to act on it.

Services and pure code raise these; :mod:`app.web.errors` maps each to a status code, in one table.
The message of each goes to the client, so none may hold a value from inside a pod: fields are named, not
quoted.
"""


class ProviderError(Exception):
    """Anything this provider refuses or fails to do."""


class InvalidRequest(ProviderError):
    """The request is at fault; `field` says where, in the words of the Kubernetes API or of the query."""

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field


class NotFound(ProviderError):
    """There is no such pod, or no such container in it."""


class Unavailable(ProviderError):
    """The request is right and cannot be served now; the same request may succeed later."""


class DatabaseUnavailable(Unavailable):
    """The database does not answer, or does not take the write: gone, locked, full, read-only."""


class DatabaseUnusable(DatabaseUnavailable):
    """The database is there and waiting does not help: read-only, damaged, not at the head revision."""


class DatabaseFault(ProviderError):
    """The database refused a statement: this program is at fault. No row is quoted."""


class ConfigurationError(ProviderError):
    """A setting stops the start; the message names it."""
