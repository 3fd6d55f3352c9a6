"""The site: what a good build has, and what a build refuses."""

import json
import re
import urllib.request
from threading import Thread

import nbformat
import pytest

from nmm.book import site
from nmm.book.execute import execute
from nmm.book.layout import Layout
from tests.book.conftest import EDITION, edit, silent, write_chapter


def page(layout: Layout, name: str) -> str:
    return (layout.html / f"{name}.html").read_text(encoding="utf-8")


def text(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", "", html).split())


def test_numbers_references_and_citations_are_resolved(rendered):
    first, second = text(page(rendered, "01_points")), text(page(rendered, "02_slope"))
    assert "Figure 1.1 shows 6 points; the last is at 5.17." in first
    assert "as in Shukor et al. [2025]" in first
    assert "Chapter Points on a line has the points, see Eq. 1.1 and Figure 1.1." in second
    assert "So much for Eq. 2.1." in second
    assert "The first chapter has 6 points." in text(page(rendered, "index"))


def test_the_front_page_lists_the_chapters_that_there_are(rendered):
    index = page(rendered, "index")
    assert index.index("01_points.html") < index.index("02_slope.html")
    assert "How steep is a noisy line?" in text(index)


def test_pages_have_neighbours_a_download_and_no_foreign_address(rendered):
    html = page(rendered, "01_points")
    assert 'class="next-page" href="02_slope.html"' in html
    assert 'href="_static/chapters/01_points.ipynb" download' in html
    assert re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(?:https?:)?//[^"]*', html) == []


def test_charts_are_data_with_a_picture_for_pages_without_script(rendered):
    html = page(rendered, "01_points")
    ((words, spec),) = re.findall(
        r'<div class="chart" role="figure" aria-label="(.+?)"><script type="application/json">(.+?)</script>', html)
    assert json.loads(spec)["title"] == "A line of points"
    assert words == "A line of points. x is x [steps], from 1 to 6; y is y [nats/token], from 3.5 to 5.17; colour is group, 1, 2, 0."
    assert re.search(r'<noscript>\s*<img alt="A line of points. x is x', html)
    assert "charts-bundle.js" in html
    assert "charts-bundle.js" not in page(rendered, "index")


@pytest.mark.parametrize(("name", "figure", "column"), [("01_points", "fig-line", "y_nats_per_token"), ("02_slope", "fig-bars", "y_nats")])
def test_the_data_of_a_chart_lie_beside_the_page(rendered, name, figure, column):
    (address,) = re.findall(r'<p class="chart-data"><a href="(.+?)" download="', page(rendered, name))
    assert address == f"_data/{name}-{figure}.csv"
    assert column in (rendered.html / address).read_text().splitlines()[0].split(",")


def test_a_chart_without_a_title_fails_the_build(book):
    edit(book.notebooks / "02_slope.ipynb", ', title=\\"Bars\\"', "")
    assert all(item.good for item in execute(book, EDITION, {}, echo=silent))
    with pytest.raises(ValueError, match=r"02_slope.ipynb, cell 6.*a chart has no title"):
        site.build(book, EDITION)


def test_a_warning_on_a_page_fails_the_build(book):
    path = book.executed(EDITION) / "02_slope.ipynb"
    notebook = nbformat.read(path, as_version=4)
    text = "/home/me/ipykernel_1/2.py:4: FutureWarning: old behaviour\n  fit(x)\n"
    notebook.cells[5].outputs.insert(0, nbformat.v4.new_output("stream", name="stderr", text="3 of 4 runs\n"))
    nbformat.write(notebook, path)
    site.build(book, EDITION)
    notebook.cells[5].outputs.insert(0, nbformat.v4.new_output("stream", name="stderr", text=text))
    nbformat.write(notebook, path)
    said = r"02_slope.ipynb, cell 6 .*a warning, which readers would see: FutureWarning: old behaviour; mend it"
    with pytest.raises(ValueError, match=said):
        site.build(book, EDITION)


def test_a_failed_cell_fails_the_build_with_cell_and_error(book):
    path = book.executed(EDITION) / "02_slope.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[5].outputs.append(nbformat.v4.new_output("error", ename="KeyError", evalue="'gone'", traceback=["KeyError: 'gone'"]))
    nbformat.write(notebook, path)
    before = page(book, "02_slope")
    with pytest.raises(ValueError, match=r"02_slope.ipynb, cell 6, .*KeyError: 'gone'"):
        site.build(book, EDITION)
    assert page(book, "02_slope") == before, "the last good site was touched"


def test_a_number_that_nothing_computes_fails_execution_and_build(book):
    edit(book.notebooks / "02_slope.ipynb", "{{slope:.1f}}", "{{slop:.1f}}")
    outcomes = execute(book, EDITION, {}, echo=silent)
    assert [item.status for item in outcomes] == ["unchanged", "failed"]
    assert "cell 7 (id slope-6): {{slop:.1f}}: nothing is glued as 'slop'; there is slope" in outcomes[1].reason
    edit(book.executed(EDITION) / "02_slope.ipynb", "{{slope:.1f}}", "{{slop:.1f}}")
    with pytest.raises(ValueError, match="02_slope.ipynb, cell 7 .*nothing is glued as 'slop'"):
        site.build(book, EDITION)


def test_chapters_that_failed_changed_or_never_ran_are_refused(book):
    edit(book.root / "nmm" / "charts" / "theme.py", "One look", "A look")
    with pytest.raises(ValueError, match="01_points is out of date.*book execute --edition smoke"):
        site.build(book, EDITION)
    write_chapter(book.root, "03_new", "", "1 / 0")
    with pytest.raises(ValueError, match="03_new has not been executed"):
        site.build(book, EDITION)
    execute(book, EDITION, {}, only=["03_new"], echo=silent)
    with pytest.raises(ValueError, match=r"03_new failed: code cell 1 \(id new-1\): ZeroDivisionError: division by zero"):
        site.build(book, EDITION)


def test_the_site_is_served_on_this_machine_only(rendered):
    server = site.local_server(rendered.html)
    Thread(target=server.serve_forever, daemon=True).start()
    with server, urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/") as answer:
        assert b"Two chapters" in answer.read()
        assert server.server_address[0] == "127.0.0.1"
        server.shutdown()


def test_serving_without_a_site_or_on_a_taken_port_says_what_to_do(tmp_path, rendered):
    with pytest.raises(FileNotFoundError, match="run `make book`"):
        site.serve(Layout(root=tmp_path), 0)
    with site.local_server(rendered.html) as server, pytest.raises(OSError, match=f"port {server.server_port}.*--port 0"):
        site.serve(rendered, server.server_port)
