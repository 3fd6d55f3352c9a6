"""What changes a chapter's key, and what does not."""

import pytest

from nmm.book.chapters import read_chapters
from nmm.book.execute import chapter_keys
from nmm.book.layout import Layout
from tests.book.conftest import edit, write_chapter


@pytest.fixture
def layout(tmp_path) -> Layout:
    """Chapter 1 uses nmm.a and, through a function of it, nmm.deep.b; chapter 2 uses nmm.c and comes after 1; 3 stands alone."""
    package = tmp_path / "nmm"
    (package / "deep").mkdir(parents=True)
    for name, source in {
        "__init__": "", "a": "def f():\n    from .deep import b\n    return b", "deep/__init__": "", "deep/b": "x = 1",
        "c": "import numpy", "unused": "x = 1",
    }.items():
        (package / f"{name}.py").write_text(source)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "runs.csv").write_text("1")
    write_chapter(tmp_path, "01_a", 'folder: str = ""  # runs\nn: int = 1  # runs', "from nmm import a", inputs=["folder"])
    write_chapter(tmp_path, "02_c", "", "import nmm.c as c\n%time x = 1", after=["01_a"])
    write_chapter(tmp_path, "03_none", "", "x = 1")
    return Layout(root=tmp_path)


def keys(layout: Layout, **values) -> dict[str, str]:
    chapters = read_chapters(layout.notebooks)
    given = {"folder": str(layout.root / "data"), **values}
    return chapter_keys(chapters, {chapter.name: given for chapter in chapters}, layout)


def changed(layout: Layout, before: dict[str, str], **values) -> list[str]:
    after = keys(layout, **values)
    return [name for name in before if before[name] != after[name]]


@pytest.mark.parametrize(("file", "old", "new", "stale"), [
    ("notebooks/01_a.ipynb", "A question?", "Another question?", []),
    ("notebooks/01_a.ipynb", "# runs\\n", "# how many runs\\n", []),
    ("notebooks/01_a.ipynb", "from nmm import a", "from nmm import a  # again", ["01_a", "02_c"]),
    ("nmm/a.py", "return b", "return b, b", ["01_a", "02_c"]),
    ("nmm/deep/b.py", "1", "2", ["01_a", "02_c"]),
    ("nmm/c.py", "numpy", "numpy as np", ["02_c"]),
    ("nmm/unused.py", "1", "2", []),
    ("data/runs.csv", "1", "2", ["01_a", "02_c"]),
])
def test_an_edit_makes_stale_what_can_see_it(layout, file, old, new, stale):
    before = keys(layout)
    edit(layout.root / file, old, new)
    assert changed(layout, before) == stale


def test_parameters_and_new_input_files_count(layout):
    before = keys(layout)
    assert changed(layout, before) == []
    assert changed(layout, before, n=2) == ["01_a", "02_c"]
    assert changed(layout, before, folder="") == ["01_a", "02_c"]
    (layout.root / "data" / "more.csv").touch()
    assert changed(layout, before) == ["01_a", "02_c"]


def test_versions_of_imported_packages_count(layout, monkeypatch):
    before = keys(layout)
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0" if name == "numpy" else "1")
    assert changed(layout, before) == ["02_c"]


def test_a_missing_input_names_chapter_and_parameter(layout):
    with pytest.raises(FileNotFoundError, match="01_a, parameter folder: no such file or folder: 'nowhere'"):
        keys(layout, folder="nowhere")


def test_code_that_is_no_python_names_the_cell(layout):
    write_chapter(layout.root, "03_none", "", "x = = 1")
    with pytest.raises(ValueError, match="03_none, code cell 1 is not Python"):
        keys(layout)
