"""Chapters as they lie in `notebooks/`: their order, title, parameters, and what they depend on."""

import ast
import dataclasses
import graphlib
import io
import re
import tokenize
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat

from nmm.book import chapter as contract
from nmm.book import prose

_NAME = re.compile(r"\d\d_\w+")
_TYPES = {"str": str, "int": int, "float": float, "bool": bool, "list": list, "dict": dict, "None": None}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parameter:
    """One line of the `parameters` cell."""

    name: str
    type: Any        # a class, `T | None` or `list[T]`
    default: Any
    comment: str     # meaning and unit


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chapter:
    """One notebook of the book. `name` is its file name without the ending, for example `05_fit`."""

    path: Path
    title: str
    question: str                        # first paragraph under the title, as Markdown
    parameters: Mapping[str, Parameter]
    after: tuple[str, ...]               # names of the chapters that run before this one
    inputs: tuple[str, ...]              # parameters that name files or folders whose contents count as input
    code: tuple[str, ...]                # code cells in order, without the `parameters` cell and without prose

    @property
    def name(self) -> str:
        return self.path.stem

    def values(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Every parameter's value: what is given where this chapter declares it, else its default."""
        return {name: given.get(name, parameter.default) for name, parameter in self.parameters.items()}


def read_chapters(folder: Path) -> list[Chapter]:
    """Every chapter in the folder, in the book's order.

    Raises:
        ValueError: no chapter, a malformed one, or `after` names that are unknown or go round in a circle.
        OSError: a file cannot be read.
    """
    paths = sorted(path for path in folder.glob("*.ipynb") if _NAME.fullmatch(path.stem))
    if not paths:
        raise ValueError(f"no chapter in {folder}: expected notebooks named NN_name.ipynb")
    chapters = [read_chapter(path) for path in paths]
    names = [chapter.name for chapter in chapters]
    for chapter in chapters:
        for other in chapter.after:
            if other not in names:
                raise ValueError(f"{chapter.path.name}: `after` names {other!r}; the chapters are {', '.join(names)}")
    try:
        graphlib.TopologicalSorter({chapter.name: chapter.after for chapter in chapters}).prepare()
    except graphlib.CycleError as error:
        raise ValueError(f"`after` goes round in a circle: {' -> '.join(error.args[1])}") from error
    return chapters


def read_chapter(path: Path) -> Chapter:
    """One chapter from its notebook; see `read_chapters` for what is raised."""
    notebook = read_notebook(path)
    settings = dict(notebook.metadata.get("nmm", {}))
    if unknown := set(settings) - {"after", "inputs"}:
        raise ValueError(
            f"{path.name}: notebook metadata `nmm` has unknown keys {sorted(unknown)}; valid: after, inputs"
        )
    title, question = _heading(notebook, path)
    parameters = _parameters(notebook, path)
    inputs = tuple(settings.get("inputs", ()))
    for name in inputs:
        if name not in parameters:
            raise ValueError(
                f"{path.name}: `inputs` names {name!r}; the parameters are {', '.join(parameters) or 'none'}"
            )
    code = tuple(cell.source for cell in notebook.cells if computes(cell) and not is_tagged(cell, "parameters"))
    return Chapter(path=path, title=title, question=question, parameters=parameters,
                   after=tuple(settings.get("after", ())), inputs=inputs, code=code)


def read_notebook(path: Path) -> nbformat.NotebookNode:
    """A notebook as nbformat 4; a file that is none raises a ValueError that names it."""
    try:
        return nbformat.read(path, as_version=4)
    except (ValueError, nbformat.ValidationError, LookupError, TypeError, AttributeError, RecursionError) as error:
        words = str(error).splitlines() or [type(error).__name__]
        raise ValueError(f"{path} is not a readable notebook: {words[0]}") from error


def is_tagged(cell: nbformat.NotebookNode, tag: str) -> bool:
    """Whether the cell carries this tag."""
    return tag in cell.metadata.get("tags", ())


def computes(cell: nbformat.NotebookNode) -> bool:
    """Whether the cell is code whose outputs only a kernel can make; a prose cell's are made from glued values."""
    return cell.cell_type == "code" and not is_tagged(cell, prose.TAG)


def parse_values(pairs: Sequence[str], chapters: Sequence[Chapter], book: Sequence[Chapter] = ()) -> dict[str, Any]:
    """`name=value` words of a command line as values of the type that the chapters declare, some of a book's.

    Raises:
        ValueError: a word without `=`, a parameter that no chapter declares, or a value of another type.
    """
    declared = {name: item for chapter in chapters for name, item in chapter.parameters.items()}
    values = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise ValueError(f"expected a parameter as name=value, got {pair!r}")
        owners = [chapter.name for chapter in book if name in chapter.parameters]
        if owners and not any(name in chapter.parameters for chapter in chapters):
            those = ", ".join(each.name for each in chapters)
            raise ValueError(f"parameter {name!r} is one of {', '.join(owners)}, and only {those} would be executed: "
                             "leave it out, or name those chapters too")
        values[name] = text
        # a string is taken as typed: runs_dir=007 stays "007"; anything else is a Python literal
        if name in declared and declared[name].type is not str:
            try:
                values[name] = ast.literal_eval(text)
            except (ValueError, SyntaxError):
                values[name] = text
    check_values(values, chapters)
    return values


def check_values(values: Mapping[str, Any], chapters: Sequence[Chapter]) -> None:
    """Refuse a parameter that no chapter declares, or a value of another type than a chapter declares."""
    declared = {name: item.type for chapter in chapters for name, item in chapter.parameters.items()}
    contract.check_values({name: value for name, value in values.items() if name not in declared}, declared, "the book")
    for chapter in chapters:
        types = {name: item.type for name, item in chapter.parameters.items()}
        contract.check_values({name: values[name] for name in types if name in values}, types, chapter.name)


def _heading(notebook: nbformat.NotebookNode, path: Path) -> tuple[str, str]:
    first = notebook.cells[0] if notebook.cells else None
    if first is None or first.cell_type != "markdown":
        raise ValueError(f"{path.name}: the first cell must be Markdown with the title, `# Title`")
    blocks = [block.strip() for block in re.split(r"\n\s*\n", first.source.strip())]
    lines = [block for block in blocks if not re.fullmatch(r"\([\w-]+\)=", block)]
    heading = re.match(r"(?:\([\w-]+\)=\s*\n)?#\s+(.+)", lines[0]) if lines else None
    if heading is None:
        raise ValueError(f"{path.name}: the first cell must start with the title, `# Title`")
    rest = lines[0][heading.end():].strip()
    return heading[1].strip(), " ".join((rest or (lines[1] if len(lines) > 1 else "")).split())


def _parameters(notebook: nbformat.NotebookNode, path: Path) -> dict[str, Parameter]:
    cells = [cell for cell in notebook.cells if cell.cell_type == "code" and is_tagged(cell, "parameters")]
    if len(cells) > 1:
        raise ValueError(f"{path.name}: {len(cells)} cells are tagged `parameters`; a chapter has at most one")
    return {item.name: item for cell in cells for item in _declarations(cell.source, path)}


def _declarations(source: str, path: Path) -> list[Parameter]:
    how = "write `name: type = literal  # meaning [unit]`"
    try:
        body = ast.parse(source).body
        comments = {token.start[0]: token.string.lstrip("# ").rstrip()
                    for token in tokenize.generate_tokens(io.StringIO(source).readline)
                    if token.type == tokenize.COMMENT}
    except (SyntaxError, tokenize.TokenError) as error:
        raise ValueError(f"{path.name}: the `parameters` cell is not Python: {error}") from error
    found = []
    for node in body:
        where = f"{path.name}: `parameters` cell, line {node.lineno}"
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name) or node.value is None:
            raise ValueError(f"{where}: {ast.unparse(node)!r} declares no parameter; {how}")
        try:
            type_ = eval(compile(ast.Expression(node.annotation), path.name, "eval"), {"__builtins__": _TYPES})
            default = ast.literal_eval(node.value)
        except (NameError, TypeError, ValueError, SyntaxError) as error:
            raise ValueError(f"{where}: {ast.unparse(node)!r}: {error}; {how}, types {', '.join(_TYPES)}") from error
        if not comments.get(node.end_lineno):
            raise ValueError(f"{where}: parameter {node.target.id} has no comment; {how}")
        contract.check_values({node.target.id: default}, {node.target.id: type_}, path.name)
        found.append(Parameter(name=node.target.id, type=type_, default=default, comment=comments[node.end_lineno]))
    return found
