"""Losses by part: by kind of token, by position in a long document, and by how far back a pair of tokens stood last."""

from pathlib import Path

import pandas as pd

from nmm.runs.table import with_records

NEVER = "never"
SHARED = ["run", "study", "arm", "arch", "size", "seed", "cluster", "budget", "N", "D", "C", "C_exact"]


def by_token(folder: str | Path) -> pd.DataFrame:
    """Held-out losses by the kind of token that the target is, of all finished runs that have them: a row a run, data type and kind.

    Columns:
        run, study, arm, arch, size, seed, cluster, budget, N, D, C, C_exact, data: as of `by_position`
        token: kind of token, by its name in the corpus [text]
        L: loss [nats per target token]
    Raises:
        FileNotFoundError: there is no such folder.
    """
    return _by_part(folder, "losses_by_token").rename(columns={"bin": "token"})


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
    table = _by_part(folder, field)
    ends = [tuple(map(int, name.split("-"))) if name != NEVER else (None, None) for name in table["bin"]]
    table[["first", "end"]] = pd.DataFrame(ends, columns=["first", "end"], index=table.index)
    return table[[*SHARED, "data", "bin", "first", "end", "L"]]


def _by_part(folder: str | Path, field: str) -> pd.DataFrame:
    rows = [
        {**row[SHARED], "data": data, "bin": name, "L": loss}
        for row, record in with_records(folder) for data, by in (getattr(record, field) or {}).items() for name, loss in by.items()
    ]
    return pd.DataFrame(rows, columns=[*SHARED, "data", "bin", "L"])
