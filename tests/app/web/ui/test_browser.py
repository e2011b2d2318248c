"""The dashboard in a real browser: updates, no JavaScript, keyboard, contrast."""

from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Literal

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
BOXES = "selector => [...document.querySelectorAll(selector)].map(it => it.getBoundingClientRect().toJSON())"
A_POD = "/ui/pod?uid=uid-of-vault"
PAGES = ["/ui/", "/ui/pods", "/ui/audit", A_POD, f"{A_POD}&at=", "/ui/pods?name=none", "/ui/pod?uid=none"]


def running(visit: Visit) -> Page:
    """Open the page of a running pod."""
    page = visit.go(A_POD)
    expect(page.locator("h1")).to_contain_text("Running")
    return visit.go(A_POD)


class TestWhileItIsShown:
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

    def test_the_focus_stays_in_the_list_of_a_deleted_pod(self, visit: Visit, shown: Server) -> None:
        pod = a_pod("aa-leaves", namespace="aa")
        pod["metadata"]["deletionGracePeriodSeconds"] = 0
        with closing(shown.client()) as client:
            assert client.request("POST", "/createPod", pod).code == 200
            page = visit.go("/ui/pods")
            page.get_by_role("link", name="aa/aa-leaves").focus()
            assert client.request("DELETE", "/deletePod", pod).code == 200

        expect(page.locator("#live")).not_to_contain_text("aa-leaves", timeout=20_000)
        expect(page.locator("[data-row]").first).to_be_focused()

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
        expect(page.get_by_role("status")).to_have_text("Connection lost", timeout=20_000)
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
        page.get_by_role("link", name="default/two", exact=True).click()
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


class TestTheOverview:
    @pytest.mark.parametrize("width", [1280, 390])
    def test_draws_its_charts(self, visit: Visit, width: int) -> None:
        visit.page.set_viewport_size({"width": width, "height": 800})
        page = visit.go("/ui/")

        charts = page.locator("figure[data-chart]")
        expect(charts.locator("canvas")).to_have_count(charts.count())
        expect(page.locator(".skeleton")).to_have_count(0)
        assert all(box["width"] > 250 for box in page.evaluate(BOXES, "canvas"))

    def test_a_drawn_range_is_that_of_the_page(self, visit: Visit) -> None:
        page = visit.go("/ui/")
        box = page.locator("#chart-pods .u-over").bounding_box()
        assert box
        page.mouse.move(box["x"] + 50, box["y"] + 40)
        page.mouse.down()
        page.mouse.move(box["x"] + 150, box["y"] + 40, steps=4)
        page.mouse.up()

        expect(page.get_by_text("State at")).to_be_visible()
        assert "from=" in page.url
        assert "to=" in page.url

    def test_a_chart_goes_on_and_stays_one(self, visit: Visit) -> None:
        page = visit.go("/ui/")
        page.locator("#chart-pods summary").click()
        rows = page.locator("#chart-pods-values tbody time").first
        before = rows.get_attribute("datetime")
        expect(rows).not_to_have_attribute("datetime", str(before), timeout=20_000)

        expect(page.locator("#chart-pods canvas")).to_have_count(1)
        expect(page.locator("#chart-pods-values tbody")).to_be_visible()

    def test_leads_to_what_is_wrong(self, visit: Visit) -> None:
        page = visit.go("/ui/")
        page.locator("#problem-refused h3 a").click()

        expect(page.get_by_role("link", name="Audit")).to_have_attribute("aria-current", "page")


class TestTheTime:
    def test_the_clock_moves_while_live(self, visit: Visit) -> None:
        clock = visit.go("/ui/audit").locator("#clock")
        before = str(clock.text_content())

        expect(clock).not_to_have_text(before)

    def test_a_range_is_typed(self, visit: Visit) -> None:
        page = visit.go("/ui/pods")
        page.keyboard.press("t")
        page.get_by_label("From").fill("2 hours")
        page.get_by_label("From").press("Enter")
        assert "from=" not in page.url, "the field does not take it"
        page.get_by_label("From").fill("2h")
        page.get_by_label("From").press("Enter")

        expect(page.get_by_text("last 2h")).to_be_visible()
        assert "to=" not in page.url
        expect(page.get_by_role("status")).to_have_text("Live")

    def test_steps_lead_to_the_past_and_back(self, visit: Visit) -> None:
        page = visit.go("/ui/pods?namespace=shop")
        page.keyboard.press("[")
        expect(page.get_by_text("State at")).to_be_visible()
        assert "namespace=shop" in page.url
        page.wait_for_load_state()  # the scripts have run
        page.keyboard.press("n")

        expect(page.get_by_role("status")).to_have_text("Live")

    def test_escape_closes_the_control(self, visit: Visit) -> None:
        page = visit.go("/ui/pods")
        page.keyboard.press("t")
        expect(page.locator("#time summary")).to_be_focused()
        page.keyboard.press("Escape")

        expect(page.get_by_label("Time (UTC)")).to_be_hidden()
        expect(page.locator("#time summary")).to_be_focused()


class TestWithAKeyboard:
    def test_keys_lead_to_pages_rows_and_the_search(self, visit: Visit) -> None:
        page = visit.go("/ui/")
        page.keyboard.press("g")
        page.keyboard.press("p")
        expect(page.locator("h1")).to_contain_text("Pods")
        page.wait_for_load_state()  # the scripts have run
        rows = page.locator("[data-row]")
        for key, row in (("j", 0), ("j", 1), ("k", 0)):
            page.keyboard.press(key)
            expect(rows.nth(row)).to_be_focused()
        page.keyboard.press("/")
        expect(page.locator("[data-key='/']")).to_be_focused()
        page.keyboard.type("jk")

        expect(page.locator("[data-key='/']")).to_have_value("jk")

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
            assert next_top > top - 30 or next_left > left, "the next stop is further up"
            assert next_top > top + 10 or next_left >= left or next_top > top


AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text()
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
THEMES: list[tuple[Literal["light", "dark"], list[str]]] = [
    ("light", RULES),
    ("dark", ["color-contrast", "link-in-text-block"]),  # the rules that depend on colours
]
CHECK = """async (rules) => {
    const { violations } = await axe.run(document, { runOnly: rules, resultTypes: ["violations"] });
    // Links of 24 pixels, except in rows of which 40 fit in a window: "Larger rows" is for people who need these.
    const isDense = (target) => innerWidth > 500 && !document.getElementById("larger").checked
        && document.querySelector(target[0]).closest(".dense");
    const found = violations.flatMap(({ id, nodes }) => nodes
        .filter(({ target }) => id !== "target-size" || !isDense(target))
        .map(({ html }) => `${id}: ${html.slice(0, 120)}`));
    const { scrollWidth } = document.documentElement;
    return scrollWidth > innerWidth ? [...found, `wider than the screen: ${scrollWidth}`] : found;
}"""


def faults(page: Page, rules: list[str] = RULES) -> list[str]:
    """Return what keeps people from reading a page or using it."""
    page.evaluate(AXE)
    found: list[str] = page.evaluate(CHECK, rules)
    return found


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_accessible(visit: Visit, path: str) -> None:
    page = visit.go(path)
    visit.complaints.clear()  # of a 404 response
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 800})
        for theme, rules in THEMES:
            page.emulate_media(color_scheme=theme)
            assert faults(page, rules) == [], (width, theme)


def test_larger_rows_are_kept_and_accessible(visit: Visit) -> None:
    page = visit.go("/ui/pods")
    page.get_by_label("Larger rows").check()
    page = visit.go("/ui/audit")

    expect(page.get_by_label("Larger rows")).to_be_checked()
    assert faults(page) == []
    assert faults(visit.go("/ui/pods")) == []
    page.get_by_label("Larger rows").uncheck()


def test_forty_rows_fit_in_a_window(visit: Visit, shown: Server) -> None:
    with closing(shown.client()) as client:
        for number in range(20):
            client.request("POST", "/createPod", a_pod(f"row-{number:02}", namespace="rows"))
    for path in ("/ui/pods", "/ui/audit"):
        visit.page.set_viewport_size({"width": 1280, "height": 900})
        rows = visit.go(path).evaluate(BOXES, "tbody tr")
        assert sum(row["bottom"] <= 900 for row in rows) >= 40


def test_the_check_finds_what_is_wrong(visit: Visit) -> None:
    page = visit.go("/ui/pods")
    page.evaluate(
        """() => {
            document.querySelector("main").innerHTML += "<input><a href='/ui/'></a><p id='faint'>faint</p>";
            document.querySelector("#faint").style.color = "rgb(190 190 190)";
        }"""
    )

    found = "\n".join(faults(page))

    for fault in ("label: <input", "link-name: <a", "color-contrast: <p"):
        assert fault in found
    visit.complaints.clear()
