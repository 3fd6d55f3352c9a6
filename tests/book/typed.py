"""Numbers in a chapter's prose that somebody typed: neither computed nor cited nor part of a formula, of code or of a name."""

import re
from collections.abc import Iterable
from pathlib import Path

from nmm.book import prose
from nmm.book.chapters import is_tagged, read_notebook
from nmm.book.labels import figure_of

# "one" and "two" are grammar more often than numbers; "two decades" is one
_WORDS = ("two(?= (?:decades|orders|thirds|times))|three|four|five|six|seven|eight|nine|ten|eleven|twelve|"
          "thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen|twenty|thirty|"
          "forty|fifty|sixty|seventy|eighty|ninety|hundreds?|thousands?|millions?|billions?|half|halves|twice|thrice|quarters?|dozens?")
_NUMBER = re.compile(rf"(?<![\w.])[-+]?\d[\d.,]*\d*(?:e[-+]?\d+)?\w*|\b(?:{_WORDS})\b", re.IGNORECASE)
# not prose: code, formulas, places for computed numbers, comments, link targets, headings, numbers of list items and steps
_NO_PROSE = re.compile(
    r"^(?P<fence>`{3,}).*?^(?P=fence)[ \t]*$|\$\$.+?\$\$|\$[^$\n]+\$|\{\{[^{}]*\}\}|`[^`\n]+`|\]\([^)]*\)|^#+ [^\n]*$|^:[\w-]+:[^\n]*$"
    r"|^[ \t]*\d+\.[ \t]|(?<=[.?!*:] )\d\. (?=[A-Z*`{$\"])|\(\d\) |\*\*\d\.\*\*", re.MULTILINE | re.DOTALL)
# a sentence that names its source: a citation, or a place in the paper or in this book
_SOURCE = re.compile(r"\u00a7|\b(?:Tables?|Figs?\.|Figures?|Secs?\.|Sections?|App\.|Appendix|Eqs?\.) ?[A-Z]?\d?")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_ROLE = re.compile(r"\{([\w:]+)\}`[^`]*`")


def texts(path: Path) -> Iterable[tuple[str, str]]:
    """Id and prose of every cell of a chapter: Markdown, the texts of `chapter.say`, captions. A page of Markdown is one text."""
    if path.suffix == ".md":
        yield path.stem, path.read_text(encoding="utf-8")
        return
    for cell in read_notebook(path).cells:
        if cell.cell_type == "markdown":
            yield cell.id, cell.source
        elif is_tagged(cell, prose.TAG):
            yield cell.id, prose.text_of(cell.source)
        elif caption := figure_of(cell).get("caption"):
            yield cell.id, caption


def typed(text: str) -> Iterable[tuple[str, str]]:
    """Number and sentence of everything in the text that is typed and names no source."""
    # \u00a7 is the mark of a citation
    named = _ROLE.sub(lambda role: " \u00a7 " if role[1].startswith("cite") else " \u2026 ", _COMMENT.sub("", text))
    bare = _NO_PROSE.sub(lambda found: "\n" if found[0].endswith("\n") else " \u2026 ", named)
    for sentence in re.split(r"(?<=[.?!:])(?<!\bFig\.)(?<!\bSec\.)(?<!\bApp\.)(?<!\bEq\.)(?<!et al\.)\s+|\n\s*\n|\n- ", bare):
        if not _SOURCE.search(sentence):
            for number in _NUMBER.finditer(sentence):
                yield number[0].rstrip(".,"), " ".join(sentence.split())
