"""Chapter prose without Sphinx: the roles that need a book are resolved first, then MyST's own parser makes HTML."""

import abc
import html
import io
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from nmm.book import safe
from nmm.book.citations import Bibliography
from nmm.book.labels import EQUATION, Contents, Label, chapter_contents

_EXTENSIONS = ["amsmath", "attrs_inline", "colon_fence", "deflist", "dollarmath"]  # as in book/conf.py
# code keeps its text: plain fences, and code spans of one or more backticks that no role opens
_TOKEN = re.compile(
    r"(?P<code>^(?P<fence>`{3,}|~{3,})(?!\{).*?^(?P=fence)`*[ \t]*$"
    r"|(?<![`}])(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`))"
    r"|\{(?P<role>[\w:.-]+)\}`(?P<content>[^`]+)`",
    re.MULTILINE | re.DOTALL,
)
_EMBEDS = re.compile(r"^\s*:?loading:\s*embed", re.MULTILINE)
_TITLED = re.compile(r"(?P<text>.+?)\s*<(?P<target>[^>]+)>", re.DOTALL)


class Resolver(abc.ABC):
    """Replaces the roles that need a book: references, citations, numbered equations. A subclass says by what."""

    def __init__(self, contents: Contents, notebooks: Path, bibliography: Bibliography) -> None:
        self.contents = contents
        self._notebooks, self._bibliography = notebooks, bibliography
        self._others: dict[Path, Contents] = {}
        self._roles: Mapping[str, Callable[[str], str]] = {
            "eq": self._equation, "numref": self._figure, "ref": self._title, "doc": self._chapter,
            "cite": self._cite, "cite:p": self._cite, "cite:t": self._cite_in_text,
        }

    def resolved(self, source: str, where: str) -> str:
        """The text without those roles.

        Raises:
            ValueError: a reference to nothing; the message starts with `where`.
        """
        try:
            return _TOKEN.sub(self._resolve, EQUATION.sub(self._number, source))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error

    @abc.abstractmethod
    def equation(self, label: Label, body: str) -> str:
        """A numbered equation."""

    @abc.abstractmethod
    def link(self, text: str, label: Label, own: bool) -> str:
        """A reference to a label, of this chapter (own) or of another."""

    @abc.abstractmethod
    def emphasised(self, text: str) -> str:
        """The title of another chapter."""

    @abc.abstractmethod
    def citation(self, key: str, form: str) -> str:
        """One cited work; `form` has places for {authors} and {year}."""

    def _resolve(self, token: re.Match[str]) -> str:
        if token["code"]:
            return token[0]
        known = self._roles.get(token["role"])
        # what is left, docutils knows ({math}, {sub}, {code}) or complains about
        return known(token["content"]) if known else token[0]

    def _number(self, equation: re.Match[str]) -> str:
        label = self._found(equation["label"] or equation["label2"], "equation")[0]
        return self.equation(label, (equation["body"] or equation["body2"]).strip())

    def _equation(self, content: str) -> str:
        return self._reference(content, "equation", lambda label: f"Eq. {label.number}")

    def _figure(self, content: str) -> str:
        return self._reference(content, "figure", lambda label: f"Figure {label.number}")

    def _title(self, content: str) -> str:
        titled = _TITLED.fullmatch(content)
        target = titled["target"] if titled else content
        return self._reference(target, "title", lambda label: titled["text"] if titled else label.text)

    def _reference(self, name: str, kind: str, text: Callable[[Label], str]) -> str:
        label, own = self._found(name, kind)
        return self.link(text(label), label, own)

    def _found(self, name: str, kind: str) -> tuple[Label, bool]:
        """The label of that name, and whether it is this chapter's own."""
        label = self.contents.labels.get(name)
        if label and label.kind == kind:
            return label, True
        for path in sorted(self._notebooks.glob("[0-9][0-9]_*.ipynb")):
            other = self._other(path, f"the label {name!r}").labels.get(name)
            if other and other.kind == kind:
                return other, False
        raise ValueError(f"no {kind} has the label {name!r}, in this chapter or in {self._notebooks}")

    def _chapter(self, content: str) -> str:
        titled = _TITLED.fullmatch(content)
        name = (titled["target"] if titled else content).lstrip("/").removesuffix(".ipynb")
        title = self._other(self._notebooks / f"{name}.ipynb", f"the chapter {name!r}").title
        return self.emphasised(titled["text"] if titled else title)

    def _cite(self, content: str) -> str:
        return f"[{'; '.join(self.citation(key.strip(), '{authors}, {year}') for key in content.split(','))}]"

    def _cite_in_text(self, content: str) -> str:
        return ", ".join(self.citation(key.strip(), "{authors} [{year}]") for key in content.split(","))

    def _other(self, path: Path, why: str) -> Contents:
        if path not in self._others:
            if not path.exists():
                raise ValueError(f"{why} is in {path.name}, which is not in {path.parent}")
            self._others[path] = chapter_contents(path)
        return self._others[path]


class Prose(Resolver):
    """Markdown of one chapter, cell by cell, as HTML that stands alone."""

    def __init__(self, path: Path, name: str, notebooks: Path, bibliography: Bibliography) -> None:
        """
        Args:
            path: the executed chapter.
            name: its name in the book, NN_name.
            notebooks: folder with every chapter's source, for titles and numbers of equations and figures.
            bibliography: collects what is cited.
        """
        super().__init__(chapter_contents(path, name), notebooks, bibliography)

    def html(self, source: str, where: str) -> str:
        """One Markdown cell, or a caption.

        Raises:
            ValueError: a role, reference or directive that cannot be resolved; the message starts with `where`.
        """
        if _EMBEDS.search(source):
            raise ValueError(f"{where}: the option `loading` puts a file of this machine into the page: leave it out")
        from docutils.core import publish_parts
        from myst_parser.docutils_ import Parser

        heading = re.search(r"^(#+)[ \t]", source, re.MULTILINE)
        warnings = io.StringIO()
        parts = publish_parts(self.resolved(source, where), parser=Parser(), writer="html5", settings_overrides={
            "myst_enable_extensions": _EXTENSIONS, "myst_suppress_warnings": ["myst.header"],
            "initial_header_level": len(heading[1]) if heading else 2, "doctitle_xform": False,
            "math_output": "MathJax inline", "syntax_highlight": "short", "warning_stream": warnings,
            "report_level": 2, "halt_level": 5, "embed_stylesheet": False,
            # a chapter from outside must not carry files of this machine into the page; raw HTML is cleaned below
            "file_insertion_enabled": False,
        })
        if problems := warnings.getvalue().strip():
            raise ValueError(f"{where}: {problems.splitlines()[0]}")
        return safe.clean(parts["body"])

    def equation(self, label: Label, body: str) -> str:
        return f'<span id="{label.anchor}"></span>\n\n$$\n{body} \\tag{{{label.number}}}\n$$\n'

    def link(self, text: str, label: Label, own: bool) -> str:
        return f'<a href="#{label.anchor}">{html.escape(text)}</a>' if own else html.escape(text)

    def emphasised(self, text: str) -> str:
        return f"<em>{html.escape(text)}</em>"

    def citation(self, key: str, form: str) -> str:
        return self._bibliography.cite(key, form)
