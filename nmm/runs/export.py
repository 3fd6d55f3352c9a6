"""The runs as an open table: one Parquet file, the same as CSV, and a data card; pandas alone reads them."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from nmm.data.files import whole
from nmm.runs.columns import COLUMNS
from nmm.runs.table import load

PARQUET, CSV, CARD = "runs.parquet", "runs.csv", "README.md"
LICENCE = "CC-BY-4.0"
GENERATED = "E_true"        # known where the corpus was generated


def collect(folders: Sequence[Path]) -> pd.DataFrame:
    """The runs of several folders of records as one table, a row a run, failed ones with their reason.

    A run that two folders hold is one row. See `nmm.runs.load` for files that are no valid record.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: a folder has no records.
    """
    tables = []
    for folder in folders:
        tables.append(load(folder))
        if not len(tables[-1]):
            raise ValueError(f"no run records in {folder}: give folders of studies, such as runs/laptop")
    table = pd.concat([one.dropna(axis="columns", how="all") for one in tables], ignore_index=True).reindex(columns=list(COLUMNS))
    return table.drop_duplicates("run", ignore_index=True)


def export(folders: Sequence[Path], out: Path, cite: str) -> pd.DataFrame:
    """Write the runs of several folders to `out` as Parquet and CSV with a data card.

    Args:
        folders: of records.
        out: folder, made where there is none; what an export before wrote there is replaced.
        cite: how to cite the table, in BibTeX.
    Returns:
        The table.
    Raises:
        FileNotFoundError, ValueError: as `collect`.
        OSError: a file cannot be written.
    """
    table = collect(folders)
    with whole(out / PARQUET) as file:
        table.to_parquet(file, index=False)
    with whole(out / CSV) as file:
        table.to_csv(file, index=False)
    with whole(out / CARD) as file:
        file.write_text(card(table, cite), encoding="utf-8")
    return table


def card(table: pd.DataFrame, cite: str) -> str:
    """What the table holds, how it was made, and how it may be used, in Markdown."""
    corpora = {"generated": table[GENERATED].notna(), "real files": table[GENERATED].isna() & (table["status"] == "finished")}
    made = ", ".join(f"{rows.sum()} on {name}" for name, rows in corpora.items() if rows.any())
    counted = table.groupby(["study", "arm", "status"], dropna=False).agg(
        runs=("run", "size"), sizes=("size", "nunique"), budgets=("budget", "nunique"), seeds=("seed", "nunique"), D=("D", "sum"),
    ).reset_index()
    groups = [f"| {row.study} | {row.arm} | {row.status} | {row.runs} | {row.sizes} | {row.budgets} | {row.seeds} | {row.D / 1e6:.1f} |"
              for row in counted.itertuples()]
    columns = [f"| `{name}` | {column.words} | {column.unit} |" for name, column in COLUMNS.items()]
    return "\n".join([
        "# Runs of native multimodal models", "",
        f"{len(table)} runs, a row each, of which {(table['status'] == 'finished').sum()} finished ({made}). "
        "Small models that read images and text from their first step on, trained to fit laws of their loss L in parameters N and "
        "tokens D, after Shukor et al. 2025 (arXiv:2504.07951), whose own runs are not public.", "",
        f"`{PARQUET}` and `{CSV}` hold the same table:", "",
        "```python", "import pandas as pd", "", f'runs = pd.read_parquet("{PARQUET}")', "```", "",
        "## What was trained", "",
        "| study | arm | status | runs | sizes | budgets | seeds | tokens trained [M] |", "|---|---|---|--:|--:|--:|--:|--:|", *groups, "",
        "## How it was made", "",
        "Each row comes from a record that one training wrote when it ended and that nobody edited: configuration, seed, versions, "
        "tokens and losses. Losses are means over held-out documents. Budgets of one size and seed branch off one training "
        "(`branched_at`) and share its luck, which `cluster` names: intervals that take runs for independent are too narrow. "
        "A number that was not measured is missing, never zero. The tokens trained count what branches share once for each of them.", "",
        "Not for: conclusions on models of other sizes without a law and its interval, or on natural data from runs on generated ones.", "",
        "## Columns", "", "| column | what | unit |", "|---|---|---|", *columns, "",
        "## Licence and citation", "", f"{LICENCE}. Cite:", "", "```bibtex", cite.strip(), "```", "",
    ])
