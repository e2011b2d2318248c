"""Access to the dashboard with a token: sign-in form, session, limit of attempts."""

import re
from datetime import timedelta
from html import unescape

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from conformance.checks.http import ENDPOINTS
from tests.app.web.conftest import TOKEN, on_sqlite_alone
from tests.conftest import Clock, MakeApp

pytestmark = on_sqlite_alone

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
PAGES = ["/ui/", "/ui/pods", "/ui/audit", "/ui/pod?uid=none", "/ui/logs?uid=a&container=b", "/ui/nothing"]


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app(provider_token=TOKEN, node_name="secret-node")


def sign_in(client: FlaskClient, token: str = TOKEN, target: str = "/ui/pods", **more: str) -> TestResponse:
    environ = {"REMOTE_ADDR": more.pop("address", "127.0.0.1")}
    form = {"token": token, "next": target}
    return client.post("/ui/sign-in", data=form, headers=more, environ_overrides=environ)


def is_inside(client: FlaskClient) -> bool:
    return client.get("/ui/pods", headers=BROWSER).status_code == 200


class TestWithoutASession:
    @pytest.mark.parametrize("page", PAGES)
    def test_a_browser_is_led_to_the_form(self, client: FlaskClient, page: str) -> None:
        answer = client.get(page, headers=BROWSER)
        form = client.get(answer.headers["Location"], headers=BROWSER)

        assert (answer.status_code, form.status_code) == (303, 200)
        assert re.findall('name="next" value="([^"]*)"', form.text) == [page.replace("&", "&amp;")]

    @pytest.mark.parametrize("page", PAGES)
    def test_a_script_is_refused(self, client: FlaskClient, page: str) -> None:
        answer = client.get(page, headers={"Accept": "*/*"})

        assert (answer.status_code, answer.mimetype) == (401, "text/plain")
        assert answer.headers["WWW-Authenticate"] == "Bearer"

    def test_nothing_tells_of_the_node(self, client: FlaskClient) -> None:
        answers = [client.get(path, headers=BROWSER) for path in ("/ui", "/ui/sign-in", *PAGES)]
        answers += [client.post("/ui/pods"), client.get("/ui/pods", headers={"Authorization": "Bearer x"})]

        assert not any("secret-node" in f"{answer.headers} {answer.text}" for answer in answers)
        assert "default-src 'none'" in answers[1].headers["Content-Security-Policy"]
        assert answers[1].headers["Cache-Control"] == "no-store"

    @pytest.mark.parametrize(("given", "code"), [(TOKEN, 200), (f"{TOKEN}x", 401), ("", 401)])
    def test_a_bearer_token_suffices(self, client: FlaskClient, given: str, code: int) -> None:
        answer = client.get("/ui/", headers={**BROWSER, "Authorization": f"Bearer {given}"})

        assert answer.status_code == code
        assert "Set-Cookie" not in answer.headers

    def test_the_session_of_a_proxy_is_no_obstacle(self, client: FlaskClient) -> None:
        sign_in(client)
        assert client.get("/ui/", headers={**BROWSER, "Authorization": "Basic eDp5"}).status_code == 200


class TestTheForm:
    def test_leads_back_to_the_page(self, client: FlaskClient) -> None:
        answer = sign_in(client, target="/ui/pods?name=a%26b&at=")

        assert (answer.status_code, answer.headers["Location"]) == (303, "/ui/pods?name=a%26b&at=")
        assert is_inside(client)
        assert client.get("/ui/sign-in?next=/ui/audit", headers=BROWSER).headers["Location"] == "/ui/audit"

    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_sets_a_cookie_for_pages_alone(self, client: FlaskClient, scheme: str) -> None:
        form = {"token": f" {TOKEN}\n"}
        [cookie] = client.post("/ui/sign-in", data=form, base_url=f"{scheme}://n").headers.getlist("Set-Cookie")

        assert {"HttpOnly", "Path=/ui/", "SameSite=Strict", "Max-Age=3600"} <= set(cookie.split("; "))
        assert ("Secure" in cookie) is (scheme == "https")
        assert TOKEN not in cookie

    @pytest.mark.parametrize("given", ["", "x", TOKEN[:-1], f"{TOKEN}x", "ü", "a" * 70_000])
    def test_refuses_every_other_token(self, client: FlaskClient, given: str) -> None:
        answer = sign_in(client, given)

        assert answer.status_code == 401
        assert "This is not the token." in unescape(answer.text)
        assert "Set-Cookie" not in answer.headers

    @pytest.mark.parametrize(
        "target",
        ["", "/", "/getPods", "//evil.example/ui/", "https://evil.example/ui/", "\\\\evil.example\\ui/",
         "/\t/evil.example/ui/", "javascript:alert(1)//ui/", "ui/", "/ui", "/ui/../..//evil.example\r\nX: y"],
    )  # fmt: skip
    def test_leads_to_no_other_place(self, client: FlaskClient, target: str) -> None:
        answer = sign_in(client, target=target)

        assert answer.headers["Location"].startswith("/ui/")
        assert "X" not in answer.headers

    @pytest.mark.parametrize("path", ["/ui/sign-in", "/ui/sign-out"])
    @pytest.mark.parametrize(
        ("headers", "is_refused"),
        [
            ({}, False),
            ({"Sec-Fetch-Site": "same-origin", "Origin": "https://public.example"}, False),
            ({"Origin": "http://localhost"}, False),
            ({"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"}, True),
            ({"Sec-Fetch-Site": "cross-site"}, True),
            ({"Origin": "http://evil.example"}, True),
            ({"Origin": "null"}, True),
        ],
    )
    def test_is_sent_by_no_other_site(
        self, client: FlaskClient, path: str, headers: dict[str, str], is_refused: bool
    ) -> None:
        answer = client.post(path, data={"token": TOKEN}, headers=headers)

        assert answer.status_code == (403 if is_refused else 303)
        assert ("Set-Cookie" in answer.headers) is not is_refused


class TestASession:
    @pytest.mark.parametrize(("method", "path"), ENDPOINTS)
    def test_is_not_for_the_api(self, app: Flask, method: str, path: str) -> None:
        client = app.test_client(use_cookies=False)
        cookie = sign_in(client).headers["Set-Cookie"].partition(";")[0]

        assert client.get("/ui/pods", headers={"Cookie": cookie}).status_code == 200
        assert client.open(path, method=method, headers={"Cookie": cookie}).status_code == 401

    def test_shows_and_changes_nothing(self, client: FlaskClient) -> None:
        sign_in(client)
        for method in ("POST", "PUT", "DELETE"):
            assert client.open("/ui/pods", method=method).status_code in (401, 405)

    def test_is_valid_at_every_worker(self, app: Flask, make_app: MakeApp) -> None:
        cookie = sign_in(app.test_client()).headers["Set-Cookie"].partition(";")[0]

        def code(**settings: str) -> int:
            other = make_app(**{"provider_token": TOKEN, "node_name": "secret-node", **settings})
            client = other.test_client(use_cookies=False)
            return client.get("/ui/pods", headers={**BROWSER, "Cookie": cookie}).status_code

        assert code() == 200
        assert code(provider_token="another") == 303
        assert code(node_name="another") == 303

    def test_cannot_be_made_up(self, client: FlaskClient) -> None:
        name, _, value = sign_in(client).headers["Set-Cookie"].partition(";")[0].partition("=")
        _, _, signature = value.rpartition(".")
        for forged in ("", "x", "1-1", "999999999999-999999999999." + signature, f"{value}x", "a.b", "ü."):
            client.set_cookie(name, forged, path="/ui/")
            assert not is_inside(client)

    def test_ends_without_use(self, client: FlaskClient, clock: Clock) -> None:
        sign_in(client)
        for _ in range(3):
            clock.advance(3000)
            assert is_inside(client)
        clock.advance(3601)

        assert not is_inside(client)

    def test_ends_after_its_lifetime(self, client: FlaskClient, clock: Clock) -> None:
        sign_in(client)
        for _ in range(23):
            clock.advance(timedelta(minutes=30).total_seconds())
            assert is_inside(client)
        clock.advance(timedelta(minutes=29).total_seconds())
        [cookie] = client.get("/ui/", headers=BROWSER).headers.getlist("Set-Cookie")
        clock.advance(61)

        assert "Max-Age=60" in cookie
        assert not is_inside(client)

    def test_is_renewed_once_a_minute(self, client: FlaskClient, clock: Clock) -> None:
        sign_in(client)
        clock.advance(59)
        assert "Set-Cookie" not in client.get("/ui/", headers=BROWSER).headers
        clock.advance(1)
        assert "Set-Cookie" in client.get("/ui/", headers=BROWSER).headers
        assert "Set-Cookie" not in client.get("/ui/", headers=BROWSER).headers

    def test_is_ended_by_signing_out(self, client: FlaskClient) -> None:
        sign_in(client)

        answer = client.post("/ui/sign-out")

        assert (answer.status_code, answer.headers["Location"]) == (303, "/ui/sign-in")
        assert not is_inside(client)
        assert client.post("/ui/sign-out").status_code == 303


class TestTheLimit:
    def test_counts_failures_of_an_address(self, client: FlaskClient, clock: Clock) -> None:
        for _ in range(10):
            assert sign_in(client, "wrong").status_code == 401
        refused = sign_in(client)

        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "6")
        assert sign_in(client, address="10.0.0.9").status_code == 303
        clock.advance(6)
        assert sign_in(client, "wrong").status_code == 401
        assert sign_in(client, "wrong").status_code == 429
        clock.advance(6)
        assert sign_in(client).status_code == 303

    def test_does_not_count_success(self, client: FlaskClient) -> None:
        assert {sign_in(client).status_code for _ in range(30)} == {303}


def test_a_link_from_elsewhere_opens_the_page(client: FlaskClient) -> None:
    answer = client.get("/ui/sign-in?next=/ui/pods", headers={**BROWSER, "Sec-Fetch-Site": "cross-site"})

    assert 'content="0; url=/ui/pods"' in answer.text


def test_without_a_token_nobody_signs_in(make_app: MakeApp) -> None:
    client = make_app().test_client()

    assert client.get("/ui/pods", headers=BROWSER).status_code == 200
    assert client.get("/ui/sign-in").headers["Location"] == "/ui/"
    assert client.post("/ui/sign-in", data={"token": "x"}).headers.getlist("Set-Cookie") == []
    assert client.get("/ui").headers["Location"] == "/ui/"
