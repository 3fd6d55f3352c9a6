"""Chapter prose as HTML without Sphinx: MyST's own parser, with the roles that need a book resolved first."""

import html
import io
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from nmm.book.citations import Bibliography
from nmm.book.labels import EQUATION, Contents, Label, chapter_contents

_EXTENSIONS = ["amsmath", "attrs_inline", "colon_fence", "deflist", "dollarmath"]  # as in book/conf.py
# code keeps its text: plain fences, and code spans of one or more backticks that no role opens
_TOKEN = re.compile(
    r"(?P<code>^(?P<fence>`{3,}|~{3,})(?!\{).*?^(?P=fence)`*[ \t]*$|(?<![`}])(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`))"
    r"|\{(?P<role>[\w:.-]+)\}`(?P<content>[^`]+)`",
    re.MULTILINE | re.DOTALL,
)
_TITLED = re.compile(r"(?P<text>.+?)\s*<(?P<target>[^>]+)>", re.DOTALL)


class Prose:
    """Markdown of one executed chapter, cell by cell, as HTML that stands alone."""

    def __init__(self, path: Path, name: str, siblings: Path, notebooks: Path, bibliography: Bibliography) -> None:
        """
        Args:
            path: the executed chapter.
            name: its name in the book, NN_name.
            siblings: folder with the executed chapters that it may quote numbers from.
            notebooks: folder with every chapter's source, for titles and numbers of equations and figures.
            bibliography: collects what is cited.
        """
        self.contents = chapter_contents(path, name)
        self._siblings, self._notebooks, self._bibliography = siblings, notebooks, bibliography
        self._others: dict[Path, Contents] = {}
        self._roles: Mapping[str, Callable[[str], str]] = {
            "glue:text": self._glue, "eq": self._equation, "numref": self._figure, "ref": self._title,
            "doc": self._chapter, "cite": self._cite, "cite:p": self._cite, "cite:t": self._cite_in_text,
        }

    def html(self, source: str, where: str) -> str:
        """One Markdown cell, or a caption.

        Raises:
            ValueError: a role, reference or directive that cannot be resolved; the message starts with `where`.
        """
        from docutils.core import publish_parts
        from myst_parser.docutils_ import Parser

        try:
            resolved = _TOKEN.sub(self._resolve, EQUATION.sub(self._number, source))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        heading = re.search(r"^(#+)[ \t]", source, re.MULTILINE)
        warnings = io.StringIO()
        parts = publish_parts(resolved, parser=Parser(), writer="html5", settings_overrides={
            "myst_enable_extensions": _EXTENSIONS, "myst_suppress_warnings": ["myst.header"],
            "initial_header_level": len(heading[1]) if heading else 2, "doctitle_xform": False,
            "math_output": "MathJax inline", "syntax_highlight": "short", "warning_stream": warnings,
            "report_level": 2, "halt_level": 5, "embed_stylesheet": False,
        })
        if problems := warnings.getvalue().strip():
            raise ValueError(f"{where}: {problems.splitlines()[0]}")
        return parts["body"]

    def _resolve(self, token: re.Match[str]) -> str:
        if token["code"]:
            return token[0]
        known = self._roles.get(token["role"])
        # what is left, docutils knows ({math}, {sub}, {code}) or complains about
        return known(token["content"]) if known else token[0]

    def _number(self, equation: re.Match[str]) -> str:
        label = self.contents.labels[equation["label"] or equation["label2"]]
        body = (equation["body"] or equation["body2"]).strip()
        return f'<span id="{label.anchor}"></span>\n\n$$\n{body} \\tag{{{label.number}}}\n$$\n'

    def _glue(self, content: str) -> str:
        from myst_nb.core.variables import format_plain_text

        key, _, format_ = content.rpartition(":")
        if not key or key.endswith(":"):  # no format: `key` or `chapter.ipynb::key`
            key, format_ = content, "s"
        chapter, _, name = key.rpartition("::")
        contents = self._other(self._siblings / chapter, f"the number {key!r}") if chapter else self.contents
        if name not in contents.glued:
            raise ValueError(f"nothing is glued as {name!r} in {chapter or 'this chapter'}; "
                             f"there is {', '.join(sorted(contents.glued)) or 'nothing'}")
        return html.escape(format_plain_text(contents.glued[name], format_))

    def _equation(self, content: str) -> str:
        return self._link(content, "equation", lambda label: f"Eq. {label.number}")

    def _figure(self, content: str) -> str:
        return self._link(content, "figure", lambda label: f"Figure {label.number}")

    def _title(self, content: str) -> str:
        titled = _TITLED.fullmatch(content)
        target = titled["target"] if titled else content
        return self._link(target, "title", lambda label: titled["text"] if titled else label.text)

    def _link(self, name: str, kind: str, text: Callable[[Label], str]) -> str:
        label = self.contents.labels.get(name)
        if label and label.kind == kind:
            return f'<a href="#{label.anchor}">{html.escape(text(label))}</a>'
        for path in sorted(self._notebooks.glob("[0-9][0-9]_*.ipynb")):
            other = self._other(path, f"the label {name!r}").labels.get(name)
            if other and other.kind == kind:
                return html.escape(text(other))
        raise ValueError(f"no {kind} has the label {name!r}, in this chapter or in {self._notebooks}")

    def _chapter(self, content: str) -> str:
        titled = _TITLED.fullmatch(content)
        name = (titled["target"] if titled else content).lstrip("/").removesuffix(".ipynb")
        title = self._other(self._notebooks / f"{name}.ipynb", f"the chapter {name!r}").title
        return f"<em>{html.escape(titled['text'] if titled else title)}</em>"

    def _cite(self, content: str) -> str:
        return f"[{'; '.join(self._bibliography.cite(key.strip(), '{authors}, {year}') for key in content.split(','))}]"

    def _cite_in_text(self, content: str) -> str:
        return ", ".join(self._bibliography.cite(key.strip(), "{authors} [{year}]") for key in content.split(","))

    def _other(self, path: Path, why: str) -> Contents:
        if path not in self._others:
            if not path.exists():
                raise ValueError(f"{why} is in {path.name}, which is not in {path.parent}: "
                                 "execute that chapter too, or name the folder of the executed ones with --siblings")
            self._others[path] = chapter_contents(path)
        return self._others[path]
