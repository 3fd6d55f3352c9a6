"""Numbers in prose: the same sentence in JupyterLab, papermill's output, the download, the site and the report."""

import subprocess
import sys

import nbformat
import pytest

from nmm.book import prose
from nmm.book.chapters import is_tagged, read_notebook
from nmm.book.execute import execute
from nmm.book.layout import DOWNLOADS
from nmm.book.present import present, without_glue
from nmm.book.report import report
from tests.book.conftest import EDITION, REPOSITORY, edit, silent, write_chapter
from tests.book.test_site import page, text

SENTENCES = ["Answer. The last of 6 points is at 5.17;", "Figure 1.1 shows 6 points; the last is at 5.17."]


def said(notebook: nbformat.NotebookNode) -> str:
    """What a reader of a notebook sees of its prose: Markdown cells and Markdown outputs."""
    shown = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            shown.append(cell.source)
        shown += [output.data["text/markdown"] for output in cell.get("outputs", []) if "text/markdown" in output.get("data", {})]
    return " ".join("\n".join(shown).replace("**", "").split())


def test_the_numbers_are_readable_in_all_five_forms(book, tmp_path):
    source, bare = book.notebooks / "01_points.ipynb", tmp_path / "bare.ipynb"
    run = subprocess.run([sys.executable, "-m", "papermill", "-k", "python3", "-l", "python", str(source), str(bare)],
                         capture_output=True, text=True, check=False, cwd=book.root)
    assert run.returncode == 0, run.stderr[-2000:]
    report(book.executed(EDITION) / "01_points.ipynb", tmp_path / "report.html", book)
    forms = {
        "a live kernel, as papermill saved it": said(read_notebook(bare)),
        "executed by the driver": said(read_notebook(book.executed(EDITION) / "01_points.ipynb")),
        "the download": said(read_notebook(book.html / DOWNLOADS / "01_points.ipynb")),
        "the site": text(page(book, "01_points")),
        "the report": text((tmp_path / "report.html").read_text(encoding="utf-8").partition("<article>")[2]),
    }
    for form, shown in forms.items():
        for sentence in SENTENCES:
            assert sentence in shown, f"{form} does not say {sentence!r}"
        assert "{glue" not in shown and "{{count" not in shown.replace("chapter.say", ""), form


def test_the_download_is_plain_markdown_and_runs(book):
    notebook = read_notebook(book.html / DOWNLOADS / "02_slope.ipynb")
    shown = said(notebook)
    assert "Chapter *Points on a line* has the points, see Eq. 1.1 and Figure 1.1." in shown
    assert "> Note > > A note with bold words and Kaplan et al. [2020]." in shown
    assert r"\frac{dy}{dx} = m . \tag{2.1}" in shown
    assert [cell.source for cell in notebook.cells if cell.cell_type == "code"] == \
        [cell.source for cell in read_notebook(book.notebooks / "02_slope.ipynb").cells if cell.cell_type == "code"]


def test_new_words_around_old_numbers_run_nothing(book):
    edit(book.notebooks / "01_points.ipynb", "the last is at {{last:.2f}}", "the last of them lies at {{last:.1f}}")
    assert [item.status for item in execute(book, EDITION, {}, echo=silent)] == ["new prose", "unchanged"]
    assert "the last of them lies at 5.2." in said(read_notebook(book.executed(EDITION) / "01_points.ipynb"))


def test_a_number_that_never_comes_stops_the_chapter(tmp_path):
    write_chapter(tmp_path, "01_a", "", "from nmm.book import chapter\nchapter.glue('n', 1)",
                  "chapter.say('{{n:d}} of {{m:d}}', later=True)", "chapter.finish()")
    write_chapter(tmp_path, "02_b", "", "from nmm.book import chapter\nchapter.glue('n', 1)\nchapter.say('{{m:d}}')")
    for name, cell in (("01_a", 3), ("02_b", 1)):
        run = subprocess.run([sys.executable, "-m", "papermill", "-k", "python3", "-l", "python", f"{tmp_path}/notebooks/{name}.ipynb",
                              f"{tmp_path}/{name}.ipynb"], capture_output=True, text=True, check=False, cwd=REPOSITORY)
        assert run.returncode != 0
        assert "{{m:d}}: nothing is glued as 'm'; there is n" in run.stderr, (cell, run.stderr[-2000:])


@pytest.mark.parametrize(("template", "value", "shown"), [
    ("{{x:.3f}}", 0.12345, "0.123"), ("{{x:d}}", 6.0, "6"), ("{{x}}", 6, "6"), ("{{x:,}}", 12345, "12,345"), ("{{x:.1%}}", 0.1234, "12.3%"),
    ("{{x}}", "early *and* late, 5 $", r"early \*and\* late, 5 \$"), (r"\frac{{{x}}}{2}", 3, r"\frac{3}{2}"),
    (r"a_{b_{c}}", 0, r"a_{b_{c}}"),
])
def test_places_are_filled_and_formulas_left_alone(template, value, shown):
    assert prose.fill(template, {"x": value}) == shown


@pytest.mark.parametrize("source", ["chapter.say('a')\nx = 1", "x = 1", "chapter.glue('a', 1)", "chapter.say(f'{x}')", "chapter.say('a'"])
def test_a_prose_cell_holds_one_text(source):
    with pytest.raises(ValueError, match="holds one call, chapter.say"):
        prose.text_of(source)


def test_code_that_only_carries_numbers_is_not_shown():
    source = ("x = 1\nchapter.glue('x', x)\nfor name in 'ab':\n    chapter.glue(\n        name, x)\n"
              "if x:\n    y = 2\n    chapter.glue('y', y)\ny")
    assert without_glue(source) == "x = 1\nif x:\n    y = 2\ny"
    assert without_glue("chapter.glue('x', 1)\nchapter.finish()") == ""


def test_long_code_is_folded_and_cells_of_numbers_are_gone(rendered):
    html = page(rendered, "01_points")
    assert "chapter.glue" not in html and "chapter.say" not in html and "chapter.finish" not in html
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("\n".join(["x = 1"] * lines)) for lines in (12, 13)])
    present(notebook, "a")
    assert [is_tagged(cell, "hide-input") for cell in notebook.cells] == [False, True]


def test_chapters_of_the_book_hold_prose_as_prose():
    for path in sorted((REPOSITORY / "notebooks").glob("*.ipynb")):
        cells, waits = read_notebook(path).cells, False
        for cell in cells:
            where = f"{path.name}, {cell.id}"
            assert "{glue:" not in cell.source + str(cell.metadata), f"{where}: the role is readable on the site only; use chapter.say"
            if is_tagged(cell, prose.TAG):
                prose.text_of(cell.source)
                waits |= "later=True" in cell.source
                assert is_tagged(cell, "remove-input"), where
            if is_tagged(cell, prose.TAG) or cell.cell_type == "code" and not without_glue(cell.source).strip():
                assert cell.metadata.get("jupyter", {}).get("source_hidden"), f"{where}: JupyterLab would show its source"
            assert is_tagged(cell, prose.TAG) or "chapter.say" not in cell.source, f"{where}: tag it `prose`"
        assert not waits or any("chapter.finish()" in cell.source for cell in cells[-2:]), f"{path.name} ends without chapter.finish()"
