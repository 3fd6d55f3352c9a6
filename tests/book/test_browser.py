"""The site and a report in a real browser: no network, no errors, charts drawn, dark and narrow pages."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from nmm.book.layout import Layout
from nmm.book.report import report
from nmm.book.site import local_server
from tests.book.conftest import EDITION, REPOSITORY

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


# every table with the box that it may scroll in: how wide it is, how wide the box, where it ends on the page
TABLES = """() => [...document.querySelectorAll("article table")].map(table => {
    const box = table.closest(".output.text_html, .output_html, .table-wrapper") ?? table.parentElement;
    const style = getComputedStyle(box);
    return {words: table.innerText.trim().replace(/\\s+/g, " ").slice(0, 60), wide: Math.round(table.getBoundingClientRect().width),
            room: box.clientWidth, scrolls: style.overflowX == "auto" && style.backgroundImage.includes("gradient"),
            right: Math.round(table.getBoundingClientRect().right)};
})"""
PAPER = 703  # A4 between the margins of book.css [px]


@pytest.fixture(scope="module", params=["fixture", "book"])
def pages(request, rendered) -> Path:
    """A rendered site: the fixture's, and the whole book where somebody made it."""
    folder = {"fixture": rendered, "book": Layout(root=REPOSITORY)}[request.param].html
    if not (folder / "index.html").exists():
        pytest.skip("the book is not rendered: run `make site` or `make book` first")
    return folder


def test_tables_fit_the_text_scroll_on_a_phone_and_print_whole(browser, pages):
    bad, scrolling = [], 0
    with local_server(pages) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        page = browser.new_page()
        for path in sorted(pages.glob("[0-9][0-9]_*.html")) + [pages / "index.html"]:
            page.set_viewport_size({"width": 1280, "height": 900})
            page.emulate_media(media="screen")
            page.goto(f"http://127.0.0.1:{server.server_port}/{path.name}", wait_until="domcontentloaded")
            bad += [f"{path.stem}, 1280 px: {t}" for t in page.evaluate(TABLES) if t["wide"] > t["room"]]
            page.set_viewport_size({"width": 390, "height": 900})
            narrow = page.evaluate(TABLES)
            scrolling += sum(t["wide"] > t["room"] for t in narrow)
            bad += [f"{path.stem}, 390 px: {t}" for t in narrow if t["room"] > 390 or not t["scrolls"]]
            page.set_viewport_size({"width": PAPER, "height": 1000})
            page.emulate_media(media="print")
            bad += [f"{path.stem}, printed: {t}" for t in page.evaluate(TABLES) if t["right"] > PAPER]
            assert not page.locator(".skip-to-content, .mobile-header").filter(visible=True).count(), f"{path.stem} prints its buttons"
        server.shutdown()
    assert not bad, "\n".join(bad)
    assert scrolling, "no table was wider than a phone: nothing was tried"


def test_search_finds_a_word(visit, complaints):
    page = visit("search.html?q=zucchini")
    page.wait_for_selector("ul.search li a")
    assert "Points on a line" in page.locator("ul.search").inner_text()
    page.wait_for_selector("ul.search p.context")
    excerpt = page.locator("ul.search p.context").first.inner_text()
    assert "The zucchini line is" in excerpt
    assert "The last of 6 points" in excerpt and "chapter.check" not in excerpt and "charts.enable" not in excerpt, excerpt
    assert complaints == []
