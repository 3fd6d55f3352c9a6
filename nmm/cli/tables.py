"""What commands on tables of runs share: reading a table or a folder of records, and which columns name clusters."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    import pandas as pd


def add_cluster(parser: argparse.ArgumentParser) -> None:
    """The option `--cluster`."""
    parser.add_argument(
        "--cluster", metavar="COLUMNS",
        help="columns that name what runs share, such as size,seed of a trunk; for run records their column cluster (design, size "
        "and seed) by default, none for tables",
    )  # fmt: skip


def read_runs(path: Path) -> pd.DataFrame:
    """A table of runs from a file, or from a folder of run records.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: a folder without records, or a file that cannot be read as a table.
    """
    from nmm.laws.use.reading import read_table
    from nmm.runs import load

    if path.is_dir():
        table = load(path)
        if not len(table):
            raise ValueError(f"no run records in {path}: give a folder of a study, or a table of runs")
        return table
    if not path.is_file():
        raise FileNotFoundError(f"no such file or folder: {path}")
    return read_table(path)


def cluster_columns(option: str | None, path: Path) -> tuple[str, ...]:
    """The columns that `--cluster` names; for a folder of records their column cluster where it is not given."""
    columns = option if option is not None else "cluster" if path.is_dir() else ""
    return tuple(name for name in columns.split(",") if name)


def refuse_several_designs(table: pd.DataFrame, path: Path, by: tuple[str, ...] = ()) -> None:
    """Refuse records that differ in more than N, D and seed, see `nmm.runs.one_design`."""
    from nmm.runs import one_design

    one_design(table[table["status"] == "finished"] if path.is_dir() else table, by)
