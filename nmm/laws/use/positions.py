"""Laws by position in a long context: L = K C^c in each bin of positions, for two kinds of attention, and their difference.

Lu et al. 2025 (MoBA) fit one line a bin to five models. Ours follow the cells of size and budget that are on the frontier of the mean
loss, the same ones for every arm and bin: a frontier of each bin would choose whichever cell was lucky there. Cells of one trunk share its
luck, so intervals take trunks as clusters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nmm.laws.core.checks import usable_rows
from nmm.laws.forms.frontier import lower_hull
from nmm.laws.forms.power import fit_power
from nmm.laws.use import cells, paired

if TYPE_CHECKING:
    import pandas as pd

PFLOPS_DAY = 1e15 * 86_400      # FLOPs of a PFLOP/s-day
MEAN = "all positions"
CELL = ["size", "budget"]
MIN_CELLS = 3                   # of a power law with an interval


def mean_over_types(table: pd.DataFrame) -> pd.DataFrame:
    """Losses by bin, the mean of a run's data types, and a bin `MEAN` with the mean of all.

    Args:
        table: of `nmm.runs.by_position`.
    Returns:
        A row a run and bin: arm, size, budget, seed, cluster, C, C_exact, bin, first, end, L.
    """
    import pandas as pd  # here, so that `import nmm.laws` stays quick

    own = ["run", "arm", *CELL, "seed", "cluster", "C", "C_exact"]
    bins = table.groupby([*own, "bin", "first", "end"], sort=False, as_index=False)["L"].mean()
    overall = bins.groupby(own, sort=False, as_index=False).agg(first=("first", "min"), end=("end", "max"), L=("L", "mean"))
    return pd.concat([bins, overall.assign(bin=MEAN)], ignore_index=True)


def on_frontier(bins: pd.DataFrame) -> pd.DataFrame:
    """The rows of the cells of size and budget on the lower hull of the mean loss, arms and seeds together.

    Args:
        bins: of `mean_over_types`.
    Raises:
        ValueError: fewer than three cells are on it.
    """
    usable, _ = usable_rows(bins, ("C", "L"))
    cells = usable[usable["bin"] == MEAN].groupby(CELL, as_index=False)[["C", "L"]].mean()
    chosen = cells.iloc[lower_hull(cells["C"].to_numpy(), cells["L"].to_numpy())][CELL]
    if len(chosen) < MIN_CELLS:
        raise ValueError(f"only {len(chosen)} of {len(cells)} cells of size and budget lie on the frontier: a law needs {MIN_CELLS}; "
                         "train more sizes, or larger budgets")
    return usable.merge(chosen, on=CELL)


def comparable(table: pd.DataFrame, arm: str, reference: str) -> tuple[pd.DataFrame | None, str]:
    """The rows from which two arms can be compared, or none and why.

    Args:
        table: of `nmm.runs.by_position`.
        arm, reference: the arms.
    """
    missing = [name for name in (arm, reference) if name not in set(table["arm"])]
    if missing:
        return None, f"there are no records of the arm{'s' * (len(missing) > 1)} {' and '.join(missing)}"
    own = table[table["arm"].isin((arm, reference))]
    keys = own.groupby([*CELL, "seed"])["arm"].transform("nunique")
    if not (keys == 2).any():
        return None, f"no run of {arm} has the size, budget and seed of one of {reference}"
    try:
        return on_frontier(mean_over_types(own[keys == 2])), ""
    except ValueError as reason:
        return None, str(reason)


def laws(rows: pd.DataFrame, compute: str = "C", level: float = 0.95) -> pd.DataFrame:
    """L = K C^c of every arm and bin, C in PFLOP/s-days.

    Args:
        rows: of `on_frontier`.
        compute: column of the FLOPs: "C" (6 N D) or "C_exact".
        level: of the intervals.
    Returns:
        A row an arm and bin: arm, bin, first, end, K, K_low, K_high [nats/token at 1 PFLOP/s-day], c, c_low, c_high, runs.
    """
    import pandas as pd

    found = []
    for (arm, name), own in rows.groupby(["arm", "bin"], sort=False):
        fit = fit_power(own[compute] / PFLOPS_DAY, own["L"])
        ends = fit.profile(cluster=own["cluster"].to_numpy()).intervals(level, names=("K", "c"))
        found.append({
            "arm": arm, "bin": name, "first": own["first"].iloc[0], "end": own["end"].iloc[0], "runs": len(own),
            **{f"{one}{suffix}": ends.loc[one, column]
               for one in ("K", "c") for suffix, column in (("", "value"), ("_low", "low"), ("_high", "high"))},
        })
    return pd.DataFrame(found)


def differences(rows: pd.DataFrame, arm: str, reference: str, level: float = 0.95) -> pd.DataFrame:
    """How the losses of one arm differ from another's in each bin, at equal 6 N D: pairs of one size, budget and seed.

    The ratio of two losses of a pair is itself a power law of C: its exponent is the difference of the exponents, below zero where the
    gap closes with compute, and its value at the largest compute is what is left there. Noise that a pair shares cancels.

    Args:
        rows: of `on_frontier`.
        arm, reference: two of its arms.
        level: of the intervals, with trunks as clusters.
    Returns:
        A row a bin: bin, first, end, c, c_low, c_high (exponent of `arm` less that of `reference`), ratio, ratio_low, ratio_high (loss over
        loss at the largest compute), start, start_low, start_high (at the least), mean (of ln of the ratio over all pairs, [log units]),
        pairs, trunks.
    Raises:
        ValueError: an arm has no runs, or nothing can be paired.
    """
    import pandas as pd

    for name in (arm, reference):
        if name not in set(rows["arm"]):
            raise ValueError(f"no runs of arm {name!r}: there are {', '.join(sorted(set(rows['arm'])))}")
    keys = [*CELL, "seed", "bin", "first", "end"]
    ours, theirs = (rows.loc[rows["arm"] == name, [*keys, "C", "cluster", "L"]] for name in (arm, reference))
    pairs = ours.merge(theirs, on=keys, suffixes=("", "_reference"))
    if not len(pairs):
        raise ValueError(f"no run of {arm!r} has the size, budget and seed of one of {reference!r}")
    found = []
    for name, own in pairs.groupby("bin", sort=False):
        ratio = own["L"] / own["L_reference"]
        most, least = (fit_power(own["C"] / at, ratio).profile(cluster=own["cluster"].to_numpy()).intervals(level, names=("K", "c"))
                       for at in (own["C"].max(), own["C"].min()))
        quantities = {"c": most.loc["c"], "ratio": most.loc["K"], "start": least.loc["K"]}
        found.append({
            "bin": name, "first": own["first"].iloc[0], "end": own["end"].iloc[0],
            **{f"{column}{suffix}": ends[side] for column, ends in quantities.items()
               for suffix, side in (("", "value"), ("_low", "low"), ("_high", "high"))},
            "mean": float(np.log(ratio).mean()), "pairs": len(own), "trunks": own["cluster"].nunique(),
        })
    return pd.DataFrame(found)


def beside(bins: pd.DataFrame, arms: Sequence[str], reference: str, *, equal_flops: bool = False, log: bool = True) -> pd.DataFrame:
    """The losses of some arms less that of another in each bin, over the cells of size, budget and seed that both have.

    Args:
        bins: of `mean_over_types`, or of `nmm.runs.by_distance` with a mean over data types: any table with a row a run and bin.
        arms, reference: arms; one that has no runs has no rows.
        equal_flops: at equal actual FLOPs (`C_exact`), size by size, along each trunk's losses in ln C, in place of equal tokens.
        log: differences of logarithms; of losses themselves [nats/token] only at equal tokens.
    Returns:
        A row an arm and bin: arm, bin, first, end, value, low, high, seeds, resolved; intervals of 95 % over seeds.
    Raises:
        ValueError: the reference has no runs, or losses themselves are asked for at equal FLOPs.
    """
    import pandas as pd

    if equal_flops and not log:
        raise ValueError("at equal FLOPs losses are compared as logarithms: log=False is for equal tokens")
    if reference not in set(bins["arm"]):
        raise ValueError(f"no runs of arm {reference!r}: there are {', '.join(sorted(set(bins['arm'])))}")
    found = []
    for arm in arms:
        for name, own in bins[bins["arm"].isin((arm, reference))].groupby("bin", sort=False):
            if own["arm"].nunique() < 2:
                continue
            apart = (paired.at_equal_compute(own.assign(C=own["C_exact"]), arm, reference) if equal_flops
                     else cells.differences(own, arm, reference, "L", CELL, log=log))
            if not len(apart):
                continue
            mean = cells.overall(apart)
            found.append({"arm": arm, "bin": name, "first": own["first"].iloc[0], "end": own["end"].iloc[0], "value": mean.value,
                          "low": mean.low, "high": mean.high, "seeds": mean.seeds, "resolved": mean.resolved})
    return pd.DataFrame(found, columns=["arm", "bin", "first", "end", "value", "low", "high", "seeds", "resolved"])
