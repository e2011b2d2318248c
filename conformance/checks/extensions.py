"""The map of the provider's extensions: `/extensions`."""

from conformance.check import NotOffered, code, document, expect, extension
from conformance.client import ProviderClient


@extension
def extensions_is_a_map_of_versions(provider: ProviderClient) -> None:
    """`GET /extensions` returns 200 and a JSON object: extension → version, a positive integer.

    The broker reads it at its start. A provider without extensions returns 404.
    """
    for name, version in offered(provider).items():
        is_version = isinstance(version, int) and not isinstance(version, bool) and version > 0
        expect(is_version, f"the version of {name} is not a positive integer")


@extension
def named_extensions_exist(provider: ProviderClient) -> None:
    """`/extensions` names `podStatuses`, `podStats`, `nodeStats` and `nodes` if, and only if, its path exists.

    The broker uses what is named, and nothing else.
    """
    named = offered(provider)
    paths = {
        "podStatuses": "/podStatuses?since=0",
        "podStats": "/podStats",
        "nodeStats": "/nodeStats",
        "nodes": "/node",
    }
    for name, path in paths.items():
        answer = provider.get(path)
        if name in named:
            code(answer, 200)
        else:
            expect(not answer.is_success, f"/extensions does not name {name}, which is implemented", answer)


def require(provider: ProviderClient, *names: str) -> None:
    """Require that the provider has these extensions.

    Raises:
        NotOffered: it lacks one.
    """
    named = offered(provider)
    for name in names:
        if name not in named:
            raise NotOffered(f"/extensions does not name {name}")


def offered(provider: ProviderClient) -> dict[str, object]:
    """Return the provider's extensions: name → version.

    Raises:
        NotOffered: the provider has no `/extensions`.
    """
    answer = provider.get("/extensions")
    if answer.code in (404, 405, 501):
        raise NotOffered("/extensions does not exist")
    return document(answer, dict)
