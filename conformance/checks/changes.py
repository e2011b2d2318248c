"""Extensions: changes of statuses (`/podStatuses`), health endpoints, the OpenAPI document."""

from typing import Any

from conformance.check import Failed, NotOffered, at, code, document, expect, extension, success
from conformance.checks.http import ENDPOINTS
from conformance.client import PodJSON, ProviderClient, wait_until
from conformance.pods import created, is_deleted, started
from conformance.wire import Answer

_WAIT_SECONDS = 20


@extension
def revision_0_returns_all_statuses(provider: ProviderClient) -> None:
    """`GET /podStatuses?since=0` returns `{"revision", "statuses", "deleted"}`, with the status of every pod.

    One request replaces one request per pod.
    """
    pod = created(provider, provider.pod())
    reported = _of(_changes(provider, 0)["statuses"], pod)
    expect(reported, "a created pod is not reported")
    at(reported[0], "status.phase", str)


@extension
def since_returns_only_later_changes(provider: ProviderClient) -> None:
    """`since` a revision, exactly the changes after that revision are returned.

    Otherwise, a broker misses a change forever, or writes unchanged statuses repeatedly.
    """
    kept, deleted = (created(provider, provider.pod(name)) for name in ("kept", "deleted"))
    started(provider, kept)
    seen = _stable_revision(provider, kept)
    success(provider.delete(deleted))
    expect(is_deleted(provider, deleted), "/getPods still lists the deleted pod")
    new = created(provider, provider.pod("new"))
    found = _changes(provider, seen)
    expect(_of(found["statuses"], new), "a created pod is not reported")
    expect(_of(found["deleted"], deleted), "a deleted pod is not reported")
    expect(not _of(found["statuses"], kept), "an unchanged pod is reported")


@extension
def wait_holds_the_request_until_a_change(provider: ProviderClient) -> None:
    """With `wait`, the provider responds when a status changes, or after that many seconds.

    If it responds at once, the broker polls in a busy loop; if it responds late, statuses are out of date.
    """
    pod = provider.pod()
    seen = at(_changes(provider, 0), "revision", int)
    with provider.connect() as connection:

        def is_held() -> bool:
            """Send the request; if another pod has changed meanwhile, continue from that revision."""
            nonlocal seen
            request = provider.prepare("GET", f"/podStatuses?since={seen}&wait={_WAIT_SECONDS}")
            connection.send_request(request)
            if not connection.has_answer(within=0.3):
                return True
            found = _read(connection.receive()._replace(request=request))
            if not found["statuses"] and not found["deleted"]:
                raise Failed("the response comes at once, without a change")
            seen = at(found, "revision", int)
            return False

        expect(wait_until(is_held), "the request is never held open")
        success(provider.create(pod))
        expect(connection.has_answer(within=_WAIT_SECONDS / 2), "no response came after a pod was created")
        found = _read(connection.receive()._replace(request=provider.prepare("GET", "/podStatuses")))
    expect(_of(found["statuses"], pod), "the created pod is not reported")


@extension
def invalid_revision_returns_400(provider: ProviderClient) -> None:
    """A `since` or `wait` that is not a number returns 400.

    If it is read as 0, each response contains every pod.
    """
    _changes(provider, 0)
    for query in ({"since": "soon"}, {"since": "0", "wait": "soon"}):
        code(provider.get("/podStatuses", **query), 400)


@extension
def health_endpoints_need_no_token(provider: ProviderClient) -> None:
    """`/healthz` and `/readyz` return 200 without a token.

    Kubernetes probes them and has no token.
    """
    answers = [provider.request("GET", path, Authorization="") for path in ("/healthz", "/readyz")]
    if all(answer.code == 404 for answer in answers):
        raise NotOffered("/healthz and /readyz do not exist")
    for answer in answers:
        code(answer, 200)


@extension
def openapi_document_lists_the_ten_paths(provider: ProviderClient) -> None:
    """`/openapi.json` is an OpenAPI 3 document that contains the ten paths.

    Clients and tests are generated from it.
    """
    answer = provider.get("/openapi.json")
    if answer.code == 404:
        raise NotOffered("/openapi.json does not exist")
    found = document(answer, dict)
    expect(at(found, "openapi", str).startswith("3."), "the OpenAPI version is not 3")
    missing = [path for method, path in ENDPOINTS if method.lower() not in at(found, "paths", dict).get(path, {})]
    expect(not missing, f"missing: {', '.join(missing)}")


def _changes(provider: ProviderClient, since: int) -> dict[str, Any]:
    answer = provider.get("/podStatuses", since=since)
    if answer.code in (404, 405, 501):
        raise NotOffered("/podStatuses does not exist")
    return _read(answer)


def _read(answer: Answer) -> dict[str, Any]:
    found = document(answer, dict)
    at(found, "revision", int)
    at(found, "statuses", list)
    at(found, "deleted", list)
    return found


def _of(found: list[Any], pod: PodJSON) -> list[Any]:
    metadata = pod["metadata"]
    wanted = {key: metadata[key] for key in ("namespace", "name", "uid")}
    return [change for change in found if isinstance(change, dict) and change.items() >= wanted.items()]


def _stable_revision(provider: ProviderClient, pod: PodJSON) -> int:
    """Return the revision after which no change of the pod is reported."""
    seen = 0

    def is_unchanged() -> bool:
        nonlocal seen
        found = _changes(provider, seen)
        seen = found["revision"]
        return not _of(found["statuses"], pod)

    expect(wait_until(is_unchanged), "an unchanged pod is reported repeatedly")
    return seen
