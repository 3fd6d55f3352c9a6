"""Numbers, labels and published values of one chapter: what references and glue resolve to outside Sphinx.

The numbers are those of the site: chapter.count, by order of appearance, for equations and for figures.
"""

import dataclasses
import re
from pathlib import Path
from typing import Any

import nbformat
from docutils.nodes import make_id

from nmm.book import prose
from nmm.book.chapters import is_tagged, read_notebook

_PREFIX = "application/papermill.record/"  # MyST-NB files glued values under this
_TARGET = re.compile(r"^\((?P<label>[\w-]+)\)=[ \t]*\n+(?:#+[ \t]+(?P<title>.+))?", re.MULTILINE)
# the three ways to label an equation in MyST, and figures, in cell metadata or as a directive
EQUATION = re.compile(
    r"^(?P<fence>`{3,}|:{3,})\{math\}[ \t]*\n:label:[ \t]*(?P<label>[\w-]+)[ \t]*\n(?P<body>.*?)^(?P=fence)[ \t]*$"
    r"|^\$\$(?P<body2>.+?)\$\$[ \t]*\((?P<label2>[\w-]+)\)[ \t]*$",
    re.MULTILINE | re.DOTALL,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Label:
    """What a label stands for: how a reference to it reads, and the anchor that it leads to."""

    kind: str    # equation, figure or title
    number: str  # "" for a title
    text: str    # of the title
    anchor: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contents:
    """What one executed chapter offers to references."""

    title: str
    labels: dict[str, Label]
    figures: tuple[Label, ...]   # in order, those without a name of their own too


def chapter_contents(path: Path, name: str | None = None) -> Contents:
    """Labels of a chapter.

    Args:
        path: the notebook, executed or not.
        name: the chapter's name where the file has another one; its leading number numbers everything.
    Raises:
        ValueError: the file is no notebook, or a label occurs twice.
    """
    prefix = re.match(r"\d\d(?=_)", name or path.stem)
    chapter = f"{int(prefix[0])}." if prefix and int(prefix[0]) else ""
    counts = {"equation": 0, "figure": 0}
    labels: dict[str, Label] = {}
    title = ""

    def add(label: str, kind: str, text: str = "") -> None:
        number = ""
        if kind in counts:
            counts[kind] += 1
            number = f"{chapter}{counts[kind]}"
        label = label or f"{kind}-{counts[kind]}"
        if label in labels:
            raise ValueError(f"{path}: the label {label!r} occurs twice")
        labels[label] = Label(kind=kind, number=number, text=text, anchor=make_id(label))

    for cell in read_notebook(path).cells:
        if cell.cell_type == "markdown" or is_tagged(cell, prose.TAG):
            text = cell.source if cell.cell_type == "markdown" else prose.text_of(cell.source)
            title = title or next(iter(re.findall(r"^#[ \t]+(.+)", text, re.MULTILINE)), "")
            for target in _TARGET.finditer(text):
                add(target["label"], "title", (target["title"] or "").strip())
            for equation in EQUATION.finditer(text):
                add(equation["label"] or equation["label2"], "equation")
        elif cell.cell_type == "code" and (figure := figure_of(cell)):
            add(figure.get("name", ""), "figure")
    figures = tuple(label for label in labels.values() if label.kind == "figure")
    return Contents(title=title, labels=labels, figures=figures)


def glued_values(notebook: nbformat.NotebookNode) -> dict[str, Any]:
    """Name -> value of everything that an executed chapter glued."""
    outputs = (output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs)
    named = ((output.get("metadata", {}).get("scrapbook", {}).get("name"), output) for output in outputs)
    return {name: prose.value_of(output.data.get(f"{_PREFIX}text/plain", "")) for name, output in named if name}


def figure_of(cell: Any) -> dict[str, Any]:
    """Name and caption of the figure that a code cell makes; empty if it makes none."""
    return dict(cell.metadata.get("mystnb", {}).get("figure", {}))
