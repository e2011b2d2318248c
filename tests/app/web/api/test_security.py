"""Access control: token, listening address, health port, CORS origins."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from socket import AF_INET6, socket

import pytest
from flask.testing import FlaskClient

from app.db.engine import Database
from app.db.models import AuditEvent
from conformance.checks import node
from conformance.checks.http import ENDPOINTS
from tests.app.web.conftest import ORIGIN, TOKEN, Connect, on_sqlite_alone, rows
from tests.conftest import MakeApp
from tests.pods import a_pod
from tests.postgres import free_port
from tests.server import CLEAN, ROOT, Client, Server

BEARER = {"Authorization": f"Bearer {TOKEN}"}
WRONG = {
    "none": {},
    "empty": {"Authorization": ""},
    "another token": {"Authorization": "Bearer another"},
    "no token": {"Authorization": "Bearer"},
    "a part of the token": {"Authorization": f"Bearer {TOKEN[:-1]}"},
    "more than the token": {"Authorization": f"Bearer {TOKEN}x"},
    "no scheme": {"Authorization": TOKEN},
    "another scheme": {"Authorization": f"Basic {TOKEN}"},
    "not ASCII": {"Authorization": "Bearer ü"},
    "in another header": {"X-Token": TOKEN},
}


class TestTheToken:
    @pytest.fixture
    def client(self, guarded: Server) -> Iterator[Client]:
        with closing(guarded.client()) as client:
            yield client

    @pytest.mark.parametrize("headers", WRONG.values(), ids=WRONG)
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            *ENDPOINTS,
            ("GET", "//getPods"),
            ("GET", "/getPods/"),
            ("GET", "/nothing"),
            ("GET", "/metrics"),
            ("GET", "/healthz/"),
            ("GET", "/createPod"),
            ("HEAD", "/getPods"),
            ("POST", "/"),
        ],
    )
    def test_is_required_except_for_probes(
        self, client: Client, method: str, path: str, headers: dict[str, str]
    ) -> None:
        body = a_pod() if method in ("POST", "PUT", "DELETE") else None

        answer = client.request(method, path, body, headers=headers)

        assert answer.status_line == "401 Unauthorized"
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert method == "HEAD" or answer.json()["error"]["code"] == 401

    @pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
    def test_opens_every_path(self, client: Client, scheme: str) -> None:
        headers = {"Authorization": f"{scheme} {TOKEN}"}

        for path in ("/getPods", "//getPods", "/metrics", *node.PATHS):
            assert client.request("GET", path, headers=headers).code == 200
        assert client.request("GET", "/nothing", headers=headers).code == 404
        assert client.request("GET", "/createPod", headers=headers).code == 405

    @pytest.mark.parametrize("path", ["/", "/healthz", "/readyz"])
    @pytest.mark.parametrize("headers", [{}, WRONG["another token"]], ids=["none", "wrong"])
    def test_is_not_needed_by_probes(self, client: Client, path: str, headers: dict[str, str]) -> None:
        assert client.request("GET", path, headers=headers).code == 200

    def test_is_checked_before_the_body(self, client: Client) -> None:
        assert client.request("POST", "/createPod", b"no JSON").code == 401
        assert client.request("POST", "/createPod", b"x" * (3 * 1024 * 1024)).code == 401

    def test_is_in_no_response_or_log(self, client: Client, guarded: Server) -> None:
        for headers in (BEARER, WRONG["more than the token"]):
            answer = client.request("GET", "/getPod", headers=headers)
            assert TOKEN not in f"{answer.headers} {answer.body.decode()}"

        assert TOKEN not in guarded.log.read_text()


def test_an_unauthorized_write_changes_nothing(make_app: MakeApp, database: Database) -> None:
    client = make_app(provider_token=TOKEN).test_client()

    assert client.post("/createPod", json=a_pod()).status_code == 401

    assert client.get("/getPods", headers=BEARER).get_json() == []
    assert rows(database, AuditEvent) == []


class TestWhereItListens:
    def test_on_loopback_alone_without_a_token(self, provider: Server, connect: Connect) -> None:
        # A server that listens on all addresses also listens on this loopback address.
        with pytest.raises(ConnectionRefusedError):
            connect(provider.port, host="127.0.0.2")

    def test_needs_a_token_beyond_loopback(self) -> None:
        ended = subprocess.run(
            [sys.executable, "-m", "gunicorn"],
            cwd=ROOT,
            env={**CLEAN, "HOST": "0.0.0.0", "PORT": str(free_port())},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

        assert ended.returncode != 0
        [line] = ended.stderr.splitlines()
        assert line.startswith("HOST: ")
        assert "PROVIDER_TOKEN" in line


def has_ipv6() -> bool:
    try:
        with socket(AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


class TestThePortForProbes:
    @pytest.fixture
    def client(self, guarded: Server, health_port: int) -> Iterator[Client]:
        with closing(Client(health_port)) as client:
            yield client

    @pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
    def test_needs_no_token(self, client: Client, path: str) -> None:
        assert client.get(path).status_line == "200 OK"

    @pytest.mark.parametrize("headers", [{}, BEARER], ids=["without token", "with token"])
    @pytest.mark.parametrize(
        ("method", "path"),
        [*ENDPOINTS, ("GET", "/"), ("GET", "/nothing"), ("GET", "//getPods"), ("GET", "/createPod")],
    )
    def test_has_nothing_else(self, client: Client, method: str, path: str, headers: dict[str, str]) -> None:
        body = a_pod() if method in ("POST", "PUT", "DELETE") else None

        answer = client.request(method, path, body, headers=headers)

        assert answer.status_line == "404 Not Found"
        assert answer.json()["error"]["code"] == 404

    def test_takes_no_pod(self, client: Client, guarded: Server) -> None:
        pod = a_pod("from-outside")
        client.request("POST", "/createPod", pod, headers=BEARER)

        with closing(guarded.client()) as inside:
            listed = inside.request("GET", "/getPods", headers=BEARER).body.decode()
        assert pod["metadata"]["uid"] not in listed

    def test_cannot_be_talked_into_being_the_other(self, client: Client, guarded: Server) -> None:
        host = {"Host": f"127.0.0.1:{guarded.port}", "X-Forwarded-Port": str(guarded.port), **BEARER}

        assert client.request("GET", "/getPods", headers=host).code == 404

    @pytest.mark.parametrize("host", ["127.0.0.2", "::1"] if has_ipv6() else ["127.0.0.2"])
    def test_serves_probes_on_all_interfaces(
        self, guarded: Server, health_port: int, connect: Connect, host: str
    ) -> None:
        assert connect(health_port, host=host).request("GET", "/healthz").code == 200
        with pytest.raises(ConnectionRefusedError):
            connect(guarded.port, host=host)


def preflight(client: FlaskClient, origin: str, method: str = "GET", **headers: str) -> dict[str, str]:
    """Send a CORS preflight as a browser does, and return the CORS headers."""
    sent = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "content-type",
        **headers,
    }
    answer = client.options("/getPods", headers=sent)
    assert answer.status_code == 200
    return {k.lower(): v for k, v in answer.headers.items() if k.lower().startswith("access-control-")}


@on_sqlite_alone
class TestPagesOfAnotherOrigin:
    @pytest.fixture(params=[{}, {"provider_token": TOKEN}], ids=["no token", "token"])
    def client(self, make_app: MakeApp, request: pytest.FixtureRequest) -> FlaskClient:
        return make_app(cors_origins=f"{ORIGIN}, https://other.example", **request.param).test_client()

    @pytest.mark.parametrize("origin", [ORIGIN, "https://other.example"])
    @pytest.mark.parametrize("headers", [{}, BEARER, WRONG["another token"]], ids=["without", "with", "wrong"])
    def test_pass_the_preflight_of_an_allowed_origin(
        self, client: FlaskClient, origin: str, headers: dict[str, str]
    ) -> None:
        allowed = preflight(client, origin, **headers)

        assert allowed["access-control-allow-origin"] == origin
        methods = {method.strip() for method in allowed["access-control-allow-methods"].split(",")}
        assert methods == {"GET", "PUT", "OPTIONS"}
        assert "content-type" in allowed["access-control-allow-headers"].lower()
        assert "access-control-allow-credentials" not in allowed

    @pytest.mark.parametrize("method", ["POST", "DELETE", "PATCH"])
    def test_may_neither_create_nor_delete(self, client: FlaskClient, method: str) -> None:
        assert method not in preflight(client, ORIGIN, method).get("access-control-allow-methods", "")

    @pytest.mark.parametrize(
        "origin",
        ["http://evil.example", f"{ORIGIN}.evil.example", "http://ui.example", "https://ui.example:8080", "null"],
    )
    def test_get_no_cors_headers_otherwise(self, client: FlaskClient, origin: str) -> None:
        assert preflight(client, origin) == {}
        answer = client.get("/getPods", headers={"Origin": origin, **BEARER})
        assert answer.status_code == 200
        assert "Access-Control-Allow-Origin" not in answer.headers

    def test_may_read_the_answer_and_the_error(self, client: FlaskClient) -> None:
        for path, code in (("/getPods", 200), ("/getPod?namespace=a&name=b", 404)):
            answer = client.get(path, headers={"Origin": ORIGIN, **BEARER})

            assert answer.status_code == code
            assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
            assert "Origin" in answer.headers["Vary"]


@on_sqlite_alone
def test_no_origin_is_allowed_by_default(client: FlaskClient) -> None:
    assert preflight(client, ORIGIN) == {}
    assert preflight(client, "null") == {}
    answer = client.get("/getPods", headers={"Origin": ORIGIN})
    assert not [name for name, _ in answer.headers if name.lower().startswith("access-control-")]


@on_sqlite_alone
def test_every_origin_is_allowed_by_a_star(make_app: MakeApp) -> None:
    client = make_app(cors_origins="*").test_client()

    assert preflight(client, "http://any.example")["access-control-allow-origin"] in ("*", "http://any.example")


def test_a_preflight_without_a_token_gets_through_gunicorn(guarded: Server, connect: Connect) -> None:
    answer = connect(guarded.port).request(
        "OPTIONS", "/updatePod", Origin=ORIGIN, Access_Control_Request_Method="PUT"
    )

    assert answer.status_line == "HTTP/1.1 200 OK"
    assert answer.header("Access-Control-Allow-Origin") == ORIGIN


@pytest.mark.parametrize("origin", ["https://elsewhere.example", "null"])
@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("POST", "/createPod", 200),
        ("PUT", "/updatePod", 404),
        ("DELETE", "/deletePod", 404),
        ("POST", "/capacity", 405),
    ],
)
def test_a_page_of_another_origin_may_not_write(
    make_app: MakeApp, method: str, path: str, code: int, origin: str
) -> None:
    client = make_app(cors_origins=ORIGIN).test_client()

    def write(origin: str) -> int:
        body = json.dumps(a_pod())
        headers = {"Origin": origin, "Content-Type": "text/plain"}  # which a browser sends without a preflight
        return client.open(path, method=method, data=body, headers=headers).status_code

    assert write(origin) == 403
    assert client.get("/getPods").get_json() == []
    assert write(ORIGIN) == code
