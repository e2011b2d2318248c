"""HTTP: methods, redirects, connections, headers, sizes."""

import gzip
import json

from conformance.check import code, document, expect, recommended, required, success
from conformance.client import ProviderClient, named
from conformance.pods import created, entries, entry, is_deleted
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
"""Method and path of each endpoint of the contract."""

_LARGE, _TOO_LARGE = 1_100_000, 3 * 1024 * 1024


@required
def no_endpoint_redirects(provider: ProviderClient) -> None:
    """None of the ten endpoints returns a redirect.

    The original broker follows a 301, changes POST to GET, and reports success, although no pod was created.
    """
    pod = provider.pod()
    for method, path in ENDPOINTS:
        answer = provider.request(method, path, None if method == "GET" else pod)
        expect(not 300 <= answer.code < 400, f"{method} {path} returns {answer.status}")


@recommended
def double_slash_paths_are_served(provider: ProviderClient) -> None:
    """`//getPods` is served like `/getPods`, and so are the other paths.

    A base URL with a trailing slash produces such paths. A redirect would change a POST to a GET.
    """
    pod = provider.pod()
    success(provider.request("POST", "//createPod", pod))
    success(provider.request("PUT", "//updatePod", pod))
    for path, type_ in (("getPod", dict), ("getPodStatus", dict), ("getPods", list)):
        document(provider.get(f"//{path}", **named(pod)), type_)
    for path in ("//capacity", "//nodeConditions", "//nodeAddresses"):
        success(provider.get(path))
    success(provider.request("DELETE", "//deletePod", pod))
    expect(is_deleted(provider, pod), "DELETE //deletePod did not delete the pod")


@required
def headers_of_the_original_broker_are_accepted(provider: ProviderClient) -> None:
    """A GET may have `Content-Type: application/json` without a body, and `Accept-Encoding: gzip`.

    The original broker sends both headers with every request.
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
def connection_stays_open(provider: ProviderClient) -> None:
    """The connection stays open for the next request after a response.

    A broker reads every pod every few seconds. The original broker cannot repeat a write if the provider closes
    the connection: the write fails for five minutes, although the provider has the pod.
    """
    pod = provider.pod()
    for write in (provider.create, provider.update, provider.delete):
        expect(not write(pod).ends_connection, "the provider closes the connection after a write")
    expect(not provider.get("/capacity").ends_connection, "the provider closes the connection after a read")


@recommended
def wrong_method_returns_405(provider: ProviderClient) -> None:
    """A wrong HTTP method returns 405 with `Allow`, and changes nothing.

    The client can distinguish a wrong method, such as `GET /createPod` or POST for PUT, from a missing path; and a
    DELETE that is sent to the wrong path deletes nothing.
    """
    pod = created(provider, provider.pod())
    for method, path, right in (("GET", "/createPod", "POST"), ("DELETE", "/updatePod", "PUT")):
        answer = code(provider.request(method, path, None if method == "GET" else pod), 405)
        expect(right in (answer.header("Allow") or ""), f"Allow does not contain {right}")
    expect(entries(provider, pod), "the request deleted the pod")


@recommended
def large_pod_is_accepted(provider: ProviderClient) -> None:
    """A pod of 1.1 MB is accepted, and returned in full.

    The broker resolves the environment, with ConfigMaps of up to 1 MiB; Kubernetes stores pods of up to 1.5 MiB.
    """
    pod = created(provider, provider.pod(metadata={"annotations": {"padding": "x" * _LARGE}}))
    read = entry(provider, pod)
    expect(len(json.dumps(read)) > _LARGE, "/getPods does not return the whole pod")


@recommended
def oversized_body_returns_413(provider: ProviderClient) -> None:
    """A body that exceeds the provider's limit returns 413.

    The error names the cause; after a closed connection, or a 500, the request is repeated.
    """
    answer = provider.create(provider.pod(metadata={"annotations": {"padding": "x" * _TOO_LARGE}}))
    if not answer.is_success:
        code(answer, 413)


def _expect_json(answer: Answer) -> None:
    is_zipped = answer.header("Content-Encoding") == "gzip"
    document(answer._replace(body=gzip.decompress(answer.body)) if is_zipped else answer, object)
