"""The models that others start from: what each was trained on, and what it can do. A row a run."""

from pathlib import Path

import pandas as pd

from nmm.runs.table import with_records

COLUMNS = ["run", "arm", "seed", "budget", "D", "C_exact", "L_text", "retrieved", "colour", "shape", "pattern"]


def started_from(folder: str | Path) -> pd.DataFrame:
    """The finished runs of a folder from whose weights another one starts.

    Columns:
        run, arm, seed, budget, D, C_exact, L_text: as `nmm.runs.load` has them
        retrieved: of two towers, share of held-out images whose own caption is the nearest of its batch
        colour, shape, pattern: of two towers, their zero-shot accuracy, as `RunRecord.zero_shot`
    Raises:
        FileNotFoundError: there is no such folder.
    """
    rows = {row["run"]: (row, record) for row, record in with_records(folder)}
    named = {run for _, record in rows.values() for run in record.config.init.runs.values()}
    found = [
        {**row[["run", "arm", "seed", "budget", "D", "C_exact", "L_text"]],
         "retrieved": (record.metrics or {}).get("retrieved", {}).get("caption"), **(record.zero_shot or {}).get("caption", {})}
        for run, (row, record) in rows.items() if run in named
    ]
    return pd.DataFrame(found, columns=COLUMNS)
