"""A book of two small chapters, executed once a session; every test works on a copy of its own."""

import shutil
from pathlib import Path

import nbformat
import pytest
from filelock import FileLock

from nmm.book import site
from nmm.book.execute import execute
from nmm.book.layout import Layout

REPOSITORY = Path(__file__).resolve().parents[2]
EDITION = "smoke"


def silent(_line: str) -> None:
    """The driver's progress lines, unread."""


def write_chapter(root: Path, name: str, *cells: str, title: str = "A title\n\nA question?", **settings) -> Path:
    """A chapter from its code cells; the first one is tagged `parameters` if it is not empty."""
    notebook = nbformat.v4.new_notebook(metadata={"nmm": settings})
    notebook.cells.append(nbformat.v4.new_markdown_cell(f"# {title}"))
    for i, source in enumerate(cells):
        if source:
            notebook.cells.append(nbformat.v4.new_code_cell(source, metadata={"tags": ["parameters"]} if i == 0 else {}))
    for i, cell in enumerate(notebook.cells):
        cell["id"] = f"{name[3:]}-{i}"
    path = root / "notebooks" / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


def edit(path: Path, old: str, new: str) -> None:
    """Replace text that must be there."""
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{old!r} is not in {path}"
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture(scope="session")
def rendered(tmp_path_factory, worker_id) -> Layout:
    """The fixture book, executed and rendered once for all test processes; not to be changed."""
    shared = tmp_path_factory.getbasetemp() if worker_id == "master" else tmp_path_factory.getbasetemp().parent
    layout = Layout(root=shared / "rendered")
    with FileLock(shared / "rendered.lock"):
        if not layout.html.exists():
            _make(layout)
    return layout


def _make(layout: Layout) -> None:
    ignored = shutil.ignore_patterns("_build", "__pycache__")
    shutil.copytree(Path(__file__).parent / "fixture" / "notebooks", layout.notebooks)
    shutil.copytree(REPOSITORY / "book", layout.source, ignore=ignored)
    shutil.copytree(REPOSITORY / "nmm", layout.root / "nmm", ignore=ignored)
    for name in ("index.md", "glossary.md"):
        shutil.copy(Path(__file__).parent / "fixture" / name, layout.source)
    shutil.copy(REPOSITORY / "CITATION.cff", layout.root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(layout.root))  # kernels read labels beside the nmm that they import: this book's own
        outcomes = execute(layout, EDITION, {}, jobs=2, echo=silent)
    assert [item.status for item in outcomes] == ["executed", "executed"], outcomes
    site.build(layout, EDITION)


@pytest.fixture
def book(rendered, tmp_path, monkeypatch) -> Layout:
    """A copy of the executed and rendered book, whose `nmm` kernels import."""
    shutil.copytree(rendered.root, tmp_path / "book", symlinks=True)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "book"))
    return Layout(root=tmp_path / "book")
