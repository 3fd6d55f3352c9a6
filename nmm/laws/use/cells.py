"""Arms of a study cell by cell: differences of runs that have all else in common, with an interval over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nmm.laws.use import paired
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


def across(groups: Mapping[float, pd.DataFrame], arm: str, reference: str, columns: Mapping[str, str]) -> pd.DataFrame:
    """One arm beside another at equal compute, in several groups of runs: rows of `paired.compare` with the group's name as `at`.

    Args:
        groups: runs by what tells them apart, a resolution for one.
        arm, reference, columns: as for `paired.compare`. A group in which nothing can be compared has no rows.
    """
    import pandas as pd

    found = {at: paired.compare(rows, arm, reference, columns) for at, rows in groups.items()}
    some = [rows.assign(at=at) for at, rows in found.items() if len(rows)]
    return pd.concat(some, ignore_index=True) if some else next(iter(found.values())).assign(at=[])


def trend(groups: Mapping[float, pd.DataFrame], arm: str, reference: str, column: str) -> Interval | None:
    """How the difference at equal compute changes with the groups' name, per unit of it [log units]; None where it cannot be told.

    Args: as for `across`.
    """
    import pandas as pd

    rows = []
    for at, own in groups.items():
        if {arm, reference} <= set(own["arm"]):
            apart = paired.at_equal_compute(own, arm, reference, column=column)
            rows.append(apart.groupby("seed", as_index=False)["difference"].mean().assign(at=at))
    if len(rows) < 2 or any(not len(each) for each in rows):
        return None
    return slope(pd.concat(rows, ignore_index=True), "at")


def moved(before: pd.DataFrame, after: pd.DataFrame, arm: str, reference: str, column: str) -> Interval | None:
    """The difference of two arms at equal compute in some runs less that in others, over sizes that both have [log units], by seed.

    Args:
        before, after: runs, such as those of two mixtures of data; arm, reference, column: as for `paired.at_equal_compute`.
    Returns:
        None where an arm is not in both, or they have no size and seed in common.
    """
    import pandas as pd

    if any(not {arm, reference} <= set(rows["arm"]) for rows in (before, after)):
        return None
    found = [paired.at_equal_compute(rows, arm, reference, column=column) for rows in (before, after)]
    means = [rows.groupby(["size", "seed"])["difference"].mean() for rows in found]
    both = pd.concat(means, axis=1, join="inner", keys=["before", "after"])
    apart = (both["after"] - both["before"]).groupby("seed").mean()
    return interval(apart.to_numpy()) if len(apart) else None
