"""Access: the bearer token, and requests from pages of other origins."""

from conformance.check import NotOffered, code, expect, extension, recommended
from conformance.checks.http import ENDPOINTS
from conformance.client import ProviderClient
from conformance.pods import entries


@recommended
def cross_origin_write_is_refused(provider: ProviderClient) -> None:
    """A write with the `Origin` of a web page that is not allowed is rejected.

    A browser sends a simple POST from any page to any address, including a provider on the developer's own
    machine. CORS only prevents the page from reading the response.
    """
    pod = provider.pod()
    answer = provider.request(
        "POST", "/createPod", pod, Origin="https://elsewhere.example", Content_Type="text/plain"
    )
    expect(not answer.is_success, f"the write returns {answer.status}", answer)
    expect(not entries(provider, pod), "the request created the pod", answer)


@extension
def token_is_required(provider: ProviderClient) -> None:
    """If a token is configured, each of the ten endpoints returns 401 without it, or with a different one.

    Otherwise, every client that can reach the port can read the secrets in the pods.
    """
    _expect_token(provider)
    for given in ("", "Bearer another", f"Basic {provider.target.token}"):
        for method, path in ENDPOINTS:
            body = None if method == "GET" else provider.pod()
            code(provider.request(method, path, body, Authorization=given), 401)


@extension
def unauthorized_response_has_www_authenticate(provider: ProviderClient) -> None:
    """A 401 response has the header `WWW-Authenticate: Bearer`.

    Clients read the authentication scheme from it (RFC 9110).
    """
    _expect_token(provider)
    answer = code(provider.request("GET", "/getPods", Authorization=""), 401)
    header = answer.header("WWW-Authenticate") or "missing"
    expect(header.lower().startswith("bearer"), f"WWW-Authenticate is {header}")


def _expect_token(provider: ProviderClient) -> None:
    if provider.target.token is None:
        raise NotOffered("no --token was given")
