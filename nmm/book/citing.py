"""How to cite and find this software: `CITATION.cff` is the one source of title, authors, version and address.

`repository-code` in it is the one setting for the repository's address. Where it is absent, no page links to a
repository.
"""

import dataclasses
from pathlib import Path
from urllib.parse import urlsplit

# how hosts call a file of the default branch, to read and to edit
_PAGES = {"github.com": ("blob/HEAD", "edit/HEAD"), "gitlab.com": ("-/blob/HEAD", "-/edit/HEAD")}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Software:
    """What `CITATION.cff` says."""

    title: str
    authors: tuple[str, ...]   # as BibTeX writes them: a person as `Family, Given`, a group in braces
    version: str
    released: str     # year-month-day
    repository: str   # web address without a slash at its end; "" where it is not known

    def bibtex(self) -> str:
        """A BibTeX entry."""
        fields = {"title": f"{{{self.title}}}", "author": " and ".join(self.authors),
                  "year": self.released.partition("-")[0], "version": self.version, "url": self.repository}
        lines = [f"  {key} = {{{value}}}," for key, value in fields.items() if value]
        return "\n".join(["@software{nmm,", *lines, "}"]) + "\n"

    def links(self, path: str) -> dict[str, str]:
        """Link text -> address of one file of the repository; empty where no address is known, or a host is unknown."""
        pages = _PAGES.get(urlsplit(self.repository).hostname or "", ())
        return {text: f"{self.repository}/{page}/{path}" for text, page in zip(("Source", "Edit"), pages)}


def read(path: Path) -> Software:
    """The software that a `CITATION.cff` describes.

    Raises:
        ValueError: a field is missing, or the address is none.
        OSError: the file cannot be read.
    """
    import yaml

    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    repository = str(data.get("repository-code") or "").rstrip("/")
    if repository and urlsplit(repository).scheme != "https":
        raise ValueError(
            f"{path}: repository-code must be an https address, got {repository!r}; leave it out if there is none"
        )
    try:
        authors = tuple(
            f"{{{item['name']}}}" if "name" in item else f"{item['family-names']}, {item['given-names']}"
            for item in data["authors"]
        )
        return Software(
            title=data["title"],
            authors=authors,
            version=str(data["version"]),
            released=str(data["date-released"]),
            repository=repository,
        )
    except KeyError as error:
        raise ValueError(f"{path} has no field {error}") from error
