"""Chapter prose as plain Markdown, for readers without MyST: JupyterLab, GitHub, a downloaded notebook."""

import re
from pathlib import Path

from nmm.book.citations import Bibliography
from nmm.book.labels import Contents, Label
from nmm.book.myst import Resolver

_TARGET = re.compile(r"^\([\w-]+\)=[ \t]*\n+", re.MULTILINE)
_BOX = re.compile(r"^(?P<fence>:{3,})\{(?P<kind>[\w-]+)\}[ \t]*(?P<title>[^\n]*)\n(?P<body>.*?)^(?P=fence)[ \t]*$",
                  re.MULTILINE | re.DOTALL)
_OPTIONS = re.compile(r"\A(?::[\w-]+:.*\n)+")
_MATH = re.compile(r"^(?P<fence>`{3,})\{math\}[ \t]*\n(?P<body>.*?)^(?P=fence)[ \t]*$", re.MULTILINE | re.DOTALL)


class Readable(Resolver):
    """MyST in, Markdown out: references by their numbers, citations by author and year, boxes as quotations."""

    def __init__(self, notebooks: Path, bibliography: Path) -> None:
        """
        Args:
            notebooks: folder with every chapter's source, for titles and numbers of equations and figures.
            bibliography: the BibTeX file; read at the first citation.
        """
        super().__init__(Contents(title="", labels={}, figures=()), notebooks, Bibliography(bibliography))

    def markdown(self, source: str, where: str) -> str:
        """One Markdown cell or paragraph.

        Raises:
            ValueError: a reference that cannot be resolved; the message starts with `where`.
        """
        text = _MATH.sub(lambda math: f"$$\n{math['body'].strip()}\n$$", self.resolved(source, where))
        return _BOX.sub(_quotation, _TARGET.sub("", text))

    def equation(self, label: Label, body: str) -> str:
        return f"$$\n{body} \\tag{{{label.number}}}\n$$"

    def link(self, text: str, label: Label, own: bool) -> str:
        return self.emphasised(text) if label.kind == "title" else text

    def emphasised(self, text: str) -> str:
        return f"*{text}*"

    def citation(self, key: str, form: str) -> str:
        return self._bibliography.text(key, form)


def _quotation(box: re.Match[str]) -> str:
    title = box["title"].strip() or ("" if box["kind"] == "container" else box["kind"].capitalize())
    lines = [*([f"**{title}**", ""] if title else []), *_OPTIONS.sub("", box["body"]).strip().splitlines()]
    return "\n".join(f"> {line}".rstrip() for line in lines)
