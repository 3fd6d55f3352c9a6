"""Paragraphs with computed numbers: what `chapter.say` fills in live, and the driver, the site and the reports again.

Such a paragraph is a code cell tagged `prose` whose one statement is `chapter.say(r'''... {{alpha:.3f}} ...''')`,
after its import where it stands above the chapter's own. Its output is the text with its numbers, so it reads the same
wherever the notebook is read.
"""

import ast
import re
from collections.abc import Mapping
from typing import Any

TAG = "prose"
IMPORT = "from nmm.book import chapter"
_PLACE = re.compile(r"\{\{(?P<name>[A-Za-z_]\w*)(?::(?P<format>[^{}]*))?\}\}")
_SPECIAL = re.compile(r"([\\*$`<>|~\[\]&])")  # what a glued string must not mean in Markdown


def text_of(source: str) -> str:
    """The text that a prose cell says, its places for numbers still open.

    Raises:
        ValueError: the cell is anything but one call of `chapter.say` with one literal text.
    """
    try:
        (statement,) = (node for node in ast.parse(source).body if ast.unparse(node) != IMPORT)
        call = statement.value
        if ast.unparse(call.func) != "chapter.say":
            raise ValueError(f"it calls {ast.unparse(call.func)}")
        (text,) = map(ast.literal_eval, call.args)
    except (SyntaxError, ValueError, AttributeError) as error:
        raise ValueError(
            f"a cell tagged {TAG!r} holds one call, chapter.say(r'''text'''), and nothing else: {error}"
        ) from error
    return text


def names(text: str) -> list[str]:
    """The values that a text asks for."""
    return [place["name"] for place in _PLACE.finditer(text)]


def fill(text: str, values: Mapping[str, Any]) -> str:
    """The text with its numbers; every place is `{{name:format}}`, the format as in an f-string.

    Raises:
        ValueError: no value has that name, or the format does not suit it; the message names the valid names.
    """
    def number(place: re.Match[str]) -> str:
        if place["name"] not in values:
            raise ValueError(
                f"{place[0]}: nothing is glued as {place['name']!r}; there is {', '.join(sorted(values)) or 'nothing'}"
            )
        return _SPECIAL.sub(r"\\\1", _formatted(place[0], values[place["name"]], place["format"] or ""))

    return _PLACE.sub(number, text)


def value_of(printed: str) -> Any:
    """The value that its `repr` stands for; what no literal can write stays as printed."""
    try:
        return ast.literal_eval(printed)
    except (SyntaxError, ValueError):
        return printed


def _formatted(place: str, value: Any, format_: str) -> str:
    if isinstance(value, float) and not format_:
        raise ValueError(f"{place}: {value!r} needs a format, for example {place[:-2]}:.3f}}}}")
    if isinstance(value, float) and format_.endswith("d") and value.is_integer():
        value = int(value)
    try:
        return format(value, format_)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{place}: {value!r} cannot be written so: {error}") from error
