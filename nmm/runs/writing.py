"""How much is right of what models of text and images write. A row a run, way of asking and trait."""

from pathlib import Path

import pandas as pd

from nmm.record import paths, read
from nmm.runs.table import load

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
    table = load(folder)
    finished = table[table["status"] == "finished"].set_index("run", drop=False)
    rows = [
        {**finished.loc[path.stem, SHARED], "data": data, "way": way, "trait": trait, "right": share}
        for path in paths(folder) if path.stem in finished.index        # `load` has said why others are not
        for data, by_way in (read(path).written or {}).items() for way, shares in by_way.items() for trait, share in shares.items()
    ]
    return pd.DataFrame(rows, columns=[*SHARED, "data", "way", "trait", "right"])
