"""Arms of a study cell by cell: differences of runs that have all else in common, with an interval over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nmm.laws.use.paired import Interval, interval

if TYPE_CHECKING:
    import pandas as pd


def differences(table: pd.DataFrame, arm: str, reference: str, column: str, cell: Sequence[str], *, log: bool = False) -> pd.DataFrame:
    """What one arm has more than another, by cell and seed: columns `cell`, seed, difference; only where both have a run.

    Args:
        table: a row a run: arm, seed, `cell` and `column`.
        cell: columns that two runs must have in common besides the seed.
        log: differences of logarithms.
    Raises:
        ValueError: an arm is not there, or a cell has several runs of a seed.
    """
    here = set(table["arm"])
    if missing := [name for name in (arm, reference) if name not in here]:
        raise ValueError(f"no runs of arm {missing[0]!r}: there are {', '.join(sorted(here))}")
    keys = [*cell, "seed"]
    mine, theirs = (table[table["arm"] == name].set_index(keys)[column].dropna() for name in (arm, reference))
    if mine.index.has_duplicates or theirs.index.has_duplicates:
        raise ValueError(f"several runs of one arm have the same {', '.join(keys)}: name what tells them apart")
    both = mine.index.intersection(theirs.index)
    apart = (np.log(mine[both]) - np.log(theirs[both])) if log else mine[both] - theirs[both]
    return apart.rename("difference").reset_index()


def overall(apart: pd.DataFrame, level: float = 0.95) -> Interval:
    """Mean over the cells that all seeds have, and its interval: one value a seed.

    Raises:
        ValueError: there is no such cell.
    """
    wide = apart.pivot_table(index="seed", columns=[name for name in apart.columns if name not in ("seed", "difference")],
                             values="difference").dropna(axis=1)
    if not wide.size:
        raise ValueError("nothing to compare: no cell has runs of both arms for every seed")
    return interval(wide.mean(axis=1).to_numpy(), level)


def slope(apart: pd.DataFrame, along: str, level: float = 0.95) -> Interval:
    """How the difference changes with a quantity of the cell, per unit of it: a line for each seed, and the interval over seeds.

    Raises:
        ValueError: a seed has fewer than two values of it.
    """
    slopes = []
    for seed, rows in apart.groupby("seed"):
        if rows[along].nunique() < 2:
            raise ValueError(f"seed {seed} has one value of {along!r}: a slope needs two")
        slopes.append(float(np.polyfit(rows[along], rows["difference"], 1)[0]))
    return interval(np.array(slopes), level)
