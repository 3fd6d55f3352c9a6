"""How much runs differ that differ in the seed alone."""

from collections.abc import Sequence

import numpy as np
import pandas as pd


def of_cells(table: pd.DataFrame, column: str = "L") -> pd.DataFrame:
    """Standard deviation of the logarithm of a loss between seeds, a row a size and budget with several seeds.

    Args:
        table: finished runs of one design with N, D, budget, seed and the column.
    Returns:
        N, budget, D (mean), noise [log units], seeds.
    """
    cells = table.assign(log=np.log(table[column])).groupby(["N", "budget"])
    found = cells.agg(D=("D", "mean"), noise=("log", "std"), seeds=("seed", "nunique")).reset_index()
    return found[found["seeds"] > 1].reset_index(drop=True)


def within_trunks(table: pd.DataFrame, cell: Sequence[str] = ("N", "budget"), column: str = "L") -> float:
    """Correlation of what two runs of a trunk have around the mean of their cell, its smallest budget and its largest.

    Args:
        table: finished runs with cluster, budget, the column and what tells cells apart; cells with one run say nothing.
    Returns:
        NaN with fewer than four trunks that have both budgets.
    """
    logs = np.log(table[column])
    cells = logs.groupby([table[name] for name in cell])
    apart = (logs - cells.transform("mean"))[cells.transform("size") > 1]
    wide = table.loc[apart.index].assign(apart=apart).pivot_table(index="cluster", columns="budget", values="apart")
    ends = wide.iloc[:, [0, -1]].dropna() if wide.shape[1] > 1 else wide.iloc[:0]
    return float(np.corrcoef(ends.T)[0, 1]) if len(ends) > 3 else np.nan


def between_seeds(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Standard deviation of losses between seeds, pooled over sizes, relative to the loss, by budget.

    Args:
        table: finished runs with N, budget and the columns; cells with one seed tell nothing and are left out.
        columns: losses [nats per target token].
    Returns:
        a row a budget [tokens], a column a loss, its relative deviation; `cells` counts the cells; empty without any.
    """
    logs = np.log(table[list(columns)]).assign(N=table["N"], budget=table["budget"])
    cells = logs.groupby(["budget", "N"])[list(columns)]
    variance = cells.var(ddof=1)[cells.size() > 1]
    by_budget = variance.groupby("budget")
    return np.sqrt(by_budget.mean()).assign(cells=by_budget.size())
