"""Signing in to the dashboard: in a browser, and at several workers behind a proxy."""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Literal
from urllib.parse import urlencode

import pytest
from flask import Flask, g
from playwright.sync_api import BrowserContext, Page, expect

from app.web.long_poll import hold_request
from tests.app.web.conftest import TOKEN, Share
from tests.app.web.ui.conftest import Visit
from tests.conftest import MakeApp
from tests.server import Answer, Server

AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text()
COLOR_SCHEMES: list[Literal["light", "dark"]] = ["light", "dark"]
FAULTS = "() => axe.run().then(({ violations }) => violations.map(({ id, nodes }) => `${id}: ${nodes[0].html}`))"


@pytest.fixture
def visit(context: BrowserContext, guarded: Server) -> Iterator[Visit]:
    """Yield a tab of a browser that has not signed in, at a provider with a token."""
    context.clear_cookies()
    page = context.new_page()
    visit = Visit(page, f"http://127.0.0.1:{guarded.port}")
    yield visit
    page.close()
    expected = ("401 (Unauthorized)", "Autofocus processing was blocked")  # the latter where a test was faster
    assert [line for line in visit.complaints if not any(text in line for text in expected)] == []
    assert visit.foreign == []


def sign_in(page: Page, token: str = TOKEN) -> None:
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Sign in").click()


class TestInABrowser:
    def test_the_form_leads_to_the_page_and_back(self, visit: Visit, context: BrowserContext) -> None:
        page = visit.go("/ui/pods?namespace=shop")
        expect(page.get_by_label("Token")).to_be_focused()
        sign_in(page, "wrong")
        expect(page.get_by_role("alert")).to_have_text("This is not the token.")
        sign_in(page)
        expect(page).to_have_url(f"{visit.base}/ui/pods?namespace=shop")
        [cookie] = context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/ui/")
        assert page.evaluate("document.cookie") == ""
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("Token")).to_be_visible()

        assert context.cookies() == []
        visit.go("/ui/audit")
        expect(page.get_by_label("Token")).to_be_visible()

    def test_a_link_of_another_site_opens_the_page(self, visit: Visit, context: BrowserContext) -> None:
        sign_in(visit.go("/ui/"))
        expect(visit.page.get_by_role("button", name="Sign out")).to_be_visible()
        link = f'<a href="{visit.base}/ui/audit?name=web">web</a>'
        context.route("http://chat.example/", lambda route: route.fulfill(body=link, content_type="text/html"))
        visit.page.goto("http://chat.example/")
        visit.page.get_by_role("link").click()

        expect(visit.page.get_by_role("button", name="Sign out")).to_be_visible()
        expect(visit.page).to_have_url(f"{visit.base}/ui/audit?name=web")
        context.unroute("http://chat.example/")
        visit.foreign.remove("http://chat.example/")

    def test_an_ended_session_leads_to_the_form(self, visit: Visit, context: BrowserContext) -> None:
        sign_in(visit.go("/ui/pods"))
        expect(visit.page.get_by_role("button", name="Sign out")).to_be_visible()
        context.clear_cookies()
        visit.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

        expect(visit.page.get_by_label("Token")).to_be_visible(timeout=20_000)
        sign_in(visit.page)
        expect(visit.page).to_have_url(f"{visit.base}/ui/pods")

    def test_the_form_passes_the_accessibility_audit(self, visit: Visit) -> None:
        page = visit.go("/ui/")
        sign_in(page, "wrong")
        expect(page.get_by_role("alert")).to_be_visible()
        page.evaluate(AXE)
        for width in (1280, 390):
            for color_scheme in COLOR_SCHEMES:
                page.set_viewport_size({"width": width, "height": 800})
                page.emulate_media(color_scheme=color_scheme)
                assert page.evaluate(FAULTS) == []
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_workers_share_sessions_and_attempts(share: Share) -> None:
    def post(token: str, **headers: str) -> Answer:
        with closing(server.client()) as client:  # a connection each, so that every worker has some
            form = urlencode({"token": token}).encode()
            headers = {"Content-Type": "application/x-www-form-urlencoded", **headers}
            return client.request("POST", "/ui/sign-in", form, headers=headers)

    def code(cookie: str) -> int:
        with closing(server.client()) as client:
            return client.request("GET", "/ui/audit", headers={"Cookie": cookie}).code

    settings = {"PROVIDER_TOKEN": TOKEN, "HOST": "127.0.0.1", "WORKERS": "3", "FORWARDED_ALLOW_IPS": "192.0.2.1"}
    with share(**settings) as server:
        cookie = post(TOKEN, **{"X-Forwarded-Proto": "https"}).headers["Set-Cookie"]
        assert "Secure" not in cookie, "the client is not the proxy"
        assert {code(cookie.partition(";")[0]) for _ in range(12)} == {200}
        assert Counter(post("wrong").code for _ in range(20)) == {401: 10, 429: 10}
        assert post(TOKEN).code == 429


def test_behind_a_trusted_proxy_the_cookie_is_secure(guarded: Server) -> None:
    with closing(guarded.client()) as client:
        form = urlencode({"token": TOKEN}).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded", "X-Forwarded-Proto": "https"}
        assert "; Secure;" in client.request("POST", "/ui/sign-in", form, headers=headers).headers["Set-Cookie"]


def test_a_held_request_ends_with_its_session(make_app: MakeApp) -> None:
    app: Flask = make_app()
    with app.test_request_context("/ui/logs"):
        g.held_seconds = 3600
        with hold_request() as pause:
            assert pause(0)
        g.held_seconds = 0
        with hold_request() as pause:
            assert not pause(0)
