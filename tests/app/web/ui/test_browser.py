"""The dashboard in a real browser: updates, no JavaScript, keyboard, contrast."""

from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.app.web.ui.conftest import Browse, Visit
from tests.pods import a_pod
from tests.server import Server

FOCUSED = """() => {
    const it = document.activeElement, box = it.getBoundingClientRect();
    if (it === document.body) return null;
    const outline = parseFloat(getComputedStyle(it).outlineWidth);
    return [box.top + scrollY, box.left + scrollX, box.width * box.height, outline];
}"""
A_POD = "/ui/pod?uid=uid-of-vault"
PAGES = ["/ui/", "/ui/pods", "/ui/audit", A_POD, f"{A_POD}&at=", "/ui/pods?name=none", "/ui/pod?uid=none"]


def running(visit: Visit) -> Page:
    """Open the page of a running pod."""
    page = visit.go(A_POD)
    expect(page.locator("h1")).to_contain_text("Running")
    return visit.go(A_POD)


class TestWhileOneLooks:
    @pytest.mark.parametrize("path", ["/ui/pods", "/ui/", "/ui/audit"])
    def test_the_page_goes_on_by_itself(self, visit: Visit, shown: Server, path: str) -> None:
        name = f"new-to-{path.strip('/').replace('/', '-')}"
        page = visit.go(path)
        with closing(shown.client()) as client:
            assert client.request("POST", "/createPod", a_pod(name, namespace="new")).code == 200

        expect(page.locator("#live")).to_contain_text(name, timeout=20_000)

    def test_it_keeps_the_focus(self, visit: Visit, shown: Server) -> None:
        page = visit.go("/ui/pods")
        link = page.get_by_role("link", name="shop/web-02")
        link.focus()
        with closing(shown.client()) as client:
            client.request("POST", "/createPod", a_pod("after-the-focus"))
        expect(page.locator("#live")).to_contain_text("after-the-focus", timeout=20_000)

        expect(link).to_be_focused()

    def test_a_past_stands_still(self, visit: Visit) -> None:
        page = visit.go("/ui/pods")
        page.keyboard.press("t")
        page.get_by_label("Time (UTC)").press("Enter")
        expect(page.get_by_text("State at")).to_be_visible()

        assert page.locator("#live").get_attribute("data-live") is None
        page.get_by_role("link", name="Back to live").click()
        expect(page.get_by_role("status")).to_have_text("Live")

    def test_it_says_so_when_nobody_answers(self, visit: Visit) -> None:
        page = visit.go(A_POD)
        page.route("**/ui/**", lambda route: route.abort())
        expect(page.get_by_role("status")).to_have_text("Disconnected", timeout=20_000)
        page.unroute("**/ui/**")
        expect(page.get_by_role("status")).to_have_text("Live", timeout=20_000)
        visit.complaints.clear()

    def test_a_log_is_followed_in_place(self, visit: Visit) -> None:
        page = running(visit)
        page.evaluate(
            """() => {
                const encoder = new TextEncoder();
                window.fetch = async (url, { signal }) => new Response(new ReadableStream({
                    start(stream) {
                        stream.enqueue(encoder.encode("first\\n"));
                        window.write = (text) => stream.enqueue(encoder.encode(text));
                        signal.addEventListener("abort", () => stream.error(new DOMException("", "AbortError")));
                    },
                }));
            }"""
        )
        page.get_by_role("button", name="Follow").press("Space")
        lines = page.get_by_role("log")
        expect(lines).to_have_text("first")
        page.evaluate("window.write('second\\n')")
        expect(lines).to_have_text("first second")
        page.get_by_role("button", name="Stop").click()

        expect(page.get_by_role("button", name="Follow")).to_be_visible()

    def test_a_log_that_ends_is_shown_whole(self, visit: Visit) -> None:
        page = running(visit)
        page.get_by_role("log").evaluate("lines => { lines.textContent = '' }")
        page.get_by_role("button", name="Follow").click()

        expect(page.get_by_role("log")).to_contain_text("synthetic container web")


def test_everything_can_be_reached_without_javascript(browse: Browse, shown: Server) -> None:
    with browse(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{shown.port}/ui/")
        page.get_by_role("link", name="Pods", exact=True).click()
        page.get_by_label("Search").first.fill("default/two")
        page.get_by_role("button", name="Search").click()
        page.get_by_role("link", name="Restarts", exact=True).click()
        page.get_by_role("link", name="default/two").click()
        page.get_by_role("combobox", name="Container").select_option("sidecar")
        page.locator(".log-form button").click()
        expect(page.get_by_role("log")).to_contain_text("synthetic container sidecar")
        page.get_by_text("JSON, environment").click()
        expect(page.get_by_label("JSON of the pod")).to_be_visible()
        page.get_by_role("link", name="Follow").click()
        expect(page.locator("body")).to_contain_text("synthetic container sidecar")
        page.go_back()
        page.get_by_role("link", name="Audit").click()
        page.get_by_label("refused only").check()
        page.get_by_role("button", name="Filter").click()
        expect(page.get_by_role("cell", name="404", exact=True)).to_be_visible()
        page.locator("tbody a").first.click()
        expect(page.get_by_text("State at")).to_be_visible()


class TestWithAKeyboard:
    def test_the_first_stop_leads_past_the_navigation(self, visit: Visit) -> None:
        page = visit.go("/ui/pods")
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
        expect(page.get_by_role("link", name="Skip to content")).to_be_in_viewport()
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")

        expect(page.get_by_label("Search").first).to_be_focused()

    @pytest.mark.parametrize("path", PAGES)
    def test_focus_order_is_reading_order(self, visit: Visit, path: str) -> None:
        page = visit.go(path)
        visit.complaints.clear()  # of a 404 response
        seen: list[list[float]] = []
        for _ in range(40):
            page.keyboard.press("Tab")
            stop = page.evaluate(FOCUSED)
            if stop is None:
                break
            seen.append(stop)

        assert len(seen) > 5
        assert all(area > 0 and outline >= 1 for _, _, area, outline in seen)
        for (top, left, *_), (next_top, next_left, *_) in pairwise(seen[1:]):
            assert next_top > top - 30, "the next stop is further up"
            assert next_top > top + 10 or next_left >= left or next_top > top


AUDIT = Path(__file__).with_name("audit.js").read_text().partition("\n")[2]


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("color_scheme", ["light", "dark"])
def test_every_page_passes_the_accessibility_audit(
    browse: Browse, shown: Server, width: int, color_scheme: Any
) -> None:
    with browse(viewport={"width": width, "height": 800}, color_scheme=color_scheme) as context:
        visit = Visit(context.new_page(), f"http://127.0.0.1:{shown.port}")
        assert {path: visit.go(path).evaluate(AUDIT) for path in PAGES} == {path: [] for path in PAGES}


def test_the_audit_of_pages_finds_what_is_wrong(visit: Visit) -> None:
    page = visit.go("/ui/pods")
    page.evaluate(
        """() => {
            document.querySelector("h1").outerHTML = "<h3>Pods</h3>";
            document.querySelector("main").innerHTML += "<input><a href='/ui/'></a><p id='faint'>faint</p>";
            document.querySelector("#faint").style.color = "rgb(190 190 190)";
        }"""
    )

    found = "\n".join(page.evaluate(AUDIT))

    for fault in ("headings 3", "no label: <input>", "no name: <a", "contrast 1."):
        assert fault in found
    visit.complaints.clear()
