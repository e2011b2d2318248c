"""What has changed: `/podStatuses`; and what else a provider may say of itself."""

from typing import Any

from conformance.check import Failed, NotOffered, at, code, document, expect, extension, success
from conformance.checks.http import ENDPOINTS
from conformance.pods import created, is_gone
from conformance.provider import PodJSON, Provider, patiently
from conformance.wire import Answer

_WAIT_SECONDS = 20


@extension
def all_statuses_come_at_once(provider: Provider) -> None:
    """`GET /podStatuses?since=0` answers `{"revision", "statuses", "deleted"}`, with the status of every pod.

    One request takes the place of one for each pod.
    """
    pod = created(provider, provider.pod())
    told = _of(_changes(provider, 0)["statuses"], pod)
    expect(told, "a pod that was created is not told")
    at(told[0], "status.phase", str)


@extension
def since_a_revision_only_what_has_changed_is_told(provider: Provider) -> None:
    """`since` a revision, what has changed after it is told: each change, and nothing else.

    A broker that goes by it misses a change for ever, or writes each status again and again.
    """
    kept, gone = (created(provider, provider.pod(name)) for name in ("kept", "gone"))
    seen = _settled(provider, kept)
    success(provider.delete(gone))
    expect(is_gone(provider, gone), "the pod is still listed after its deletion")
    new = created(provider, provider.pod("new"))
    found = _changes(provider, seen)
    expect(_of(found["statuses"], new), "a pod that was created is not told")
    expect(_of(found["deleted"], gone), "a pod that was deleted is not told")
    expect(not _of(found["statuses"], kept), "a pod that has not changed is told")


@extension
def it_is_held_open_until_something_changes(provider: Provider) -> None:
    """With `wait`, the answer comes when something changes, or after so many seconds.

    Answered at once, it is a poll in a circle; answered late, a pod's status is old.
    """
    pod = provider.pod()
    seen = at(_changes(provider, 0), "revision", int)
    with provider.connect() as connection:

        def is_held() -> bool:
            """Ask; where something else has changed meanwhile, once more from there."""
            nonlocal seen
            request = provider.prepare("GET", f"/podStatuses?since={seen}&wait={_WAIT_SECONDS}")
            connection.send_request(request)
            if not connection.has_answer(within=0.3):
                return True
            found = _read(connection.receive()._replace(request=request))
            if not found["statuses"] and not found["deleted"]:
                raise Failed("it is answered at once, with nothing")
            seen = at(found, "revision", int)
            return False

        expect(patiently(is_held), "it is never held open")
        success(provider.create(pod))
        expect(connection.has_answer(within=_WAIT_SECONDS / 2), "a pod was created, and there is no answer")
        found = _read(connection.receive()._replace(request=provider.prepare("GET", "/podStatuses")))
    expect(_of(found["statuses"], pod), "the pod that was created is not told")


@extension
def a_revision_that_is_no_number_is_400(provider: Provider) -> None:
    """A `since` or `wait` that is no number is answered with 400.

    Taken for 0, each answer has every pod.
    """
    _changes(provider, 0)
    for query in ({"since": "soon"}, {"since": "0", "wait": "soon"}):
        code(provider.get("/podStatuses", **query), 400)


@extension
def health_is_told_without_a_token(provider: Provider) -> None:
    """`/healthz` and `/readyz` answer 200, without a token.

    Kubernetes probes them; it has none.
    """
    answers = [provider.request("GET", path, Authorization="") for path in ("/healthz", "/readyz")]
    if all(answer.code == 404 for answer in answers):
        raise NotOffered("/healthz and /readyz are not there")
    for answer in answers:
        code(answer, 200)


@extension
def the_openapi_document_has_the_ten_paths(provider: Provider) -> None:
    """`/openapi.json` is an OpenAPI 3 document with the ten paths.

    Clients are made from it, and tests.
    """
    answer = provider.get("/openapi.json")
    if answer.code == 404:
        raise NotOffered("/openapi.json is not there")
    found = document(answer, dict)
    expect(at(found, "openapi", str).startswith("3."), "its version is not 3")
    missing = [path for method, path in ENDPOINTS if method.lower() not in at(found, "paths", dict).get(path, {})]
    expect(not missing, f"{', '.join(missing)} missing")


def _changes(provider: Provider, since: int) -> dict[str, Any]:
    answer = provider.get("/podStatuses", since=since)
    if answer.code in (404, 405, 501):
        raise NotOffered("/podStatuses is not there")
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


def _settled(provider: Provider, pod: PodJSON) -> int:
    """Wait until nothing more of a pod is told, and give the revision."""
    seen = 0

    def is_settled() -> bool:
        nonlocal seen
        found = _changes(provider, seen)
        seen = found["revision"]
        return not _of(found["statuses"], pod)

    expect(patiently(is_settled), "a pod is told again and again, although nothing of it changes")
    return seen
