"""Every chart there is, in a real browser, on a light and a dark page and on a phone: words are readable, legends choose, controls fit."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from nmm.book import assets
from nmm.book.report import _inside_tag
from nmm.charts import theme
from tests.book.conftest import REPOSITORY
from tests.book.test_browser import CHROMIUM, FLAGS, playwright
from tests.charts.gallery import samples

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium found: install chromium to run the browser tests")
BOOK = REPOSITORY / "book"

# of every text: its words, and the contrast of what is seen of it against what lies below it
CONTRASTS = """() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const blend = (top, below, alpha) => top.slice(0, 3).map((c, i) => alpha * c + (1 - alpha) * below[i]);
  const channel = (c) => (c /= 255, c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const luminance = (c) => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
  const contrast = (a, b) => { const [d, l] = [luminance(a), luminance(b)].sort((x, y) => x - y); return (l + 0.05) / (d + 0.05); };
  const opacity = (node, kind) => { const style = getComputedStyle(node); return Number(style.opacity) * Number(style[kind]); };
  const page = numbers(getComputedStyle(document.body).backgroundColor);
  const found = [];
  for (const box of document.querySelectorAll('div.chart')) {
    const areas = [...box.querySelectorAll('.mark-rect path')].map((node) => [node, node.getBoundingClientRect()]);
    for (const text of box.querySelectorAll('svg.marks text')) {
      if (!text.textContent.trim() || text.getAttribute('display') === 'none') continue;
      const style = getComputedStyle(text), at = text.getBoundingClientRect();
      if (style.stroke !== 'none') continue;                     // the light edge under a number, drawn on its own
      const [x, y] = [at.x + at.width / 2, at.y + at.height / 2];
      const inside = ([, r]) => r.left < x && x < r.right && r.top < y && y < r.bottom;
      const over = (under, [node]) => blend(numbers(getComputedStyle(node).fill), under, opacity(node, 'fillOpacity'));
      const below = areas.filter(inside).reduce(over, page);
      const edge = (t) => t !== text && t.textContent === text.textContent && getComputedStyle(t).stroke !== 'none';
      const edged = text.closest('.role-mark') && [...box.querySelectorAll('svg.marks text')].find(edge);
      const ground = edged ? numbers(getComputedStyle(edged).stroke) : below;
      let alpha = opacity(text, 'fillOpacity');
      for (let node = text.parentElement; node && !node.matches('svg.marks'); node = node.parentElement)
        alpha *= Number(getComputedStyle(node).opacity);
      if (alpha === 0) continue;                                 // numbers that would overlap are not shown
      found.push([box.id, text.textContent, contrast(blend(numbers(style.fill), ground, alpha), ground)]);
    }
  }
  return found;
}"""


@pytest.fixture(scope="module")
def page_file(tmp_path_factory) -> Path:
    """One page with every chart, as a report has them."""
    theme.enable()
    boxes = "".join(
        assets.chart_html(spec).replace("<div ", f'<div id="{name}" ', 1) + "</div>" + assets.data_link(spec, f"{name}.csv")
        for name, chart in samples().items() for spec in [theme.render(chart.to_dict())[theme.MIME]]
    )
    style = (BOOK / "_static" / "book.css").read_text() + (BOOK / "_report" / "report.css").read_text()
    script = _inside_tag(assets.chart_script(BOOK / "_static" / "charts.js"))
    path = tmp_path_factory.mktemp("charts") / "charts.html"
    path.write_text(
        '<!DOCTYPE html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>charts</title><style>{style}</style><body><article>{boxes}</article><script>{script}</script></body></html>"
    )
    return path


@pytest.fixture(scope="module")
def visit(page_file) -> Iterator:
    with playwright.sync_playwright() as start:
        browser = start.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        open_pages = {}

        def page(width: int = 1280, scheme: str = "light") -> playwright.Page:
            if (width, scheme) not in open_pages:
                context = browser.new_context(
                    viewport={"width": width, "height": 900}, color_scheme=scheme, has_touch=width < 500, accept_downloads=True)
                context.set_default_timeout(120_000)  # [ms]; a busy machine, not a slow page
                open_pages[width, scheme] = shown = context.new_page()
                shown.goto(page_file.as_uri())
                shown.wait_for_function("[...document.querySelectorAll('div.chart')].every(box => box.classList.contains('drawn'))")
                context.set_default_timeout(20_000)
            return open_pages[width, scheme]

        yield page
        browser.close()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_every_word_of_every_chart_can_be_read(visit, width, scheme):
    found = visit(width, scheme).evaluate(CONTRASTS)
    assert {name for name, _, _ in found} == set(samples()), "a chart has no words"
    pale = [f"{name}: {words!r} has a contrast of {contrast:.2f}" for name, words, contrast in found if contrast < 4.5]
    assert not pale, "\n".join(pale)


@pytest.mark.parametrize("width", [1280, 390])
def test_every_chart_fits_its_column_with_its_titles_and_legends(visit, width):
    wide = visit(width, "light" if width > 500 else "dark").evaluate("""() => [...document.querySelectorAll('div.chart')].flatMap((box) => {
      const edge = box.getBoundingClientRect().right + 1;
      return [...box.querySelectorAll('svg.marks text')].filter((text) => text.getBoundingClientRect().right > edge)
        .map((text) => `${box.id}: ${text.textContent}`);
    })""")
    assert wide == []


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
@pytest.mark.parametrize(("name", "mark"), [
    ("runs.training_curves", "mark-line"), ("runs.against_compute", "mark-symbol"), ("laws.approach_2_miss", "mark-line"),
    ("laws.isoloss", "mark-line"), ("fits.residuals", "mark-symbol"), ("repetition.curves", "mark-symbol"),
    ("corpus.token_bars", "mark-rect"),
])
def test_a_press_on_a_legend_fades_the_others_and_another_brings_them_back(visit, width, scheme, name, mark):
    page = visit(width, scheme)
    box = page.locator(f"[id='{name}']")
    faded = f"""() => [...document.getElementById('{name}').querySelectorAll('.{mark}.role-mark path')]
      .filter((node) => Number(getComputedStyle(node).opacity) < 0.2).length"""
    label = box.locator(".role-legend-label text").first
    press = label.tap if width < 500 else label.click
    assert page.evaluate(faded) == 0
    press()
    page.wait_for_function(f"({faded})() > 0")
    press()
    page.wait_for_function(f"({faded})() === 0")


def test_a_hand_is_shown_only_where_a_press_does_something(visit):
    page = visit()
    box = page.locator("[id='laws.isoloss']")
    box.scroll_into_view_if_needed()

    def wait_for_cursor(is_hand: bool) -> None:
        shown = "getComputedStyle(document.getElementById('laws.isoloss').querySelector('svg.marks')).cursor"
        page.wait_for_function(f"({shown} === 'pointer') === {str(is_hand).lower()}")

    labels = box.locator(".role-legend-label text")
    assert labels.all_text_contents() == ["sparse", "ours", "within its runs", "beyond its runs"]
    for number, is_hand in ((0, True), (2, False), (1, True), (3, False)):      # by turns, so that each has to change
        place = labels.nth(number).bounding_box()
        page.mouse.move(place["x"] + 5, place["y"] + 5)
        page.mouse.move(place["x"] + 6, place["y"] + 6)
        wait_for_cursor(is_hand)


def test_data_can_be_saved_by_the_keyboard(visit):
    page = visit()
    link = page.locator("a[download='runs.grid.csv']")
    link.focus()
    assert "The runs in N and D" in link.inner_text() or "The runs in N and D" in link.text_content()
    with page.expect_download() as started:
        page.keyboard.press("Enter")
    saved = Path(started.value.path()).read_text()
    assert saved.startswith("drawn,L_nats_per_token,N,D,C\ncircle,")


def test_the_controls_of_the_planner_fit_a_thumb_and_move_its_optimum(visit):
    page = visit(390, "dark")
    box = page.locator("[id='planning.planner']")
    for control in box.locator(".vega-bindings input, .vega-bindings select").all():
        place = control.bounding_box()
        assert place["height"] >= 40 and place["width"] >= 150, place
        assert place["x"] >= 0 and place["x"] + place["width"] <= 390, place
    words = box.locator(".mark-text.role-mark text")
    before = words.text_content()
    assert "within its runs" in before
    box.locator("input[name=budget]").evaluate("node => { node.value = 25; node.dispatchEvent(new Event('input')); }")
    page.wait_for_function(
        "before => document.getElementById('planning.planner').querySelector('.mark-text.role-mark text').textContent !== before",
        arg=before)
    assert "x the largest run" in words.text_content()
    edge = box.bounding_box()
    place = words.bounding_box()
    assert place["x"] >= edge["x"] and place["x"] + place["width"] <= edge["x"] + edge["width"]
