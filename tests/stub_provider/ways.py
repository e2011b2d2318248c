"""The ways in which providers of the contract differ."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Ways:
    """Behaviour of a provider.

    Attributes:
        not_found: reason phrase of its 404s.
        body_of_writes: response body of a successful write.
        has_get_pod: whether it implements `/getPod`.
        takes_updates: whether it implements `PUT /updatePod`.
        reports_changes: whether it implements `/podStatuses`.
        deletes_slowly: whether a deleted pod remains until :meth:`StubProvider.remove`.
        log_options: whether it implements and validates all options of `/getContainerLogs`, not only `tail`.
        token: bearer token that it requires; None for none.
        extensions: names in the response of `/extensions`; without any, it has no such path. With
            `gracefulDelete`, a deleted pod whose containers run ends by :meth:`StubProvider.end`; with `batch`, it
            takes batches.
    """

    not_found: str = "Not Found"
    body_of_writes: bytes = b""
    has_get_pod: bool = True
    takes_updates: bool = True
    reports_changes: bool = False
    deletes_slowly: bool = False
    log_options: bool = False
    token: str | None = None
    extensions: tuple[str, ...] = ()


WAYS = {
    "only the ten endpoints": Ways(),
    "NOT FOUND": Ways(not_found="NOT FOUND"),
    "bodies on writes": Ways(body_of_writes=b"OK" * 4096),
    "no /getPod": Ways(has_get_pod=False),
    "no /getPod, no /updatePod": Ways(has_get_pod=False, takes_updates=False),
    "/podStatuses": Ways(reports_changes=True),
}
