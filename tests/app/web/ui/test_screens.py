"""The actions of people on each page, on a wide screen, and on a phone with the dark theme."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.app.web.ui.conftest import Visit
from tests.server import Server

A_POD = "/ui/pod?uid=uid-of-vault"
TEXT_BOTTOM = """it => {
    const range = document.createRange();
    range.selectNodeContents(it);
    return range.getBoundingClientRect().bottom;
}"""


@pytest.fixture(params=["wide", "phone"])
def visit(request: pytest.FixtureRequest, context: BrowserContext, shown: Server) -> Iterator[Visit]:
    """Yield a tab; the test fails if the browser logs an error, or if the page is wider than the screen."""
    page = context.new_page()
    is_wide = request.param == "wide"
    page.set_viewport_size({"width": 1280 if is_wide else 390, "height": 844})
    page.emulate_media(color_scheme="light" if is_wide else "dark")
    visit = Visit(page, f"http://127.0.0.1:{shown.port}")
    yield visit
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    page.close()
    assert visit.complaints == []
    assert visit.foreign == []


def opened(page: Page, summary: str) -> Locator:
    """Open a part of the page, and return it."""
    page.get_by_text(summary, exact=True).click()
    return page.locator("details[open]", has_text=summary)


def test_a_selection_of_pods_is_in_the_url(visit: Visit) -> None:
    page = visit.go("/ui/pods")
    page.keyboard.press("/")
    page.keyboard.type("web-")
    page.keyboard.press("Enter")
    expect(page.get_by_text("29 match")).to_be_visible()
    assert page.url.endswith("/ui/pods?q=web-")
    filters = opened(page, "Filters")
    filters.get_by_label("Namespace").fill("payments")
    filters.get_by_label("Sort").select_option("IP, descending")
    filters.get_by_label("Sort").press("Enter")
    filters.get_by_role("button", name="Apply").click()
    expect(page.get_by_text("9 match")).to_be_visible()
    page.reload()

    expect(page.locator("[data-row]")).to_have_count(9)
    assert sorted(page.url.partition("?")[2].split("&")) == ["namespace=payments", "q=web-", "sort=-ip"]
    addresses = [int(text.split(".")[-1]) for text in page.locator("td[data-label=IP]").all_text_contents()]
    assert addresses == sorted(addresses, reverse=True)
    page.get_by_role("link", name="Remove the filter namespace").click()
    expect(page.get_by_text("29 match")).to_be_visible()


def test_nothing_found_leads_on(visit: Visit) -> None:
    page = visit.go("/ui/pods?q=nowhere")
    page.get_by_role("link", name="Show all pods").click()

    expect(page.locator("[data-row]").first).to_be_visible()


def test_a_log_is_searched_and_wrapped(visit: Visit) -> None:
    page = visit.go(A_POD)
    lines = page.get_by_role("log")
    page.get_by_label("wrap").check()
    expect(lines).to_have_css("white-space", "pre-wrap")
    page.get_by_label("Find").fill("FROM image")
    page.get_by_label("Find").press("Enter")

    expect(lines).to_have_text("synthetic container web from image nginx:1.27")
    expect(lines).to_have_css("white-space", "pre-wrap")
    page.get_by_label("wrap").uncheck()
    expect(lines).to_have_css("white-space", "pre")
    page.get_by_role("button", name="Follow").click()
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    expect(lines).to_have_text("synthetic container web from image nginx:1.27")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == "vault-0-web.log"
    page.get_by_label("previous run").check()
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text("No log")).to_be_visible()
    expect(page.get_by_role("button", name="Follow")).to_have_count(0)


def test_wrapped_lines_stay_wrapped(visit: Visit) -> None:
    page = visit.go(A_POD)
    page.wait_for_load_state()
    page.get_by_label("wrap").check()
    page.keyboard.press("[")
    expect(page.get_by_text("State at")).to_be_visible()

    expect(page.get_by_label("wrap")).to_be_checked()
    page.wait_for_load_state()  # the scripts have run
    page.keyboard.press("n")
    expect(page.get_by_role("log")).to_have_css("white-space", "pre-wrap")
    page.get_by_label("wrap").uncheck()
    page = visit.go(A_POD)
    expect(page.get_by_label("wrap")).not_to_be_checked()


def test_a_time_may_have_a_zone(visit: Visit) -> None:
    page = visit.go("/ui/pods")
    page.keyboard.press("t")
    now = page.get_by_label("Time (UTC)").input_value()
    page.get_by_label("Time (UTC)").fill(f"{now[:10]}T00:00:00+02:00")
    page.get_by_label("Time (UTC)").press("Enter")

    expect(page.get_by_text("State at")).to_contain_text("22:00:00 UTC")
    assert page.url.endswith(f"at={now[:10]}T00%3A00%3A00%2B02%3A00")
    visit.go(f"/ui/pods?at={now[:10]}T00:00:00+02:00")  # as a person types it
    expect(page.get_by_text("State at")).to_contain_text("22:00:00 UTC")


def test_conditions_are_aligned(visit: Visit) -> None:
    badges = visit.go(A_POD).locator(".conditions .badge").all()
    boxes = [box for badge in badges if (box := badge.bounding_box())]

    assert len(boxes) > 3
    edges = {round(box["x"]) for box in boxes}, {round(box["x"] + box["width"]) for box in boxes}
    assert min(map(len, edges)) == 1


@pytest.mark.parametrize("path", ["/ui/", "/ui/pods", "/ui/audit", A_POD])
def test_a_printed_page_is_whole(visit: Visit, path: str) -> None:
    page = visit.go(path)
    page.emulate_media(media="print", color_scheme="dark")
    page.set_viewport_size({"width": 718, "height": 1000})  # A4 with the margins of a browser

    for control in page.get_by_role("button").all() + page.get_by_role("textbox").all():
        expect(control).to_be_hidden()
    expect(page.get_by_role("navigation")).to_have_count(0)
    assert page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--ink')") == "#15201e"
    cut = "[...document.querySelectorAll('.scroll, pre')].filter(it => it.scrollWidth > it.clientWidth + 1).length"
    assert page.evaluate(cut) == 0
    assert page.locator("thead").first.evaluate("it => getComputedStyle(it).display") == "table-header-group"


def test_a_pod_shows_its_charts_and_manifest(visit: Visit) -> None:
    page = visit.go(A_POD)
    expect(page.locator("figure[data-chart] canvas")).to_have_count(2)
    manifest = opened(page, "YAML, environment values redacted")
    expect(manifest).to_contain_text("name: PASSWORD")
    expect(manifest).to_contain_text("value: …")
    commands = opened(page, "Commands of kubectl")
    visit.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    commands.get_by_role("button", name="Copy").first.click()

    expect(commands.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "kubectl describe pod -n default vault-0"


def test_an_update_is_shown_side_by_side(visit: Visit) -> None:
    page = visit.go("/ui/audit")
    page.get_by_label("Verb").select_option("update")
    page.get_by_label("What").fill("image")
    page.get_by_role("button", name="Filter").click()
    page.locator("summary", has_text="field").first.click()

    expect(page.locator("td.before").first).to_have_text("nginx:1.27")
    expect(page.locator("td.after").first).to_have_text("nginx:1.28")
    field = page.locator(".diff code", has_text="spec.containers[web].image").first
    lines = field.evaluate("field => new Set([...field.getClientRects()].map(({ top }) => top)).size")
    assert lines == 1, "the name of the field is in one line"
    assert field.inner_html() == "spec.<wbr>containers[web]<wbr>.<wbr>image"
    cells = [
        page.locator(f".events > tbody > tr > {cell}").first for cell in ("td time", "td b", "td:nth-child(3)")
    ]
    time, verb, code = (cell.evaluate(TEXT_BOTTOM) for cell in cells)
    assert verb == pytest.approx(time, abs=1)
    assert verb == pytest.approx(code, abs=1)
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    assert "update" in download.value.path().read_text()


def test_a_slow_page_shows_a_skeleton(visit: Visit) -> None:
    page = visit.go("/ui/pods")
    page.evaluate("addEventListener('click', (event) => event.preventDefault())")  # a page that never comes
    page.get_by_role("link", name="Audit", exact=True).click()

    expect(page.locator("body.loading")).to_have_count(1)
    page.evaluate("dispatchEvent(new Event('pageshow'))")
    expect(page.locator("body.loading")).to_have_count(0)
