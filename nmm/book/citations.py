"""Citations for a page that Sphinx does not render: author and year in the text, the list at the end."""

import functools
import html
from pathlib import Path
from typing import Any


class Bibliography:
    """A BibTeX file, and which of its entries were cited."""

    def __init__(self, path: Path) -> None:
        """
        Args:
            path: read when something is first cited; what is no BibTeX raises a ValueError there.
        """
        self._path = path
        self._cited: dict[str, None] = {}

    @functools.cached_property
    def _data(self) -> Any:
        from pybtex.database import BibliographyDataError, parse_file
        from pybtex.scanner import PybtexSyntaxError

        try:
            return parse_file(str(self._path), bib_format="bibtex")
        except (BibliographyDataError, PybtexSyntaxError) as error:
            raise ValueError(f"{self._path} is not a readable bibliography: {error}") from error

    def cite(self, key: str, form: str) -> str:
        """HTML of one citation, with a link to the list; `form` has places for {authors} and {year}."""
        return f'<a href="#ref-{html.escape(key)}">{html.escape(self.text(key, form))}</a>'

    def text(self, key: str, form: str) -> str:
        """The same as plain text."""
        if key not in self._data.entries:
            raise ValueError(f"no entry {key!r} in {self._path}; there are {', '.join(sorted(self._data.entries))}")
        self._cited[key] = None
        entry = self._data.entries[key]
        names = [
            " ".join([*person.prelast_names, *person.last_names]).strip("{}") for person in entry.persons["author"]
        ]
        authors = names[0] if len(names) == 1 else " and ".join(names) if len(names) == 2 else f"{names[0]} et al."
        return form.format(authors=_plain(authors), year=entry.fields["year"])

    def references(self) -> str:
        """HTML list of what was cited, by author; empty if nothing was."""
        from pybtex.backends.html import Backend
        from pybtex.style.formatting.plain import Style

        if not self._cited:
            return ""
        items = [f'<li id="ref-{html.escape(item.key)}">{item.text.render(Backend())}</li>'
                 for item in Style().format_bibliography(self._data, list(self._cited))]
        return '<ul class="references">\n' + "\n".join(items) + "\n</ul>"


def _plain(latex: str) -> str:
    from pybtex.richtext import Text

    return str(Text.from_latex(latex))
