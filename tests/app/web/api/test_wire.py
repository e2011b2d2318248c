"""HTTP at the level of bytes, through gunicorn.

The conformance kit, which `test_conformance.py` runs, checks the rules for every provider.
"""

import contextlib
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from conformance.checks import node
from conformance.checks.http import ENDPOINTS
from conformance.wire import Answer, Connection
from tests.app.web.conftest import Connect, Share, named
from tests.pods import a_pod
from tests.server import Server

LARGEST = 2 * 1024 * 1024
"""MAX_CONTENT_LENGTH of the provider that refuses larger bodies."""


def encoded(pod: dict[str, Any]) -> bytes:
    return json.dumps(pod, separators=(",", ":")).encode()


def get(wire: Connection, path: str, pod: dict[str, Any]) -> Answer:
    return wire.request("GET", f"{path}?{urlencode(named(pod))}")


def a_pod_of(size: int, name: str) -> bytes:
    """Return a pod whose JSON has a number of bytes."""
    pod = a_pod(name, metadata={"annotations": {"filling": ""}})
    pod["metadata"]["annotations"]["filling"] = "x" * (size - len(encoded(pod)))
    return encoded(pod)


def chunks(body: bytes, size: int) -> bytes:
    """Return a body in chunks, without the last chunk."""
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)


class TestTheStatusLine:
    def test_of_a_deleted_pod(self, wire: Connection) -> None:
        pod = a_pod("gone")
        wire.request("POST", "/createPod", encoded(pod))
        assert get(wire, "/getPod", pod).status_line == "HTTP/1.1 200 OK"

        wire.request("DELETE", "/deletePod", encoded(pod))

        assert get(wire, "/getPod", pod).status_line == "HTTP/1.1 404 Not Found"

    def test_of_other_responses(self, wire: Connection) -> None:
        assert wire.request("GET", "/getPods").status_line == "HTTP/1.1 200 OK"
        assert wire.request("GET", "/getPod").status_line == "HTTP/1.1 400 Bad Request"
        assert wire.request("GET", "/nothing").status_line == "HTTP/1.1 404 Not Found"
        log = wire.request("GET", "/getContainerLogs?namespace=default&podName=nobody&containerName=web")
        assert log.status_line == "HTTP/1.1 404 Not Found"
        assert wire.request("GET", "/createPod").status_line == "HTTP/1.1 405 Method Not Allowed"


def test_a_write_has_no_response_body(wire: Connection) -> None:
    pod = a_pod("written")
    for method, path in ENDPOINTS[:3]:
        answer = wire.request(method, path, encoded(pod), Content_Type="application/json")

        assert answer.status_line == "HTTP/1.1 200 OK"
        assert answer.header("Content-Type") is None
        assert answer.header("Transfer-Encoding") is None


class TestARequest:
    @pytest.mark.parametrize("size", [1, 100, 10_000], ids=["byte by byte", "in pieces", "in one piece"])
    def test_may_come_in_chunks(self, wire: Connection, size: int) -> None:
        pod = a_pod("chunked", namespace=f"chunked-{size}")
        body = chunks(encoded(pod), size) + b"0\r\n\r\n"

        created = wire.request("POST", "/createPod", body, Transfer_Encoding="chunked")
        read = get(wire, "/getPod", pod)

        assert (created.code, created.body) == (200, b"")
        assert json.loads(read.body)["metadata"] == pod["metadata"]
        assert wire.request("DELETE", "/deletePod", body, Transfer_Encoding="chunked").code == 200
        assert get(wire, "/getPod", pod).code == 404

    def test_may_ask_before_it_sends_its_body(self, wire: Connection) -> None:
        body = encoded(a_pod("expected"))
        head = (
            f"POST /createPod HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n"
        )

        wire.send(head.encode())
        assert wire.receive(has_body=False).status_line == "HTTP/1.1 100 Continue"
        wire.send(body)

        assert wire.receive().code == 200

    def test_may_follow_another_without_waiting_for_its_answer(self, wire: Connection) -> None:
        wire.send(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n" * 3)

        assert [wire.receive().code for _ in range(3)] == [200, 200, 200]

    def test_of_http_1_0_gets_the_whole_list(self, wire: Connection) -> None:
        wire.send(b"GET /getPods HTTP/1.0\r\n\r\n")

        answer = wire.receive()

        assert answer.header("Transfer-Encoding") is None
        assert isinstance(json.loads(answer.body), list)


class TestTheSpellingOfAPath:
    def test_may_have_any_number_of_slashes_in_front(self, wire: Connection) -> None:
        pod = a_pod("slashes")

        for method, path in ENDPOINTS[:2]:
            assert wire.request(method, f"//{path}", encoded(pod)).code == 200
        assert get(wire, "///getPod", pod).code == 200
        assert [wire.request("GET", f"//{path}").code for path in node.PATHS] == [200, 200, 200]
        assert wire.request("DELETE", "///deletePod", encoded(pod)).code == 200
        assert get(wire, "/getPod", pod).code == 404

    @pytest.mark.parametrize(("method", "path"), ENDPOINTS)
    @pytest.mark.parametrize(
        "spelling",
        ["{}/", "//{}/", "{}//", "/.{}", "/x/..{}", "/api{}", "{}%2F", "{};x", "{}?", "/%2F{}"],
    )
    def test_is_never_answered_with_a_redirect(
        self, wire: Connection, method: str, path: str, spelling: str
    ) -> None:
        body = None if method == "GET" else b"{}"

        answer = wire.request(method, spelling.format(path), body)

        assert not 300 <= answer.code < 400
        assert answer.header("Location") is None

    @pytest.mark.parametrize(
        "path", ["/getPods/", "/getpods", "/GetPods", "/pods", "/getPods/default", "/favicon.ico"]
    )
    def test_that_is_not_in_the_contract_is_404(self, wire: Connection, path: str) -> None:
        answer = wire.request("GET", path)

        assert answer.status_line == "HTTP/1.1 404 Not Found"
        assert json.loads(answer.body)["error"]["code"] == 404


class TestTheWrongVerb:
    @pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "TRACE"])
    @pytest.mark.parametrize(("verb", "path"), ENDPOINTS)
    def test_is_405_with_the_right_ones(self, wire: Connection, method: str, verb: str, path: str) -> None:
        allowed = {"GET", "HEAD"} if verb == "GET" else {verb}
        answer = wire.request(method, path, b"{}" if method in ("POST", "PUT", "DELETE") else None)

        assert (answer.code == 405) is (method not in allowed)
        if answer.code == 405:
            assert set((answer.header("Allow") or "").split(", ")) == allowed | {"OPTIONS"}

    @pytest.mark.parametrize("times", [1, 5000], ids=["small", "large"])
    def test_has_a_body_that_is_discarded(self, wire: Connection, times: int) -> None:
        smuggled = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n" * times

        refused = wire.request("PUT", "/createPod", smuggled)
        unknown = wire.request("POST", "/nothing", smuggled)

        assert (refused.code, unknown.code) == (405, 404)
        assert wire.request("GET", "/capacity").code == 200

    @pytest.mark.parametrize(("method", "path"), ENDPOINTS)
    def test_is_not_options_which_says_what_is_right(self, wire: Connection, method: str, path: str) -> None:
        answer = wire.request("OPTIONS", path)

        assert (answer.code, answer.body) == (200, b"")
        assert method in (answer.header("Allow") or "").split(", ")


@pytest.mark.parametrize("path", ["/", "/healthz", "/getPods", "/capacity", "/getPod"])
def test_head_equals_get_without_the_body(wire: Connection, path: str) -> None:
    head, found = wire.request("HEAD", path), wire.request("GET", path)

    assert head.status_line == found.status_line
    assert head.header("Content-Type") == found.header("Content-Type")


@pytest.fixture(scope="module")
def limited(share: Share) -> Iterator[Server]:
    """Run a provider with a lower limit than the default."""
    with share(MAX_CONTENT_LENGTH=str(LARGEST)) as server:
        yield server


class TestABodyThatIsTooLarge:
    @pytest.fixture
    def wire(self, limited: Server, connect: Connect) -> Connection:
        return connect(limited.port)

    def test_is_one_byte_more_than_the_largest(self, wire: Connection) -> None:
        assert wire.request("POST", "/createPod", a_pod_of(LARGEST, "largest")).code == 200
        assert wire.request("POST", "/createPod", a_pod_of(LARGEST + 1, "too-large")).code == 413

    def test_is_limited_in_chunks_too(self, wire: Connection) -> None:
        for size, code in ((LARGEST, 200), (LARGEST + 1, 413)):
            body = chunks(a_pod_of(size, "chunked"), 65_536) + b"0\r\n\r\n"
            assert wire.request("POST", "/createPod", body, Transfer_Encoding="chunked").code == code

    @pytest.mark.parametrize(("method", "path"), ENDPOINTS[:3])
    @pytest.mark.parametrize("size", [LARGEST + 1, 2 * LARGEST])
    def test_is_413_and_the_connection_goes_on(self, wire: Connection, method: str, path: str, size: int) -> None:
        answer = wire.request(method, path, a_pod_of(size, "too-large"))

        assert answer.code == 413
        assert json.loads(answer.body)["error"]["code"] == 413
        self.assert_usable_or_closed(wire, answer)

    @pytest.mark.parametrize(("method", "path"), ENDPOINTS[:3])
    def test_is_413_in_chunks_too(self, wire: Connection, method: str, path: str) -> None:
        body = chunks(a_pod_of(2 * LARGEST, "too-large"), 65_536) + b"0\r\n\r\n"

        answer = wire.request(method, path, body, Transfer_Encoding="chunked")

        assert answer.code == 413
        assert json.loads(answer.body)["error"]["code"] == 413
        self.assert_usable_or_closed(wire, answer)

    def test_is_413_before_it_was_sent(self, wire: Connection) -> None:
        wire.send(b"POST /createPod HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000000\r\n\r\n{")

        assert wire.receive().code == 413

    def test_is_413_in_chunks_without_an_end(self, wire: Connection) -> None:
        wire.send(b"POST /createPod HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        some = chunks(b"x" * 262_144, 65_536)

        for _ in range(1000):
            with contextlib.suppress(ConnectionError):  # and it is not read without limit
                wire.send(some)
            if wire.has_answer():
                break

        assert wire.receive().code == 413

    @staticmethod
    def assert_usable_or_closed(wire: Connection, answer: Answer) -> None:
        if (answer.header("Connection") or "").lower() == "close":
            assert wire.rest() == b""
        else:
            assert wire.request("GET", "/healthz").code == 200


@pytest.mark.parametrize(("method", "path"), [*ENDPOINTS[:3], ("POST", "/nothing")])
@pytest.mark.parametrize("body", [b"zz\r\n{}\r\n", b"2\r\n{}zz0\r\n\r\n", b"-1\r\n{}", b"{}\r\n\r\n"])
def test_broken_chunks_are_a_client_error(wire: Connection, method: str, path: str, body: bytes) -> None:
    answer = wire.request(method, path, body, Transfer_Encoding="chunked")

    assert answer.code == (404 if path == "/nothing" else 400)
    assert json.loads(answer.body)["error"]["code"] == answer.code
    assert wire.rest() == b""


def test_a_disconnect_within_a_body_is_harmless(provider: Server, connect: Connect, wire: Connection) -> None:
    body = encoded(a_pod("cut-off"))
    with connect(provider.port) as leaving:
        leaving.send(b"POST /createPod HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body))
        leaving.send(body[: len(body) // 2])

    assert wire.request("GET", "/getPod?namespace=default&name=cut-off").code == 404


@pytest.mark.parametrize(
    "name", ["%00", "%FF", "%ED%A0%80", quote("ü 🐋"), "'%20OR%201=1--", "%25", "a" * 3000, "%0A"]
)
def test_a_strange_name_is_just_an_unknown_pod(wire: Connection, name: str) -> None:
    answer = wire.request("GET", f"/getPod?namespace=default&name={name}")

    assert answer.status_line == "HTTP/1.1 404 Not Found"
