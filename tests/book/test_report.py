"""One-file reports: everything resolved, nothing fetched, clear errors for what cannot be."""

import re

import pytest

from nmm.book.report import report
from tests.book.conftest import EDITION, edit


@pytest.fixture(scope="module")
def reports(rendered, tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("reports")
    for name in ("01_points", "02_slope"):
        report(rendered.executed(EDITION) / f"{name}.ipynb", folder / f"{name}.html", rendered)
    return {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.html")}


def text(html: str) -> str:
    article = re.search(r"<article>(.*)</article>", html, re.DOTALL)[1]
    return " ".join(re.sub(r"<[^>]+>", "", article).split())


def test_roles_are_resolved_as_on_the_site(reports):
    assert "Figure 1.1 shows 6 points; the last is at 5.17." in text(reports["01_points"])
    assert "as in Shukor et al. [2025]" in text(reports["01_points"])
    second = text(reports["02_slope"])
    assert "Chapter Points on a line has the points, see Eq. 1.1 and Figure 1.1." in second
    assert "The slope is 0.5, as Figure 2.1 shows." in second
    assert "{{" not in second


def test_cited_works_are_listed_and_linked(reports):
    html = reports["01_points"]
    assert 'href="#ref-shukor2025nmm"' in html
    assert 'id="ref-shukor2025nmm"' in html
    assert "Scaling laws for native multimodal models" in text(html)
    assert "kaplan2020" not in html


def test_links_inside_the_file_have_their_anchors(reports):
    for name, html in reports.items():
        for anchor in re.findall(r'href="#([^"]+)"', html.partition("<script>(function")[0]):
            assert re.search(rf'id="{re.escape(anchor)}"', html), f"{name}: no anchor {anchor}"


def test_the_file_stands_alone(reports):
    for html in reports.values():
        tags = re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)
        assert re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(?!data:)[^"]+', tags) == []
        assert "vega" in html
        assert "MathJax" in html


@pytest.mark.parametrize(("old", "new", "message"), [
    ("{{slope:.1f}}", "{{slop:.1f}}", r"cell 7 \(id slope-6\): {{slop:.1f}}: nothing is glued as 'slop'; there is slope"),
    ("{{slope:.1f}}", "{{slope:d}}", r"cell 7 \(id slope-6\): {{slope:d}}: 0.5 cannot be written so"),
    ("{{slope:.1f}}", "{{slope}}", r"0.5 needs a format, for example {{slope:.3f}}"),
    ("{eq}`derivative`", "{eq}`integral`", "no equation has the label 'integral'"),
    ("{cite:t}`kaplan2020`", "{cite:t}`kaplan2021`", "no entry 'kaplan2021' in .*; there are abnar2025"),
    ("{doc}`01_points`", "{unheard}`01_points`", 'Unknown interpreted text role "unheard"'),
    ("{doc}`01_points`", "{doc}`03_none`", "03_none.ipynb, which is not in"),
])
def test_what_cannot_be_resolved_is_named_with_its_cell(book, tmp_path, old, new, message):
    executed = book.executed(EDITION) / "02_slope.ipynb"
    edit(executed, old, new)
    with pytest.raises(ValueError, match=message):
        report(executed, tmp_path / "out.html", book)
    assert not (tmp_path / "out.html").exists()


def test_code_is_left_as_it_is(book, tmp_path):
    executed = book.executed(EDITION) / "02_slope.ipynb"
    edit(executed, "So much for", "Write `` {eq}`x` `` and `{a}` for")
    report(executed, tmp_path / "out.html", book)
    assert "Write {eq}`x` and {a} for Eq. 2.1" in text((tmp_path / "out.html").read_text(encoding="utf-8"))


def test_a_chapter_without_outputs_is_refused(rendered, tmp_path):
    with pytest.raises(ValueError, match="has not been executed"):
        report(rendered.notebooks / "01_points.ipynb", tmp_path / "out.html", rendered)
