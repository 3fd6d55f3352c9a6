"""An executed chapter as a page shows it: prose as prose, and only the code that a reader wants to see."""

import ast
import re
from collections.abc import Mapping
from typing import Any

import nbformat

from nmm.book import prose, safe
from nmm.book.chapters import is_tagged
from nmm.book.labels import figure_of, glued_values
from nmm.book.readable import Readable

LONG = 12  # lines; longer code is folded
_WARNING = re.compile(r"\b\w+Warning: .*")


def present(notebook: nbformat.NotebookNode, name: str) -> nbformat.NotebookNode:
    """Turn an executed chapter, in place, into what the site and the report show.

    Prose cells become Markdown with their numbers, captions get theirs. Statements that only glue numbers are left out,
    with the cell if nothing else is in it. Code of more than `LONG` lines is folded. Outputs are made harmless
    (`nmm.book.safe`).

    Args:
        name: of the file, for messages.
    Raises:
        ValueError: a prose cell asks for a number that the chapter did not glue.
    """
    values = glued_values(notebook)
    for number, cell in enumerate(notebook.cells, 1):
        if is_tagged(cell, prose.TAG):
            cell.cell_type = "markdown"
            cell.source = _filled(prose.text_of(cell.source), values, place_of(name, number, cell))
            for key in ("outputs", "execution_count"):
                del cell[key]
            cell.metadata.pop("tags")
        elif cell.cell_type == "code":
            cell.source, cell.outputs = without_glue(cell.source), safe.outputs(cell.outputs)
            if caption := figure_of(cell).get("caption"):
                cell.metadata["mystnb"]["figure"]["caption"] = _filled(caption, values, place_of(name, number, cell))
            tags = cell.metadata.setdefault("tags", [])
            if not cell.source.strip():
                tags += {"remove-cell" if all(map(carries, cell.outputs)) else "remove-input"} - set(tags)
            elif cell.source.count("\n") >= LONG and not {"hide-input", "remove-input", "parameters"} & set(tags):
                tags.append("hide-input")
    return notebook


def check_quiet(notebook: nbformat.NotebookNode, name: str) -> None:
    """Refuse an executed chapter on whose page a warning of Python would stand.

    Raises:
        ValueError: names the cell and the warning.
    """
    for number, cell in enumerate(notebook.cells, 1):
        for output in cell.get("outputs", []):
            if output.output_type == "stream" and output.name == "stderr" and (warning := _WARNING.search(output.text)):
                where = place_of(name, number, cell)
                raise ValueError(f"{where} ends with a warning, which readers would see: {warning[0]}; mend it")


def without_glue(source: str) -> str:
    """Code without the statements, at any depth, that do nothing but `chapter.glue(..)` or `chapter.finish()`."""
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a magic or a shell line
        return source
    lines = source.splitlines()
    for first, last in reversed(_carriers(tree.body)):
        del lines[first - 1 : last]
    return "\n".join(lines).strip("\n")


def carries(output: nbformat.NotebookNode) -> bool:
    """Whether an output is a glued value, which nobody sees, and not something to look at."""
    return "scrapbook" in output.get("metadata", {})


def say_again(cell: nbformat.NotebookNode, values: Mapping[str, Any], readable: Readable, where: str) -> None:
    """Give a prose cell the output that `chapter.say` would show for these values, in place."""
    data = {"text/markdown": readable.markdown(_filled(prose.text_of(cell.source), values, where), where)}
    cell.outputs = [nbformat.v4.new_output("display_data", data=data)]


def without_roles(notebook: nbformat.NotebookNode, readable: Readable, name: str) -> nbformat.NotebookNode:
    """Turn the Markdown cells of an executed chapter, in place, into Markdown that any reader of notebooks shows."""
    for number, cell in enumerate(notebook.cells, 1):
        if cell.cell_type == "markdown":
            cell.source = readable.markdown(cell.source, place_of(name, number, cell))
    return notebook


def place_of(name: str, number: int, cell: nbformat.NotebookNode) -> str:
    """How messages name a cell."""
    return f"{name}, cell {number} (id {cell.get('id', 'none')})"


def _filled(text: str, values: Mapping[str, Any], where: str) -> str:
    try:
        return prose.fill(text, values)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _carriers(body: list[ast.stmt]) -> list[tuple[int, int]]:
    """First and last lines of the statements that only publish numbers."""
    found = []
    for node in body:
        if _only_glues(node):
            found.append((node.lineno, node.end_lineno))
        elif isinstance(node, (ast.For, ast.If, ast.With)) and not all(map(_only_glues, node.body)):
            found += _carriers(node.body) + _carriers(getattr(node, "orelse", []))
    return found


def _only_glues(node: ast.stmt) -> bool:
    if isinstance(node, (ast.For, ast.If, ast.With)):
        return all(map(_only_glues, [*node.body, *getattr(node, "orelse", [])]))
    called = node.value.func if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) else None
    return called is not None and ast.unparse(called) in ("chapter.glue", "chapter.finish")
