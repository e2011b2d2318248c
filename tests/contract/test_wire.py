"""What goes over the socket, byte for byte, with gunicorn between."""

import contextlib
import gzip
import json
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from tests.contract.conftest import ENDPOINTS, NODE_PATHS, Connect, RawAnswer, RawConnection, named
from tests.pods import a_container, a_pod
from tests.server import Server

LARGEST = 2 * 1024 * 1024
"""The default of MAX_CONTENT_LENGTH."""


def encoded(pod: dict[str, Any]) -> bytes:
    return json.dumps(pod, separators=(",", ":")).encode()


def get(wire: RawConnection, path: str, pod: dict[str, Any]) -> RawAnswer:
    return wire.request("GET", f"{path}?{urlencode(named(pod))}")


def a_pod_of(size: int, name: str) -> bytes:
    """A pod whose JSON has so many bytes."""
    pod = a_pod(name, metadata={"annotations": {"filling": ""}})
    pod["metadata"]["annotations"]["filling"] = "x" * (size - len(encoded(pod)))
    return encoded(pod)


def chunks(body: bytes, size: int) -> bytes:
    """Write a body as chunks, without the last one."""
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)


class TestTheStatusLine:
    @pytest.mark.parametrize("path", ["/getPod", "/getPodStatus", "/getContainerLogs"])
    def test_of_an_unknown_pod_is_404_not_found(self, wire: RawConnection, path: str) -> None:
        answer = wire.request("GET", f"{path}?namespace=default&name=nobody&podName=nobody&containerName=web")

        assert answer.status_line == "HTTP/1.1 404 Not Found"

    def test_of_a_pod_that_is_gone_is_404_not_found(self, wire: RawConnection) -> None:
        pod = a_pod("gone")
        wire.request("POST", "/createPod", encoded(pod))
        assert get(wire, "/getPod", pod).status_line == "HTTP/1.1 200 OK"

        wire.request("DELETE", "/deletePod", encoded(pod))

        assert get(wire, "/getPod", pod).status_line == "HTTP/1.1 404 Not Found"

    def test_of_other_answers_has_the_phrase_of_http_too(self, wire: RawConnection) -> None:
        assert wire.request("GET", "/getPods").status_line == "HTTP/1.1 200 OK"
        assert wire.request("GET", "/getPod").status_line == "HTTP/1.1 400 Bad Request"
        assert wire.request("GET", "/nothing").status_line == "HTTP/1.1 404 Not Found"
        assert wire.request("GET", "/createPod").status_line == "HTTP/1.1 405 Method Not Allowed"


class TestAWrite:
    @pytest.fixture
    def answers(self, wire: RawConnection) -> list[RawAnswer]:
        """Every kind of write that succeeds, in one connection."""
        pod = a_pod("written")
        changed = {**pod, "spec": {"containers": [a_container(image="nginx:1.28")]}}
        return [
            wire.request("POST", "/createPod", encoded(pod), Content_Type="application/json"),
            wire.request("POST", "/createPod", encoded(pod), Content_Type="application/json"),
            wire.request("PUT", "/updatePod", encoded(changed), Content_Type="application/json"),
            wire.request("PUT", "/updatePod", encoded(changed), Content_Type="application/json"),
            wire.request("DELETE", "/deletePod", encoded(pod), Content_Type="application/json"),
        ]

    def test_is_answered_with_an_empty_body(self, answers: list[RawAnswer]) -> None:
        for answer in answers:
            assert answer.status_line == "HTTP/1.1 200 OK"
            assert answer.header("Content-Length") == "0"
            assert answer.header("Content-Type") is None
            assert answer.header("Transfer-Encoding") is None

    def test_leaves_the_connection_open_for_the_next(self, answers: list[RawAnswer], wire: RawConnection) -> None:
        assert {(answer.header("Connection") or "keep-alive").lower() for answer in answers} == {"keep-alive"}
        assert wire.request("GET", "/healthz").code == 200


class TestARequest:
    def test_may_be_a_delete_with_a_body(self, wire: RawConnection) -> None:
        pod, other = a_pod("deleted"), a_pod("kept")
        for body in (pod, other):
            wire.request("POST", "/createPod", encoded(body))

        assert wire.request("DELETE", "/deletePod", encoded(pod)).code == 200

        assert get(wire, "/getPod", pod).code == 404
        assert get(wire, "/getPod", other).code == 200

    @pytest.mark.parametrize("size", [1, 100, 10_000], ids=["byte by byte", "in pieces", "in one piece"])
    def test_may_come_in_chunks(self, wire: RawConnection, size: int) -> None:
        pod = a_pod("chunked", namespace=f"chunked-{size}")
        body = chunks(encoded(pod), size) + b"0\r\n\r\n"

        created = wire.request("POST", "/createPod", body, Transfer_Encoding="chunked")
        read = get(wire, "/getPod", pod)

        assert (created.code, created.body) == (200, b"")
        assert json.loads(read.body)["metadata"] == pod["metadata"]
        assert wire.request("DELETE", "/deletePod", body, Transfer_Encoding="chunked").code == 200
        assert get(wire, "/getPod", pod).code == 404

    def test_may_ask_before_it_sends_its_body(self, wire: RawConnection) -> None:
        body = encoded(a_pod("expected"))
        head = (
            f"POST /createPod HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n"
        )

        wire.send(head.encode())
        assert wire.receive(has_body=False).status_line == "HTTP/1.1 100 Continue"
        wire.send(body)

        assert wire.receive().code == 200

    def test_has_the_headers_of_the_original_broker_on_a_get_too(self, wire: RawConnection) -> None:
        answer = wire.request("GET", "/getPods", Content_Type="application/json", Accept_Encoding="gzip")

        assert answer.code == 200
        body = gzip.decompress(answer.body) if answer.header("Content-Encoding") == "gzip" else answer.body
        assert isinstance(json.loads(body), list)

    def test_may_follow_another_without_waiting_for_its_answer(self, wire: RawConnection) -> None:
        wire.send(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n" * 3)

        assert [wire.receive().code for _ in range(3)] == [200, 200, 200]

    def test_of_http_1_0_gets_the_whole_list(self, wire: RawConnection) -> None:
        wire.send(b"GET /getPods HTTP/1.0\r\n\r\n")

        answer = wire.receive()

        assert answer.header("Transfer-Encoding") is None
        assert isinstance(json.loads(answer.body), list)


def test_a_list_longer_than_the_original_broker_reads_arrives_whole(wire: RawConnection) -> None:
    body = a_pod_of(1_100_000, "long")
    assert wire.request("POST", "/createPod", body).code == 200

    listed = wire.request("GET", "/getPods")

    assert len(listed.body) > 1_100_000
    assert json.loads(body)["metadata"] in [pod["metadata"] for pod in json.loads(listed.body)]
    assert wire.request("GET", "/healthz").code == 200


@pytest.mark.parametrize("spelling", ["a+pod+%2B%26", "a%20pod%20%2B%26"], ids=["+", "%20"])
def test_a_query_is_form_encoded(wire: RawConnection, spelling: str) -> None:
    pod = a_pod("a pod +&", uid="with-spaces")
    assert wire.request("POST", "/createPod", encoded(pod)).code == 200

    answer = wire.request("GET", f"/getPod?namespace=default&name={spelling}")

    assert answer.code == 200
    assert json.loads(answer.body)["metadata"]["uid"] == "with-spaces"


class TestTheSpellingOfAPath:
    @pytest.mark.parametrize("slashes", ["//", "///"])
    def test_with_more_than_one_slash_in_front_is_served(self, wire: RawConnection, slashes: str) -> None:
        pod = a_pod("slashes", namespace=f"slashes-{len(slashes)}")

        assert wire.request("POST", f"{slashes}createPod", encoded(pod)).status_line == "HTTP/1.1 200 OK"
        assert wire.request("PUT", f"{slashes}updatePod", encoded(pod)).status_line == "HTTP/1.1 200 OK"
        listed = wire.request("GET", f"{slashes}getPods")
        assert pod["metadata"]["uid"] in listed.body.decode()
        assert get(wire, f"{slashes}getPod", pod).code == 200
        assert [wire.request("GET", f"{slashes}{path[1:]}").code for path in NODE_PATHS] == [200, 200, 200]
        assert wire.request("DELETE", f"{slashes}deletePod", encoded(pod)).status_line == "HTTP/1.1 200 OK"
        assert get(wire, "/getPod", pod).code == 404

    @pytest.mark.parametrize(("method", "path"), ENDPOINTS)
    @pytest.mark.parametrize(
        "spelling",
        ["{}/", "//{}/", "{}//", "/.{}", "/x/..{}", "/api{}", "{}%2F", "{};x", "{}?", "/%2F{}"],
    )
    def test_is_never_answered_with_a_redirect(
        self, wire: RawConnection, method: str, path: str, spelling: str
    ) -> None:
        body = None if method == "GET" else b"{}"

        answer = wire.request(method, spelling.format(path), body)

        assert not 300 <= answer.code < 400
        assert answer.header("Location") is None

    @pytest.mark.parametrize(
        "path", ["/getPods/", "/getpods", "/GetPods", "/pods", "/getPods/default", "/favicon.ico"]
    )
    def test_that_is_not_in_the_contract_is_404(self, wire: RawConnection, path: str) -> None:
        answer = wire.request("GET", path)

        assert answer.status_line == "HTTP/1.1 404 Not Found"
        assert json.loads(answer.body)["error"]["code"] == 404

    def test_of_the_root_answers_200(self, wire: RawConnection) -> None:
        assert wire.request("GET", "/").status_line == "HTTP/1.1 200 OK"


class TestTheWrongVerb:
    @pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "TRACE"])
    @pytest.mark.parametrize(("verb", "path"), ENDPOINTS)
    def test_is_405_with_the_right_ones(self, wire: RawConnection, method: str, verb: str, path: str) -> None:
        allowed = {"GET", "HEAD"} if verb == "GET" else {verb}
        answer = wire.request(method, path, b"{}" if method in ("POST", "PUT", "DELETE") else None)

        assert (answer.code == 405) is (method not in allowed)
        if answer.code == 405:
            assert set((answer.header("Allow") or "").split(", ")) == allowed | {"OPTIONS"}

    @pytest.mark.parametrize("times", [1, 5000], ids=["small", "large"])
    def test_has_a_body_that_is_not_taken_for_the_next_request(self, wire: RawConnection, times: int) -> None:
        smuggled = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n" * times

        refused = wire.request("PUT", "/createPod", smuggled)
        unknown = wire.request("POST", "/nothing", smuggled)

        assert (refused.code, unknown.code) == (405, 404)
        assert wire.request("GET", "/capacity").code == 200

    @pytest.mark.parametrize(("method", "path"), ENDPOINTS)
    def test_is_not_options_which_says_what_is_right(self, wire: RawConnection, method: str, path: str) -> None:
        answer = wire.request("OPTIONS", path)

        assert (answer.code, answer.body) == (200, b"")
        assert method in (answer.header("Allow") or "").split(", ")


@pytest.mark.parametrize("path", ["/", "/healthz", "/getPods", "/capacity", "/getPod"])
def test_a_head_is_answered_like_a_get_without_the_body(wire: RawConnection, path: str) -> None:
    head, found = wire.request("HEAD", path), wire.request("GET", path)

    assert head.status_line == found.status_line
    assert head.header("Content-Type") == found.header("Content-Type")


class TestABodyThatIsTooLarge:
    def test_is_one_byte_more_than_the_largest(self, wire: RawConnection) -> None:
        assert wire.request("POST", "/createPod", a_pod_of(LARGEST, "largest")).code == 200
        assert wire.request("POST", "/createPod", a_pod_of(LARGEST + 1, "too-large")).code == 413

    def test_is_one_byte_more_than_the_largest_in_chunks(self, wire: RawConnection) -> None:
        for size, code in ((LARGEST, 200), (LARGEST + 1, 413)):
            body = chunks(a_pod_of(size, "chunked"), 65_536) + b"0\r\n\r\n"
            assert wire.request("POST", "/createPod", body, Transfer_Encoding="chunked").code == code

    @pytest.mark.parametrize(("method", "path"), ENDPOINTS[:3])
    @pytest.mark.parametrize("size", [LARGEST + 1, 2 * LARGEST])
    def test_is_413_and_the_connection_goes_on(
        self, wire: RawConnection, method: str, path: str, size: int
    ) -> None:
        answer = wire.request(method, path, a_pod_of(size, "too-large"))

        assert answer.code == 413
        assert json.loads(answer.body)["error"]["code"] == 413
        self.assert_usable_or_closed(wire, answer)

    @pytest.mark.parametrize(("method", "path"), ENDPOINTS[:3])
    def test_is_413_in_chunks_too(self, wire: RawConnection, method: str, path: str) -> None:
        body = chunks(a_pod_of(2 * LARGEST, "too-large"), 65_536) + b"0\r\n\r\n"

        answer = wire.request(method, path, body, Transfer_Encoding="chunked")

        assert answer.code == 413
        assert json.loads(answer.body)["error"]["code"] == 413
        self.assert_usable_or_closed(wire, answer)

    def test_is_413_before_it_was_sent(self, wire: RawConnection) -> None:
        wire.send(b"POST /createPod HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000000\r\n\r\n{")

        assert wire.receive().code == 413

    def test_is_413_in_chunks_without_an_end(self, wire: RawConnection) -> None:
        wire.send(b"POST /createPod HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        some = chunks(b"x" * 262_144, 65_536)

        for _ in range(1000):
            with contextlib.suppress(ConnectionError):  # it need not be read for ever, either
                wire.send(some)
            if wire.has_answer():
                break

        assert wire.receive().code == 413

    @staticmethod
    def assert_usable_or_closed(wire: RawConnection, answer: RawAnswer) -> None:
        if (answer.header("Connection") or "").lower() == "close":
            assert wire.rest() == b""
        else:
            assert wire.request("GET", "/healthz").code == 200


@pytest.mark.parametrize(("method", "path"), [*ENDPOINTS[:3], ("POST", "/nothing")])
@pytest.mark.parametrize("body", [b"zz\r\n{}\r\n", b"2\r\n{}zz0\r\n\r\n", b"-1\r\n{}", b"{}\r\n\r\n"])
def test_a_body_in_broken_chunks_is_the_fault_of_the_client(
    wire: RawConnection, method: str, path: str, body: bytes
) -> None:
    answer = wire.request(method, path, body, Transfer_Encoding="chunked")

    assert answer.code == (404 if path == "/nothing" else 400)
    assert json.loads(answer.body)["error"]["code"] == answer.code
    assert wire.rest() == b""


def test_a_client_that_goes_away_in_the_middle_of_a_body_does_no_harm(
    provider: Server, connect: Connect, wire: RawConnection
) -> None:
    body = encoded(a_pod("cut-off"))
    with connect(provider.port) as leaving:
        leaving.send(b"POST /createPod HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body))
        leaving.send(body[: len(body) // 2])

    assert wire.request("GET", "/getPod?namespace=default&name=cut-off").code == 404


@pytest.mark.parametrize(
    "name", ["%00", "%FF", "%ED%A0%80", quote("ü 🐋"), "'%20OR%201=1--", "%25", "a" * 3000, "%0A"]
)
def test_a_strange_name_is_just_an_unknown_pod(wire: RawConnection, name: str) -> None:
    answer = wire.request("GET", f"/getPod?namespace=default&name={name}")

    assert answer.status_line == "HTTP/1.1 404 Not Found"
