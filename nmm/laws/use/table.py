"""Eq. 1 fitted to a table of runs, group by group, with everything a report needs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nmm.laws.core.checks import units, usable_rows
from nmm.laws.core.numbers import parse
from nmm.laws.forms.frontier import FrontierFit, fit_frontier
from nmm.laws.forms.parametric import ParametricFit, fit_parametric
from nmm.laws.use.groups import by_group, check_columns, cluster_labels, plain, told
from nmm.laws.use.selection import HoldOut, hold_outs

if TYPE_CHECKING:
    import pandas as pd

    from nmm.laws.core.uncertainty import Bootstrap


@dataclass(frozen=True, kw_only=True)
class GroupFit:
    """Eq. 1 on one group of runs. `frontier` is None where fewer than three runs lie on the hull."""

    name: str
    rows: np.ndarray  # index of each run in the table (n,)
    fit: ParametricFit
    boot: Bootstrap
    frontier: FrontierFit | None
    hold_outs: list[HoldOut]

    def table(self, level: float = 0.95) -> pd.DataFrame:
        """Value, interval and bootstrap standard error of every coefficient and exponent; c is the frontier's."""
        table = self.boot.intervals(level).assign(se=self.boot.samples.std())
        if self.frontier is not None:
            boot = self.frontier.bootstrap(200)
            table.loc["c"] = [self.frontier.c, *boot.interval("c", level), boot.draws[:, 0].std()]
        return table

    def optimum_table(self, budgets, level: float = 0.95) -> pd.DataFrame:
        """N*, D* and L* with intervals at each budget [FLOPs]."""
        import pandas as pd

        rows = []
        for C in budgets:
            best, row = self.fit.optimum(C), {"C": C}
            for name, value in (("N*", best.N), ("D*", best.D), ("L*", best.L)):
                row[name] = float(value)
                row[f"{name} low"], row[f"{name} high"] = self.boot.interval(name, level, C=C)
            rows.append(row)
        return pd.DataFrame(rows)

    def record(self, level: float, budgets=()) -> dict:
        """Everything as plain values, for JSON; what the runs do not limit is null."""
        return {
            "group": self.name, **told(self, level), "hold_outs": [one.record for one in self.hold_outs],
            "optimum": [{k: plain(v) for k, v in row.items()} for row in self.optimum_table(budgets, level).to_dict("records")],
            "units": {"N": "parameters", "D": "tokens", "L": "nats/token", "C": "FLOPs"},
        }  # fmt: skip


def select(table: pd.DataFrame, where: dict, what: str = "where") -> pd.DataFrame:
    """The rows of a table whose columns have the given values; all of them where nothing is asked.

    Values are compared as text, and those of a column of numbers as numbers: 1 finds 1.0.

    Args:
        what: name of the option, for the message.
    Raises:
        ValueError: a column that the table lacks, or no row left; the message names the values that there are.
    """
    for column, value in where.items():
        if column not in table.columns:
            raise ValueError(f"{what}: no column {column!r}: the table has {', '.join(map(str, table.columns))}")
        kept = table[(table[column].astype(str) == str(value)) | _equal_numbers(table[column], value)]
        if kept.empty:
            there = ", ".join(table[column].astype(str).unique()[:8])
            raise ValueError(f"{what}: {column} = {value!r} leaves no row: {column} has {there}")
        table = kept
    return table


def _equal_numbers(column: pd.Series, value) -> pd.Series | bool:
    """Where a column of numbers has the value; nowhere if it is none."""
    import pandas as pd

    wanted = parse(pd.Series([value])).item()
    return parse(column) == wanted if pd.api.types.is_numeric_dtype(column) and math.isfinite(wanted) else False


def fit_table(
    table: pd.DataFrame,
    N: str = "N",
    D: str = "D",
    L: str = "L",
    by: tuple[str, ...] = (),
    delta: float = 1e-3,
    loss: str = "log-huber",
    starts: str = "grid",
    bootstrap: int = 1000,
    seed: int = 0,
    cluster: tuple[str, ...] = (),
) -> tuple[list[GroupFit], pd.DataFrame]:
    """Fit Eq. 1 to each group of a table of runs.

    Args:
        table: one row a run; N, D, L name its columns of parameters, tokens and loss [nats/token].
        by: columns whose values make the groups; () for one group of all runs.
        delta, loss, starts: as in `fit_parametric`. bootstrap, seed: resamples.
        cluster: columns that together name what a run shares its luck with, such as size and seed of its trunk.
    Returns:
        the fits in the order of the groups, and the rows left out with their reason: a group too small to fit is left out.
    Raises:
        ValueError: a column is missing, no row is usable, or no group can be fitted (the message names the reason).
    """
    check_columns(table, by, cluster)
    usable, dropped = usable_rows(table, (N, D, L))

    def fit(name: str, rows: pd.DataFrame) -> GroupFit:
        return _group(name, rows, (N, D, L), delta, loss, starts, bootstrap, seed, cluster)

    return by_group(usable, dropped, by, (N, D, L), fit)


def _group(name: str, rows: pd.DataFrame, columns, delta, loss, starts, bootstrap, seed, cluster) -> GroupFit:
    """One group fitted, with hold-outs in its status."""
    arrays = [rows[column].to_numpy() for column in columns]
    fit = fit_parametric(*arrays, delta=delta, loss=loss, starts=starts)
    if "C" in rows.columns and len(own := parse(rows["C"]).dropna()) == len(rows):
        fit = fit.with_warnings(units(*arrays, own.to_numpy())[len(units(*arrays)):])
    labels = cluster_labels(rows, cluster)
    held = hold_outs(fit, labels)
    for one in held:
        if one.failed:
            fit = fit.failed(one.words)
    try:
        frontier = fit_frontier(6.0 * arrays[0] * arrays[1], arrays[2])
        frontier.bootstrap(1)
    except ValueError:
        frontier = None  # too few runs on the hull: reported as missing, the fit of Eq. 1 stands on its own
    boot = fit.bootstrap(bootstrap, seed=seed, cluster=labels)
    return GroupFit(name=name, rows=rows.index.to_numpy(), fit=fit, boot=boot, frontier=frontier, hold_outs=held)
