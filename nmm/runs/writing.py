"""How much is right of what models of text and images write. A row a run, way of asking and trait."""

from pathlib import Path

import pandas as pd

from nmm.runs.table import with_records

SHARED = ["run", "study", "arm", "size", "mixture", "seed", "cluster", "budget", "N", "D", "rho", "infilling"]


def written(folder: str | Path) -> pd.DataFrame:
    """Shares of rows, colours, shapes, patterns and names that are right, of all finished runs that measured them.

    Columns:
        run, study, arm, size, mixture, seed, cluster, budget, N, D, rho, infilling: as `nmm.runs.load` has them
        data: data type of the held-out documents; way: what was asked for; trait [text]
        right: share of the objects, between 0 and 1
    Raises:
        FileNotFoundError: there is no such folder.
    """
    rows = [
        {**row[SHARED], "data": data, "way": way, "trait": trait, "right": share}
        for row, record in with_records(folder)
        for data, by_way in (record.written or {}).items() for way, shares in by_way.items() for trait, share in shares.items()
    ]
    return pd.DataFrame(rows, columns=[*SHARED, "data", "way", "trait", "right"])
