"""Fixtures: a browser, and a provider with pods to show."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, Request, expect, sync_playwright

from tests.pods import a_container, a_pod, a_secret_pod
from tests.server import Server

expect.set_options(timeout=30_000)  # milliseconds; 5 s by default, which a busy machine exceeds

_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def shown(share: Callable[..., Any]) -> Iterator[Server]:
    """Yield a provider with pods in all states, and requests with all outcomes."""
    with share(START_DELAY="1s", WORKERS="2") as server, closing(server.client()) as client:
        pods = [a_pod(f"web-{number:02}", namespace="shop" if number % 3 else "payments") for number in range(30)]
        pods.append(a_pod("two", containers=[a_container("web"), a_container("sidecar")]))
        for pod in (a_secret_pod(), *pods):
            assert client.request("POST", "/createPod", pod).code == 200
        assert client.request("DELETE", "/deletePod", pods[0]).code == 200
        assert client.request("DELETE", "/deletePod", pods[0]).code == 404
        pods[1]["spec"]["containers"][0]["image"] = "nginx:1.28"
        assert client.request("PUT", "/updatePod", pods[1]).code == 200
        yield server


Browse = Callable[..., BrowserContext]


@pytest.fixture(scope="module")
def browse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browse]:
    """Yield a function that opens a new browser, with the arguments of `launch_persistent_context`.

    The scope is a module: playwright runs an event loop, beside which no test can run another.
    """
    chromium = shutil.which("chromium")
    if chromium is None:
        if os.environ.get("CI"):
            pytest.fail("chromium is not installed: in CI nothing is skipped")
        pytest.skip("chromium is not installed")
    with sync_playwright() as playwright:

        def open_browser(**options: Any) -> BrowserContext:
            directory: Path = tmp_path_factory.mktemp("browser")
            return playwright.chromium.launch_persistent_context(
                directory, executable_path=chromium, headless=True, args=_ARGUMENTS, **options
            )

        yield open_browser


class Visit:
    """A tab, and the errors that the browser logged in it."""

    def __init__(self, page: Page, base: str) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.foreign: list[str] = []
        self.base = base
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._check)

    def _check(self, request: Request) -> None:
        if not request.url.startswith(self.base):
            self.foreign.append(request.url)

    def go(self, path: str) -> Page:
        """Open a page of the provider."""
        self.page.goto(self.base + path)
        return self.page


@pytest.fixture(scope="module")
def context(browse: Browse) -> Iterator[BrowserContext]:
    """Yield a browser with the default options."""
    with browse(viewport={"width": 1280, "height": 900}) as context:
        yield context


@pytest.fixture
def visit(context: BrowserContext, shown: Server) -> Iterator[Visit]:
    """Yield a tab of that browser; the test fails if the browser logs an error."""
    page = context.new_page()
    visit = Visit(page, f"http://127.0.0.1:{shown.port}")
    yield visit
    page.close()
    assert visit.complaints == []
    assert visit.foreign == []
