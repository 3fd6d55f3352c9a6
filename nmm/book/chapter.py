"""What every chapter calls first and last: check its parameters, find its files, publish its numbers.

A chapter declares its parameters in the cell tagged `parameters`, one annotated literal a line:

    preset: str = "laptop"          # grid of runs: laptop or smoke
    budget: float = 1e21            # training compute [FLOPs]

and its next code cell is `chapter.check(globals())`. The annotation is the only declaration of a
parameter's name and type: papermill, the batch driver and this check all read it.
"""

import ast
import functools
import math
import re
import types
import typing
import uuid
from collections.abc import Iterable, Mapping
from numbers import Number
from pathlib import Path
from typing import Any

from nmm.book import prose

# papermill starts the cell that it injects with this comment (its default, which nobody needs to change)
_INJECTED = "# Parameters"
_values: dict[str, Any] = {}      # glued in this kernel
_waiting: dict[str, str] = {}     # text with numbers that come later -> its display


def check(namespace: Mapping[str, Any]) -> None:
    """Check the parameters of the chapter that is running; call it right after the `parameters` cell.

    papermill only warns about a parameter that the chapter does not have, and never looks at types. Here
    both are errors, however the chapter was started: by the batch driver, by bare papermill, in JupyterLab.

    Args:
        namespace: `globals()` of the notebook.
    Raises:
        ValueError: an injected parameter that the chapter does not declare, or a value of another type.
    """
    declared = namespace.get("__annotations__", {})
    if not declared:
        raise ValueError("no annotated parameter is defined yet: run the cell tagged `parameters` before this one")
    known = {name: type_ for name, type_ in declared.items() if name in namespace}
    injected = [
        name for source in namespace.get("In", ()) if source.startswith(_INJECTED) for name in _assigned(source)
    ]
    check_values({name: namespace[name] for name in [*known, *injected] if name in namespace}, known)


def check_values(values: Mapping[str, Any], declared: Mapping[str, Any], where: str = "this chapter") -> None:
    """Refuse values whose name is not declared or whose type is another one.

    Args:
        values: parameter name -> value.
        declared: parameter name -> type (a class, `T | None` or `list[T]`).
        where: who declares them, for the message.
    Raises:
        ValueError: naming the parameter, the value, and every valid parameter with its type.
    """
    valid = ", ".join(f"{name}: {type_name(type_)}" for name, type_ in declared.items()) or "none"
    for name, value in values.items():
        if name not in declared:
            raise ValueError(f"unknown parameter {name!r}: {where} has no such parameter; valid are {valid}")
        if not _matches(value, declared[name]):
            raise ValueError(
                f"parameter {name} must be {type_name(declared[name])}, got {value!r} ({type(value).__name__}); "
                f"valid are {valid}. papermill reads `-p {name} VALUE` as YAML would; `-r` keeps the text as it is"
                + _number_hint(value)
            )


def type_name(type_: Any) -> str:
    """How a parameter's type reads in a message: `float`, `list[int]`, `str | None`."""
    return type_.__name__ if isinstance(type_, type) and not typing.get_args(type_) else str(type_)


def find(path: str) -> Path:
    """The existing file or folder that a path parameter means.

    A relative path is looked up in the working folder, then in the repository root, because JupyterLab
    starts a chapter in `notebooks/` and papermill wherever it was called. A leading `~` is the home folder.

    Raises:
        ValueError: the path is empty.
        FileNotFoundError: it is in neither place; the message names both.
    """
    if not path:
        raise ValueError("expected a path to a file or folder, got an empty string")
    wanted = Path(path).expanduser()
    places = [wanted] if wanted.is_absolute() else [Path.cwd() / wanted, repository() / wanted]
    for place in places:
        if place.exists():
            return place
    looked = " and ".join(str(place) for place in dict.fromkeys(places))
    raise FileNotFoundError(f"no such file or folder: {path!r} (looked at {looked})")


def repository() -> Path:
    """The folder that holds this package: the root of a clone."""
    return Path(__file__).resolve().parents[2]


def glue(name: str, value: Any) -> None:
    """Publish one value for the prose: `{{name:.3f}}` in a text of `say` shows it.

    Numbers, strings and other plain values go in without being displayed. A missing number has no place in
    a sentence: say so in words (`chapter.glue("E", "not identified")`) or leave the sentence out.
    The site's front page reads the same values, as `` {glue:text}`05_fit.ipynb::name:.3f` ``.

    Raises:
        ValueError: the value is None, NaN or infinite, or the name is not one of letters, digits and underscores.
    """
    if not name.isidentifier():
        raise ValueError(f"a glued name must be made of letters, digits and underscores, got {name!r}")
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()  # a NumPy scalar prints as np.float64(..), which no format can read back
    if value is None or (isinstance(value, Number) and not _finite(value)):
        raise ValueError(f"glued value {name!r} is {value!r}: a missing number must be shown as missing, in words")
    import myst_nb  # only inside a notebook: it costs a second

    myst_nb.glue(name, value, display=False)
    _values[name] = prose.value_of(repr(value))
    for text, place in _waiting.items():
        if name in prose.names(text) and set(prose.names(text)) <= set(_values):
            _show(prose.fill(text, _values), place, update=True)


def say(text: str, *, later: bool = False) -> None:
    """Show a paragraph of the chapter with its numbers; call it alone, in a cell tagged `prose`.

    Args:
        text: MyST Markdown, best as a raw string; `{{name:.3f}}` is the value glued as `name`, in that format.
        later: some of the numbers are glued further down. The paragraph is filled in as soon as they are, and
            `chapter.finish()`, in the last cell, refuses a chapter where one never came.
    Raises:
        ValueError: a name that nothing is glued as, an unsuitable format, or a reference to nothing.
    """
    missing = set(prose.names(text)) - set(_values)
    if later:
        _waiting[text] = uuid.uuid4().hex
    if later and missing:
        _show("*(these numbers are computed further down)*", _waiting[text])
    else:
        _show(prose.fill(text, _values), _waiting.get(text, uuid.uuid4().hex))


def finish() -> None:
    """Check, at the end of a chapter, that every paragraph got its numbers.

    Raises:
        ValueError: a paragraph asks for a value that was never glued; the message names the valid names.
    """
    for text in _waiting:
        prose.fill(text, _values)


def _show(text: str, place: str, update: bool = False) -> None:
    from IPython.display import display

    display({"text/markdown": _readable().markdown(text, "this paragraph")}, raw=True, display_id=place, update=update)


@functools.cache
def _readable() -> Any:
    from nmm.book.readable import Readable  # parsers, wanted only inside a notebook

    return Readable(repository() / "notebooks", repository() / "book" / "references.bib")


def _finite(value: Any) -> bool:
    return math.isfinite(abs(value)) if isinstance(value, (int, float, complex)) else True


def _assigned(source: str) -> Iterable[str]:
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))


def _number_hint(value: Any) -> str:
    """How YAML wants a power of ten that it read as text, such as 1e21, to be written; nothing where there is none."""
    for text in value if isinstance(value, list) else [value]:
        found = re.fullmatch(r"([+-]?\d+)(\.\d+)?[eE]([+-]?)(\d+)", text) if isinstance(text, str) else None
        if found:
            whole, fraction, sign, power = found.groups()
            return f"; YAML takes {text} for text: write {whole}{fraction or '.0'}e{sign or '+'}{power}"
    return ""


def _matches(value: Any, type_: Any) -> bool:
    if isinstance(type_, types.UnionType):
        return any(_matches(value, option) for option in typing.get_args(type_))
    origin = typing.get_origin(type_) or type_
    if origin is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if origin is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if not isinstance(value, origin):
        return False
    inner = typing.get_args(type_)
    return all(_matches(item, inner[0]) for item in value) if origin is list and inner else True
