"""Where things lie: one place for the folders that the driver, the site and the reports share."""

import dataclasses
from pathlib import Path

from nmm.book import chapter

DOWNLOADS = "_static/chapters"  # in the site: the executed chapters
RUNS = "_static/runs"           # and the published runs as a table


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """Folders of one book. `root` holds `nmm/`, `notebooks/` and `book/`; a test gives its own."""

    root: Path = dataclasses.field(default_factory=chapter.repository)

    @property
    def notebooks(self) -> Path:
        """Chapters without outputs, the source of truth."""
        return self.root / "notebooks"

    @property
    def source(self) -> Path:
        """Configuration, front page, bibliography and static files of the site."""
        return self.root / "book"

    @property
    def html(self) -> Path:
        """The rendered site; its first page is `index.html`."""
        return self.source / "_build" / "html"

    def published(self) -> list[Path]:
        """Folders of the published records, parts of a study's data among them."""
        return sorted({record.parent for record in (self.root / "runs").rglob("?" * 16 + ".json")})

    def executed(self, edition: str) -> Path:
        """Last good output of every chapter of one edition: one set of parameters, for example `laptop`."""
        return self.root / "work" / "executed" / edition

    def failed(self, edition: str) -> Path:
        """Chapters whose last execution stopped, up to the cell that did."""
        return self.executed(edition) / "failed"
