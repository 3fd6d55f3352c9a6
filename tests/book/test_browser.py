"""The site and a report in a real browser: no network, no errors, charts drawn, dark and narrow pages."""

import shutil
from collections.abc import Iterator
from threading import Thread

import pytest

from nmm.book.report import report
from nmm.book.site import local_server
from tests.book.conftest import EDITION

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
         "--disable-component-update", "--disable-sync"]
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra `test`)")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium found: install chromium to run the browser tests")


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    with playwright.sync_playwright() as start:
        yield start.chromium.launch(executable_path=CHROMIUM, args=FLAGS)


@pytest.fixture(scope="module")
def address(rendered, tmp_path_factory) -> Iterator[str]:
    site = shutil.copytree(rendered.html, tmp_path_factory.mktemp("site") / "html")
    report(rendered.executed(EDITION) / "02_slope.ipynb", site / "report.html", rendered)
    with local_server(site) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def complaints() -> list[str]:
    """Requests that leave this machine, failed answers, console errors: there must be none."""
    return []


@pytest.fixture
def visit(browser, address, complaints):
    """Opens a page of the book and listens to what it asks for and complains about."""
    contexts = []

    def local(url: str) -> bool:
        return url.startswith((address, "data:", "blob:"))

    def open_page(name: str, width: int = 1280, scheme: str = "light") -> playwright.Page:
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme))
        contexts[-1].set_default_timeout(120_000)  # [ms]; a busy machine, not a slow page
        page = contexts[-1].new_page()
        page.on("request", lambda request: None if local(request.url) else complaints.append(f"request: {request.url}"))
        page.on("response", lambda answer: complaints.append(f"{answer.status}: {answer.url}") if answer.status >= 400 else None)
        page.on("console", lambda line: complaints.append(f"console: {line.text}") if line.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.goto(f"{address}/{name}")
        page.wait_for_load_state("networkidle")
        return page

    yield open_page
    for context in contexts:
        context.close()


def drawn(page: playwright.Page) -> int:
    """Charts drawn on the page, once every box has one."""
    page.wait_for_function("[...document.querySelectorAll('div.chart')].every(box => box.classList.contains('drawn'))")
    return page.locator("div.chart :is(svg.marks, canvas.marks)").count()


@pytest.mark.parametrize(("name", "charts"), [
    ("index.html", 0), ("01_points.html", 1), ("02_slope.html", 1), ("references.html", 0), ("report.html", 1),
])
@pytest.mark.parametrize("width", [1280, 390])
def test_pages_draw_fit_and_stay_on_this_machine(visit, complaints, name, charts, width):
    page = visit(name, width)
    assert drawn(page) == charts
    scroll = page.evaluate("document.documentElement.scrollWidth")
    assert scroll <= width, f"{name} is {scroll} px wide on a screen of {width}"
    assert complaints == []


def test_formulas_are_set(visit):
    assert visit("01_points.html").locator("mjx-container").count() >= 2
    assert visit("report.html").locator("mjx-container svg").count() >= 1


def test_a_chart_is_drawn_again_when_the_page_turns_dark(visit, complaints):
    page = visit("02_slope.html")
    drawn(page)
    bars = page.locator("div.chart .mark-rect path").first
    light = bars.get_attribute("fill")
    page.evaluate("document.body.dataset.theme = 'dark'")
    page.wait_for_function("light => document.querySelector('div.chart .mark-rect path').getAttribute('fill') !== light", arg=light)
    title = page.locator("div.chart .role-axis-title text").first.evaluate("node => getComputedStyle(node).fill")
    ink = page.locator("article").evaluate("node => getComputedStyle(node).color")
    assert title == ink, "axis titles must have the colour of the page's text"
    assert complaints == []


def test_a_narrow_page_puts_panels_under_each_other(visit):
    wide, narrow = (visit("02_slope.html", width) for width in (1280, 390))
    heights = []
    for page in (wide, narrow):
        drawn(page)
        heights.append(page.locator("div.chart svg.marks").bounding_box()["height"])
    assert heights[1] > 1.5 * heights[0], heights


def test_wide_tables_scroll_inside_their_box(visit):
    box = visit("01_points.html", 390).locator("div.output.text_html").last
    inner, outer = box.evaluate("node => [node.scrollWidth, node.clientWidth]")
    assert inner > outer
    assert outer <= 390


def test_search_finds_a_word(visit, complaints):
    page = visit("search.html?q=zucchini")
    page.wait_for_selector("ul.search li a")
    assert "Points on a line" in page.locator("ul.search").inner_text()
    assert complaints == []
