"""Losses within long contexts: by the position in a document, and by how far back a pair of tokens stood last. A row a run and bin."""

from pathlib import Path

import pandas as pd

from nmm.runs.table import with_records

NEVER = "never"
SHARED = ["run", "study", "arm", "arch", "size", "seed", "cluster", "budget", "N", "D", "C", "C_exact"]


def by_position(folder: str | Path) -> pd.DataFrame:
    """Held-out losses by the place of the target in its document, of all finished runs that have them.

    Columns:
        run, study, arm, arch, size, seed, cluster, budget, N, D, C, C_exact: as `nmm.runs.load` has them
        data: data type [text]
        bin: its name; first, end: its positions, the end left out [tokens]; last: whether it is at the end of the context
        L: loss [nats per target token]
    Raises:
        FileNotFoundError: there is no such folder.
    """
    table = _long(folder, "losses_by_position")
    return table.assign(last=table["end"] == table.groupby("run")["end"].transform("max"))


def by_distance(folder: str | Path) -> pd.DataFrame:
    """Held-out losses by how far back in the document the target stood last with the token before it, of pairs that only stand together.

    Columns as of `by_position` but `last`; of all others the bin is "never", and first and end are missing.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    return _long(folder, "losses_by_distance")


def _long(folder: str | Path, field: str) -> pd.DataFrame:
    rows = []
    for row, record in with_records(folder):
        for data, by in (getattr(record, field) or {}).items():
            for name, loss in by.items():
                first, end = map(int, name.split("-")) if name != NEVER else (None, None)
                rows.append({**row[SHARED], "data": data, "bin": name, "first": first, "end": end, "L": loss})
    return pd.DataFrame(rows, columns=[*SHARED, "data", "bin", "first", "end", "L"])
