"""CITATION.cff is the one source: BibTeX is made from it, and pages link to a repository only if it names one."""

import pytest

from nmm.book import citing
from tests.book.conftest import REPOSITORY, edit
from tests.book.test_site import page

CFF = "title: A book\nversion: 1.0\ndate-released: 2026-01-02\nauthors:\n  - {family-names: Doe, given-names: Jo}\n  - name: A team\n"


def test_the_bibtex_file_is_what_the_citation_file_says():
    made = citing.read(REPOSITORY / "CITATION.cff").bibtex()
    assert (REPOSITORY / "CITATION.bib").read_text("utf-8") == made, "run: python -m nmm book cite > CITATION.bib"


def test_fields_and_address_reach_bibtex_and_links(tmp_path):
    path = tmp_path / "CITATION.cff"
    path.write_text(CFF)
    without = citing.read(path)
    assert without.links("notebooks/a.ipynb") == {}
    assert "url" not in without.bibtex()
    path.write_text(CFF + "repository-code: https://github.com/someone/nmm/\n")
    software = citing.read(path)
    assert software.links("notebooks/a.ipynb") == {
        "Source": "https://github.com/someone/nmm/blob/HEAD/notebooks/a.ipynb", "Edit": "https://github.com/someone/nmm/edit/HEAD/notebooks/a.ipynb"}
    from pybtex.database import parse_string

    entry = parse_string(software.bibtex(), "bibtex").entries["nmm"]
    assert entry.fields["year"] == "2026" and entry.fields["url"] == "https://github.com/someone/nmm"
    assert [" ".join(person.last_names) for person in entry.persons["author"]] == ["Doe", "{A team}"]


@pytest.mark.parametrize(("change", "message"), [
    (("title: A book\n", ""), "CITATION.cff has no field 'title'"),
    (("authors", "repository-code: git@host:nmm\nauthors"), "must be an https address, got 'git@host:nmm'"),
])
def test_a_bad_citation_file_is_named(tmp_path, change, message):
    path = tmp_path / "CITATION.cff"
    path.write_text(CFF)
    edit(path, *change)
    with pytest.raises(ValueError, match=message):
        citing.read(path)


def test_pages_of_a_book_without_an_address_link_to_none(rendered):
    assert "git clone" not in page(rendered, "index")
    assert ">Source</a>" not in page(rendered, "01_points") and ">Edit</a>" not in page(rendered, "01_points")
