"""HTTP around the contract: verbs, redirects, connections, headers, sizes."""

import gzip
import json

from conformance.check import code, document, expect, recommended, required, success
from conformance.pods import created, entries, entry
from conformance.provider import Provider, named
from conformance.wire import Answer

ENDPOINTS = (
    ("POST", "/createPod"),
    ("PUT", "/updatePod"),
    ("DELETE", "/deletePod"),
    ("GET", "/getPod"),
    ("GET", "/getPodStatus"),
    ("GET", "/getPods"),
    ("GET", "/getContainerLogs"),
    ("GET", "/capacity"),
    ("GET", "/nodeConditions"),
    ("GET", "/nodeAddresses"),
)
"""The contract: verb and path of each endpoint."""

_LARGE, _TOO_LARGE = 1_100_000, 3 * 1024 * 1024


@required
def no_path_redirects(provider: Provider) -> None:
    """None of the ten paths answers with a redirect.

    The original broker follows a 301 by turning POST into GET, and reports success: the pod is nowhere.
    """
    pod = provider.pod()
    for method, path in ENDPOINTS:
        answer = provider.request(method, path, None if method == "GET" else pod)
        expect(not 300 <= answer.code < 400, f"{method} {path} answers {answer.status}")


@recommended
def two_slashes_are_served(provider: Provider) -> None:
    """`//getPods` is served as `/getPods` is, and so are the other paths.

    An address with a slash at its end, in a page of a browser, makes such paths. A redirect turns a POST into
    a GET.
    """
    pod = provider.pod()
    success(provider.request("POST", "//createPod", pod))
    success(provider.request("PUT", "//updatePod", pod))
    for path, type_ in (("getPod", dict), ("getPodStatus", dict), ("getPods", list)):
        document(provider.get(f"//{path}", **named(pod)), type_)
    for path in ("//capacity", "//nodeConditions", "//nodeAddresses"):
        success(provider.get(path))
    success(provider.request("DELETE", "//deletePod", pod))
    expect(not entries(provider, pod), "the pod is still there")


@required
def the_headers_of_the_original_broker_do_no_harm(provider: Provider) -> None:
    """A GET may have `Content-Type: application/json` without a body, and `Accept-Encoding: gzip`.

    The original broker sends both on every request.
    """
    for path in ("/getPods", "/capacity", "/nodeConditions", "/nodeAddresses"):
        answer = provider.request(
            "GET",
            path,
            User_Agent="Go-http-client/1.1",
            Content_Type="application/json",
            Accept_Encoding="gzip",
        )
        success(answer)
        _expect_json(answer)


@recommended
def a_connection_stays_open(provider: Provider) -> None:
    """After an answer the connection is there for the next request.

    A broker asks for every pod every few seconds. The original one cannot repeat a write whose connection was
    closed under it: it fails for five minutes, although the provider has the pod.
    """
    pod = provider.pod()
    for write in (provider.create, provider.update, provider.delete):
        expect(not write(pod).ends_connection, "it is closed after a write")
    expect(not provider.get("/capacity").ends_connection, "it is closed after a read")


@recommended
def a_wrong_verb_is_405_and_does_nothing(provider: Provider) -> None:
    """The wrong verb is answered with 405 and `Allow`.

    `GET /createPod` in the address bar, or a POST where a PUT was meant, is told from what is not there; and a
    DELETE sent to the wrong path deletes nothing.
    """
    pod = created(provider, provider.pod())
    for method, path, right in (("GET", "/createPod", "POST"), ("DELETE", "/updatePod", "PUT")):
        answer = code(provider.request(method, path, None if method == "GET" else pod), 405)
        expect(right in (answer.header("Allow") or ""), f"Allow has no {right}")
    expect(entries(provider, pod), "the pod is gone")


@recommended
def a_large_pod_is_taken(provider: Provider) -> None:
    """A pod of 1.1 MB is taken, and read back whole.

    Its environment comes resolved, with ConfigMaps of up to 1 MiB in it; Kubernetes stores pods of up to 1.5 MiB.
    """
    pod = created(provider, provider.pod(metadata={"annotations": {"filling": "x" * _LARGE}}))
    read = entry(provider, pod)
    expect(len(json.dumps(read)) > _LARGE, "a part of it is missing")


@recommended
def a_body_that_is_too_large_is_413(provider: Provider) -> None:
    """A body that the provider finds too large is answered with 413.

    It says what is wrong; a connection that is cut, or a 500, is repeated.
    """
    answer = provider.create(provider.pod(metadata={"annotations": {"filling": "x" * _TOO_LARGE}}))
    if not answer.is_success:
        code(answer, 413)


def _expect_json(answer: Answer) -> None:
    is_zipped = answer.header("Content-Encoding") == "gzip"
    document(answer._replace(body=gzip.decompress(answer.body)) if is_zipped else answer, object)
