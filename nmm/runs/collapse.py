"""Do the training curves of several sizes fall on one another when loss and tokens are normalised?

Source: Qiu et al. 2025, "Scaling collapse reveals universal dynamics in compute-optimally trained neural networks":
with budgets along the compute-optimal path and the same recipe at every size, curves agree better than two seeds do at
any one time; where they part, the recipe does not suit a size.
"""

import numpy as np
import pandas as pd

END = 0.9       # the last part of a budget, from this share on, over which a run's final training loss is averaged


def along(table: pd.DataFrame, slope: float) -> pd.DataFrame:
    """One run of each size and seed, its budget nearest to a path D ~ N^slope that lies nearest to all.

    Args:
        table: finished runs with N [parameters], D [tokens] and seed.
        slope: d = b / a of the law, the exponent of D* over N*.
    Returns:
        the runs chosen, the smallest first; sizes with no budget within a factor of 2 of the path are left out.
    Raises:
        ValueError: no runs.
    """
    if table.empty:
        raise ValueError("no runs to choose from: give a table of finished runs")
    table = table.reset_index(drop=True)
    height = np.log(table["D"]) - slope * np.log(table["N"])
    best = None
    for offset in height:
        distance = (height - offset).abs()
        chosen = distance[distance <= np.log(2)].groupby([table["N"], table["seed"]]).idxmin()
        rank = (-table.loc[chosen, "N"].nunique(), float((distance[chosen] ** 2).mean()))
        if best is None or rank < best[0]:
            best = (rank, chosen)
    return table.loc[best[1].to_numpy()].sort_values(["N", "seed"])


def ends(curves: pd.DataFrame) -> pd.DataFrame:
    """What each run's training loss came to: run, N, D [tokens], loss, its mean in the last tenth of the budget.

    A law fitted to it has the floor for `normalised`, since training losses weigh the data types as the mixture does.

    Args:
        curves: of `nmm.runs.curves`: run, N, D, tokens [tokens], loss [nats per target token].
    """
    late = curves[curves["tokens"] >= END * curves["D"]]
    return late.groupby("run").agg(N=("N", "first"), D=("D", "first"), loss=("loss", "mean")).reset_index()


def normalised(curves: pd.DataFrame, floor: float) -> pd.DataFrame:
    """Training curves with what the floor leaves of loss, and tokens, as shares of their values at the end.

    Args:
        curves: of `nmm.runs.curves`: run, N, D, tokens [tokens], loss [nats per target token].
        floor: the loss at which curves end with endless data and size [nats per target token].
    Returns:
        the curves with `share` of the budget and `reducible`, (loss - floor) over its mean in the last tenth.
    Raises:
        ValueError: a run ends at the floor or below it.
    """
    left = ends(curves).set_index("run")["loss"] - floor
    low = left[left <= 0]
    if len(low):
        ended = f"run {low.index[0]} ends at {low.iloc[0] + floor:.4g} nats"
        raise ValueError(f"{ended}, not above the floor {floor:.4g}: give a lower floor")
    reducible = (curves["loss"] - floor) / curves["run"].map(left)
    return curves.assign(share=curves["tokens"] / curves["D"], reducible=reducible)


def spread(normal: pd.DataFrame, begin: float = 0.25, points: int = 25) -> pd.DataFrame:
    """How far normalised curves lie apart: the deviation between runs at each share of the budget, over their mean.

    Args:
        normal: of `normalised`, two runs or more.
        begin: share of the budget from which curves are compared; before, warmups of one length differ in share.
        points: shares compared.
    Returns:
        share, mean, deviation [share of the mean].
    Raises:
        ValueError: fewer than two runs.
    """
    runs = [rows.sort_values("share") for _, rows in normal.groupby("run")]
    if len(runs) < 2:
        raise ValueError(f"{len(runs)} run: a spread needs two or more")
    shares = np.linspace(begin, END, points)
    values = np.array([np.interp(shares, rows["share"], rows["reducible"]) for rows in runs])
    mean = values.mean(axis=0)
    return pd.DataFrame({"share": shares, "mean": mean, "deviation": values.std(axis=0, ddof=1) / mean})
