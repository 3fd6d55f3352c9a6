"""Cache keys: a chapter runs again when something changed that its code can see, and only then.

Found by reading source text, not by importing it. An import by a computed name
(`importlib.import_module(f"...")`) is therefore invisible here; chapters do not use one.
"""

import ast
import functools
import hashlib
import importlib.metadata
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from IPython.core.inputtransformer2 import TransformerManager

from nmm.book import chapter as contract
from nmm.book.chapters import Chapter

_BIG = 64 * 2**20  # bytes; a bigger input file counts by size and time of change, not by content


def chapter_key(chapter: Chapter, values: Mapping[str, Any], upstream: Mapping[str, str], root: Path) -> str:
    """What decides whether a chapter's last output still holds.

    Covers the code cells, the parameters' values, the sources of the modules of this repository that the
    chapter imports (through any number of steps, inside functions too), the contents of its declared
    inputs, the keys of the chapters before it, and the versions of Python and of every imported package.
    Prose, tags, captions and comments on parameters are not in it.

    Args:
        values: every parameter's value.
        upstream: keys of the chapters in `chapter.after`.
        root: folder that holds the package `nmm`.
    Raises:
        ValueError: a code cell or module is not Python.
        FileNotFoundError: a declared input does not exist.
    """
    source = "\n".join(_plain_python(cell, f"{chapter.name}, code cell {i}") for i, cell in enumerate(chapter.code, 1))
    modules, packages = imported(source, root, chapter.name)
    parts = {
        "code": chapter.code,
        "values": dict(values),
        "modules": {path.relative_to(root).as_posix(): _digest(path.read_bytes()) for path in modules},
        "inputs": {name: input_digest(_input(chapter, name, values[name])) for name in chapter.inputs if values[name]},
        "upstream": {name: upstream[name] for name in chapter.after},
        "versions": {"python": sys.version.split()[0], **_versions(packages)},
    }
    return _digest(json.dumps(parts, sort_keys=True).encode())


def imported(source: str, root: Path, where: str) -> tuple[list[Path], set[str]]:
    """Files of this repository's package, and names of other packages, that some source text reaches.

    Returns:
        Files of `nmm` in a fixed order, and top-level names of all other imported modules, seen from the
        source and from those files.
    Raises:
        ValueError: the source, or a file it reaches, is not Python.
    """
    todo, files, others = list(_imports(source, "", where)), {}, set()
    while todo:
        name = todo.pop()
        if name.partition(".")[0] != "nmm":
            others.add(name.partition(".")[0])
            continue
        path = _module_file(name, root)
        if path is None or path in files:
            continue
        files[path] = None
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        todo += _imports(path.read_text(encoding="utf-8"), package, str(path))
    return sorted(files), others


def input_digest(path: Path) -> str:
    """Content of a file, or of every file in a folder with its relative name."""
    if path.is_file():
        return _file_digest(path)
    files = sorted(item for item in path.rglob("*") if item.is_file())
    return _digest(json.dumps([(item.relative_to(path).as_posix(), _file_digest(item)) for item in files]).encode())


def _input(chapter: Chapter, name: str, value: str) -> Path:
    try:
        return contract.find(value)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{chapter.name}, parameter {name}: {error}") from error


def _file_digest(path: Path) -> str:
    stat = path.stat()
    return f"{stat.st_size} {stat.st_mtime_ns}" if stat.st_size > _BIG else _digest(path.read_bytes())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _plain_python(cell: str, where: str) -> str:
    """The cell with IPython's magics and shell lines turned into calls, as the kernel does."""
    text = TransformerManager().transform_cell(cell)
    try:
        ast.parse(text)
    except SyntaxError as error:
        raise ValueError(f"{where} is not Python: {error.msg}, line {error.lineno}") from error
    return text


def _imports(source: str, package: str, where: str) -> Iterable[str]:
    """Full names of the modules that a source text imports, and of every package above them."""
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise ValueError(f"{where} is not Python: {error.msg}, line {error.lineno}") from error
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            # `from a import b` may name a module b or a value inside a; what is no file is dropped later
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[: i + 1]) for i in range(len(parts)))


def _module_file(name: str, root: Path) -> Path | None:
    base = root.joinpath(*name.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


def _versions(packages: Iterable[str]) -> dict[str, str]:
    found = {name for package in packages for name in _distributions().get(package, ())}
    return {name: importlib.metadata.version(name) for name in sorted(found)}
