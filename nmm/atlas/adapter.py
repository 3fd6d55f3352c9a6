"""An adapter: how a clone of a public repository is recognised, and which of its columns is which."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from nmm.atlas.readers import tables

if TYPE_CHECKING:
    import pandas as pd

ALL = "all runs"  # the group where nothing separates fits
LICENSES = {
    "MIT License": "MIT",
    "Apache License": "Apache-2.0",
    "BSD 3-Clause": "BSD-3-Clause",
    "Permission is hereby granted": "MIT",
}


@dataclass(frozen=True)
class Published:
    """Numbers that the authors give for a group; `where` they stand; `note`: how they differ from ours."""

    values: dict[str, float]
    where: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """One public table of runs. Nothing of it is copied: `read` takes it from a clone.

    `read` gives a table of the clone's runs. `N`, `D`, `L` name its columns; `by` those whose values separate fits,
    `cluster` those that together name what runs share, `counts` other ways to count N (label -> column). With
    `best`, of runs with one (group, N, D) the lowest loss is fitted: tables of searches over rates. Runs whose column
    `beyond` is true are not fitted but predicted.
    """

    name: str
    title: str
    short: str  # the same in a narrow column
    repository: str  # owner/name on GitHub
    source: str  # the paper
    files: tuple[str, ...]  # patterns; a clone has a file for each
    counted: str  # what N counts, in words
    read: Callable[[list[Path]], pd.DataFrame] = tables
    N: str = "N"
    D: str = "D"
    L: str = "L"
    extra: dict[str, str] = field(default_factory=dict)  # quantity of another law -> column
    by: tuple[str, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)  # group -> what it is called, where `short, group` will not do
    cluster: tuple[str, ...] = ()
    counts: dict[str, str] = field(default_factory=dict)
    best: bool = False
    law: str = "eq1"
    published: dict[str, tuple[Published, ...]] = field(default_factory=dict)
    note: str = ""

    def found(self, folder: Path) -> list[Path]:
        """The files in a clone; empty where it is not one of this repository."""
        matched = [sorted(folder.glob(pattern)) for pattern in self.files]
        return [path for paths in matched for path in paths] if all(matched) else []

    def table(self, paths: list[Path]) -> pd.DataFrame:
        """The clone's runs, with the columns named as the fits take them.

        Raises:
            ValueError: a column is missing: the repository has changed since this adapter was written.
        """
        table = self.read(paths)
        named = {"N": self.N, "D": self.D, "L": self.L, **self.extra}
        missing = [
            column
            for column in (*named.values(), *self.by, *self.cluster, *self.counts.values())
            if column not in table.columns
        ]
        if missing:
            raise ValueError(
                f"{self.name}: no column {', '.join(missing)} in {paths[0].name}: "
                f"it has {', '.join(map(str, table.columns[:20]))}"
            )
        table = table.assign(**{name: table[column] for name, column in named.items()})
        if "beyond" not in table.columns:
            table = table.assign(beyond=False)
        if self.best:
            table = table.loc[table.groupby([*self.by, "N", "D"], dropna=False)["L"].idxmin()]
        return table.reset_index(drop=True)


def clones(folder: Path) -> Iterator[Path]:
    """The folder itself and the folders in it.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no such folder: {folder}: give the folder in which repositories are cloned")
    yield folder
    yield from sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def commit(folder: Path) -> str | None:
    """The commit that a clone has checked out; None where the folder is no clone of its own."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") if Path(git("rev-parse", "--show-toplevel")).samefile(folder) else None
    except (OSError, subprocess.CalledProcessError):
        return None


def license_of(folder: Path) -> str | None:
    """Short name of a clone's license; None where it has no license file, or one that is not known here."""
    for path in sorted(folder.glob("LICENSE*")):
        head = re.sub(r"\s+", " ", path.read_text(errors="replace")[:1500])
        for words, name in LICENSES.items():
            if words in head:
                return name
    return None
