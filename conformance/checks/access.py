"""Who may ask: the token, and pages of other origins."""

from conformance.check import NotOffered, code, expect, extension, recommended
from conformance.checks.http import ENDPOINTS
from conformance.pods import entries
from conformance.provider import Provider


@recommended
def a_page_of_another_origin_may_not_write(provider: Provider) -> None:
    """A write with the `Origin` of a page that nobody has allowed is refused.

    A browser sends a plain POST to wherever a page likes, a provider on the developer's own machine too. That the
    page may not read the answer comes too late.
    """
    pod = provider.pod()
    answer = provider.request(
        "POST", "/createPod", pod, Origin="https://elsewhere.example", Content_Type="text/plain"
    )
    expect(not answer.is_success, f"it is answered with {answer.status}", answer)
    expect(not entries(provider, pod), "the pod is there afterwards", answer)


@extension
def the_token_is_needed(provider: Provider) -> None:
    """Where there is a token, each of the ten paths answers 401 without it, or with another.

    Whoever reaches the port reads the secrets in the pods otherwise.
    """
    _expect_token(provider)
    for given in ("", "Bearer another", f"Basic {provider.target.token}"):
        for method, path in ENDPOINTS:
            body = None if method == "GET" else provider.pod()
            code(provider.request(method, path, body, Authorization=given), 401)


@extension
def the_token_is_asked_for_as_http_does(provider: Provider) -> None:
    """A 401 has `WWW-Authenticate: Bearer`.

    Clients learn from it how to come again (RFC 9110).
    """
    _expect_token(provider)
    answer = code(provider.request("GET", "/getPods", Authorization=""), 401)
    said = answer.header("WWW-Authenticate") or "missing"
    expect(said.lower().startswith("bearer"), f"it is {said}")


def _expect_token(provider: Provider) -> None:
    if provider.target.token is None:
        raise NotOffered("no token was given")
