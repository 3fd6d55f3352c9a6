"""Names and notebooks of strangers: whatever is written in them is shown, or left out, and never run."""

import html
import json
from pathlib import Path

import altair as alt
import nbformat
import numpy as np
import pandas as pd
import pytest

from nmm.book import assets, prose, safe
from nmm.book.layout import Layout
from nmm.book.present import present
from nmm.book.report import report
from nmm.charts import corpus as draw
from nmm.charts.styled import escaped
from nmm.charts.theme import MIME, render
from nmm.data.corpus import show, store
from nmm.data.corpus.prepare import prepare
from tests.book.test_browser import CHROMIUM, FLAGS
from tests.data.conftest import caption_members, image_bytes, write_tar

HIT = "window.hit=1"
NAMES = [
    f"<script>{HIT}</script>", f"<img src=x onerror={HIT}>", f"<!--<script>{HIT}", f"</script><script>{HIT}</script>",
    f"<svg onload={HIT}>", f"\"'><script>{HIT}</script>", f"[x](javascript:{HIT})",
    f"<iframe srcdoc='<script>parent.{HIT}</script>'>", f"$\\href{{javascript:{HIT}}}{{x}}$",
    f"</style><script>{HIT}</script>", f"&lt;script&gt;{HIT}", f"<math><mtext></table><mglyph><style><img src=x onerror={HIT}>",
    "{raw-html}`<b>`",
]
HTML = [
    f"<script>{HIT}</script>", f"<p onclick='{HIT}' onmouseover={HIT}>x</p>", f"<a href='javascript:{HIT}'>x</a>",
    "<style>@import 'http://x/';p{color:red}</style>", f"<object data='data:text/html,<script>{HIT}</script>'></object>",
    f"<svg><script>{HIT}</script><animate onbegin={HIT}></svg>", "<img src='http://example.org/x.png'>",
    f"<form action='javascript:{HIT}'><button>x</button></form>",
    f"<base href='http://example.org/'><meta http-equiv=refresh content='0;url=javascript:{HIT}'>",
    f"<style>p{{background:url(javascript:{HIT})}}</style>",
    f"<svg><foreignObject><iframe srcdoc='<script>parent.{HIT}</script>'></iframe></foreignObject></svg>",
]


def named() -> list[nbformat.NotebookNode]:
    """Outputs with hostile names where our own chapters show names: cells, labels, columns, groups, axes, titles."""
    table = pd.DataFrame({"name": NAMES, **{name: range(len(NAMES)) for name in NAMES}}, index=pd.Index(NAMES, name=NAMES[0]))
    styles = (
        table.style, table.style.hide(axis="index").format({"name": "{}"}),
        table.style.format_index("{}").format(na_rep="—").set_caption(NAMES[0]),
    )
    groups = pd.DataFrame({"x": range(len(NAMES)), "y": range(len(NAMES)), "group": NAMES})
    chart = alt.Chart(groups, title=NAMES[2]).mark_point().encode(
        x=alt.X("x:Q", title=NAMES[0]), y="y:Q", color="group:N", tooltip="group:N")
    return [
        *(nbformat.v4.new_output("display_data", {"text/html": escaped(style)}) for style in styles),
        nbformat.v4.new_output("display_data", {"text/html": table.to_html()}),
        nbformat.v4.new_output("display_data", render(chart.to_dict())),
        nbformat.v4.new_output("stream", text="\n".join(NAMES)),
        nbformat.v4.new_output("error", ename=NAMES[0], evalue=NAMES[1], traceback=NAMES),
    ]


def strange() -> list[nbformat.NotebookNode]:
    """Outputs that a stranger put into a notebook."""
    chart = {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json", "title": "t", "mark": "point",
        "data": {"values": [{"x": 1}]}, "encoding": {"x": {"field": "x", "type": "quantitative"}},
        "usermeta": {"embedOptions": {"sourceHeader": HTML[0], "actions": True}},
    }
    return [
        *(nbformat.v4.new_output("display_data", {"text/html": body}) for body in HTML),
        nbformat.v4.new_output("display_data", {
            "application/javascript": HIT, "text/markdown": HTML[0], "image/svg+xml": HTML[5], "text/plain": "plain"}),
        nbformat.v4.new_output("display_data", {"image/png": f'AAAA" onerror="{HIT}'}),
        nbformat.v4.new_output("display_data", {"image/png": "AAAA"}, metadata={"image/png": {"width": f'1 onerror="{HIT}"'}}),
        nbformat.v4.new_output("display_data", {"text/latex": f"</div><script>{HIT}</script>$\\href{{javascript:{HIT}}}{{x}}$"}),
        nbformat.v4.new_output("display_data", render(chart)),
    ]


def notebook(path: Path, outputs: list[nbformat.NotebookNode], *markdown: str, title: str = "A title") -> Path:
    """An executed chapter, as a file that somebody sent."""
    cells = [nbformat.v4.new_markdown_cell(f"# {title}"), *map(nbformat.v4.new_markdown_cell, markdown)]
    for output in outputs:
        if output.output_type == "error":
            continue
        cells.append(nbformat.v4.new_code_cell("1", outputs=[output], execution_count=1, metadata={
            "tags": [f'x" onclick="{HIT}'], "papermill": {"status": "completed"}, "execution": {"shell.execute_reply": "t"}}))
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A corpus whose file, keys and captions are hostile; some samples are rejected by name."""
    folder = tmp_path_factory.mktemp("hostile")
    names = [name.replace("/", "∕") for name in NAMES]
    members = [member for n, name in enumerate(names) for member in ((f"{name}.jpg", image_bytes(n)), (f"{name}.txt", NAMES[n].encode()))]
    bad = [(f"bad {name}.jpg", b"x") for name in names]
    (folder / "data").mkdir()
    write_tar(folder / "data" / f"{names[1]}.tar", [*caption_members(range(9)), *members, *bad])
    (folder / "data" / names[0]).write_text("not read")
    prepare([("caption", folder / "data")], folder / "out", context=400, image_size=32, patch=8, vocab_size=300, max_rejects=1,
            processes=1, progress=False)
    return store.open(folder / "out")


def test_words_in_styled_tables_are_words():
    for output in named()[:3]:
        body = output.data["text/html"]
        assert "<script" not in body and "<img" not in body and "<svg" not in body and "<iframe" not in body
        assert html.escape(NAMES[1]) in body


def test_the_specification_of_a_chart_cannot_leave_its_tag():
    box = assets.chart_html(named()[4].data["application/vnd.vegalite.v6+json"])
    inside = box.partition('type="application/json">')[2].removesuffix("</script>")
    assert "<" not in inside and NAMES[2] in {row["group"] for row in next(iter(json.loads(inside)["datasets"].values()))}
    assert "embedOptions" not in assets.chart_html(strange()[-1].data["application/vnd.vegalite.v6+json"])


@pytest.mark.parametrize("body", [*HTML, *NAMES])
def test_html_is_cleaned(body):
    cleaned = safe.clean(body).lower()
    for sign in ("<script", "onerror=", "onload=", "onclick=", "onbegin=", "href=\"javascript", "<iframe", "<object", "<form",
                 "<meta", "<base", "url(", "@import", "example.org"):
        assert sign not in cleaned.replace("&lt;", ""), (sign, cleaned)


def test_sounds_in_the_page_stay_and_others_are_not_fetched():
    player = draw.players([np.zeros(80, np.int16)], ["four <b>notes</b>"]).data
    cleaned = safe.clean(player)
    assert "<audio controls" in cleaned and 'src="data:audio/wav;base64,' in cleaned and "four &lt;b&gt;notes" in cleaned
    for other in ("https://example.org/a.wav", "data:text/html;base64,AAAA", "javascript:x"):
        assert other not in safe.clean(f'<audio controls src="{other}" autoplay onplay="x"></audio>')


def test_what_our_chapters_show_is_left_as_it_is(corpus):
    picture = show.samples_html(corpus, 1)
    assert "<style>" in safe.clean(picture)
    assert safe.clean(picture).count("data:image/png;base64,") == picture.count("data:image/png;base64,") > 0
    drawing = ("<div style='flex:0 1 300px'><svg role='img' viewBox='0 0 8 8' style='width:100%;height:auto' fill='currentColor'>"
               "<defs><marker id='tip' refX='7' markerWidth='8'><path d='M0 0 z'/></marker></defs>"
               "<line x1='0' y2='9' marker-end='url(#tip)'/><text x='1'>a</text></svg></div>")
    for kept in ("viewBox", "refX", "markerWidth", "marker-end", "flex:0 1 300px", "<path", "height:auto"):
        assert kept in safe.clean(drawing), (kept, safe.clean(drawing))
    style = pd.DataFrame({"a": [1.5]}).style.format("{:.1f}")
    styled = style.set_properties(**{"text-align": "left", "overflow-wrap": "anywhere"}).to_html()
    assert "text-align: left" in safe.clean(styled) and "<td id=" in safe.clean(styled)


@pytest.mark.parametrize("text", [
    "```{include} SECRET\n```", "```{literalinclude} SECRET\n```", "```{csv-table}\n:file: SECRET\n```",
    "```{raw} html\n:file: SECRET\n```", "```{raw} html\n<script>window.hit=1</script>\n```",
    "```{eval-rst}\n.. include:: SECRET\n```", "```{eval-rst}\n.. raw:: html\n\n   <script>window.hit=1</script>\n```",
    "```{image} SECRET.svg\n:loading: embed\n```", "```{eval-rst}\n.. image:: SECRET.svg\n   :loading: embed\n```",
    ":::{include} SECRET\n:::",
])
def test_a_notebook_cannot_carry_files_or_raw_html_into_a_report(tmp_path, text):
    secret = tmp_path / "secret"
    secret.write_text("TOP-SECRET")
    (tmp_path / "secret.svg").write_text("<svg>TOP-SECRET</svg>")
    executed = notebook(tmp_path / "05_x.ipynb", named()[:1], text.replace("SECRET", str(secret)))
    try:
        report(executed, tmp_path / "out.html", Layout())
    except ValueError as error:
        assert "cell 2" in str(error) and "TOP-SECRET" not in str(error)
        assert not (tmp_path / "out.html").exists()
    else:
        page = (tmp_path / "out.html").read_text()
        assert "TOP-SECRET" not in page and f"<script>{HIT}" not in page


def test_glued_words_are_words():
    for name in NAMES:
        bare = prose.fill("{{x}}", {"x": name}).replace("\\<", "").replace("\\[", "").replace("\\`", "").replace("\\$", "")
        assert not set("<[`$") & set(bare)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium found: install chromium to run the browser tests")
def test_in_a_browser_nothing_of_a_stranger_runs(tmp_path, corpus):
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra `test`)")
    left_out = draw.reject_rows(corpus.report)
    shown = [
        nbformat.v4.new_output("display_data", {
            "text/html": escaped(left_out.style.hide(axis="index").set_properties(**{"white-space": "normal"}))}),
        nbformat.v4.new_output("display_data", {"text/html": show.samples_html(corpus, 40, characters=600)}),
        nbformat.v4.new_output("display_data", render(draw.rejects(left_out).to_dict())),
        nbformat.v4.new_output("stream", text=show.report_table(corpus.report)),
    ]
    prose_cells = [f"words {body} after" for body in HTML] + [f"a name {name}" for name in NAMES if "{raw" not in name]
    executed = notebook(tmp_path / "05_x.ipynb", [*named(), *strange(), *shown], *prose_cells, title=f"A title {NAMES[1]}")
    page_file = tmp_path / "out.html"
    report(executed, page_file, Layout())
    samples = tmp_path / "samples.html"
    samples.write_text('<!doctype html><meta charset="utf-8">' + show.samples_html(corpus, 40))
    with sync.sync_playwright() as start:
        browser = start.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for file in (page_file, samples):
            page, asked = browser.new_page(), []
            page.set_default_timeout(120_000)
            page.on("request", lambda request, asked=asked: asked.append(request.url)
                    if not request.url.startswith(("file:", "data:", "blob:")) else None)
            page.goto(file.as_uri())
            page.wait_for_load_state("networkidle")
            if file == page_file:
                page.wait_for_function("[...document.querySelectorAll('div.chart')].every(box => box.classList.contains('drawn'))")
                assert page.locator("div.chart").count() == 3
            for link in page.locator("a").all():
                assert not (link.get_attribute("href") or "").lower().startswith("javascript"), link.get_attribute("href")
            assert page.locator(f"text=<img src=x onerror={HIT}>").count() > 0, "a hostile name is not shown as words"
            assert page.evaluate("window.hit") is None and asked == []
        browser.close()


def test_the_site_gets_the_same_outputs(tmp_path):
    """What is staged for the site passes the same place."""
    made = nbformat.read(notebook(tmp_path / "05_x.ipynb", [*named(), *strange()]), as_version=4)
    kept = [output for cell in present(made, "05_x.ipynb").cells if cell.cell_type == "code" for output in cell.outputs][len(named()) - 1:]
    assert {kind for output in kept for kind in output.data} <= {"text/html", "text/plain", "text/latex", "image/png", MIME}
    text = json.dumps([{kind: body for kind, body in output.data.items() if kind in ("text/html", "image/png")} for output in kept])
    for sign in ("<script", "onerror", "onclick", "onload", "javascript", "<iframe", "http://"):
        assert sign not in text, sign
    assert all(output.metadata == {} for output in kept)
    assert "file_insertion_enabled: no" in (Layout().source / "docutils.conf").read_text()
