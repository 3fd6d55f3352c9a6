"""Two arms of a study at equal compute: the difference of their losses, paired by seed, with an interval over seeds.

Runs of two architectures seldom cost the same. So ln L is interpolated in ln C along the budgets of a model size, by a
curve through the runs and never beyond them. Straight lines would lie above a loss that levels off, by as much as
architectures differ, and so would favour the arm whose own runs lie at that C.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.interpolate import make_interp_spline
from scipy.special import stdtrit

from nmm.laws.core.checks import usable_rows

if TYPE_CHECKING:
    import pandas as pd

MIN_SEEDS = 4           # fewer decide nothing, whatever their interval
SAME_C = 0.01           # budgets whose C differ by less are one: seeds read a few tokens more or less [log units]

Curve = Callable[[float], float]    # ln C -> ln L, NaN where no run is on both sides


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean over seeds and its confidence interval."""

    value: float
    low: float
    high: float
    seeds: int

    @property
    def resolved(self) -> bool:
        """Whether the interval leaves out zero, from at least `MIN_SEEDS` seeds."""
        return self.seeds >= MIN_SEEDS and not self.low <= 0 <= self.high

    @property
    def verdict(self) -> str:
        """"lower", "higher", or "unresolved" where the seeds do not tell."""
        return ("lower" if self.value < 0 else "higher") if self.resolved else "unresolved"


def percent(log_ratio: float | np.ndarray) -> float | np.ndarray:
    """A difference of logarithms in per cent; a missing end stays infinite."""
    return np.where(np.isinf(log_ratio), log_ratio, 100 * np.expm1(log_ratio))[()]


def interval(values: np.ndarray, level: float = 0.95) -> Interval:
    """Mean of one value a seed and its t-interval: seeds are independent and their scatter is taken as normal.

    One seed says nothing of the scatter: its interval has no ends.

    Args:
        values: (seeds,), any unit.
        level: coverage, between 0 and 1.
    Raises:
        ValueError: no value, one that is not finite, or a level out of range.
    """
    values = np.asarray(values, dtype=float)
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1: got {level}")
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"an interval over seeds needs finite values, one a seed: got {values.tolist()}")
    if len(values) == 1:
        return Interval(value=float(values[0]), low=-np.inf, high=np.inf, seeds=1)
    half = stdtrit(len(values) - 1, (1 + level) / 2) * values.std(ddof=1) / len(values) ** 0.5
    return Interval(value=float(values.mean()), low=float(values.mean() - half), high=float(values.mean() + half), seeds=len(values))


def at_equal_compute(
    table: pd.DataFrame, arm: str, reference: str, *, column: str = "L", across_sizes: bool = False
) -> pd.DataFrame:
    """ln of a measure of one arm over that of another at equal training compute, by seed.

    Compared are runs of the same size and seed, at every C at which one of the two arms has runs and the other has runs on
    both sides. With `across_sizes` each arm takes at every C the size that does best there, as one would who has that
    budget to spend.

    Args:
        table: a row a run: arm, size (labels), seed, C [FLOPs], and `column`, positive.
        arm, reference: two values of `table["arm"]`.
        column: what to compare; the loss, or a time or memory, in any unit.
        across_sizes: compare the lower envelopes of all sizes instead of size by size.
    Returns:
        Columns size ("all" across sizes), C [FLOPs], seed, difference [log units]; a row for each size, C and seed, only
        where all paired seeds can be compared. Empty if nothing can.
    Raises:
        ValueError: a column or an arm is missing, or no row has C and the measure.
    """
    import pandas as pd  # here, so that `import nmm.laws` stays quick

    usable = _in_logs(table, arm, reference, column)
    groups = [("all", usable)] if across_sizes else usable.groupby("size", sort=False)
    rows = []
    for size, group in groups:
        ours, theirs = (group[group["arm"] == name] for name in (arm, reference))
        pairs = {
            seed: (_envelope(ours[ours["seed"] == seed]), _envelope(theirs[theirs["seed"] == seed]))
            for seed in sorted(set(ours["seed"]) & set(theirs["seed"]))
        }
        for x in _cells(pd.concat([ours, theirs])["x"].to_numpy()):
            differences = {seed: mine(x) - other(x) for seed, (mine, other) in pairs.items()}
            if differences and np.isfinite(list(differences.values())).all():
                rows += [{"size": size, "C": np.exp(x), "seed": seed, "difference": value} for seed, value in differences.items()]
    return pd.DataFrame(rows, columns=["size", "C", "seed", "difference"])


def at_equal_loss(table: pd.DataFrame, arm: str, reference: str, *, column: str = "L") -> pd.DataFrame:
    """ln of the compute that the reference needs over that which an arm has spent, for the same measure, by seed.

    Each arm takes at every C the size that does best there, as in `at_equal_compute` with `across_sizes`. Nothing is extrapolated: a
    budget of the arm counts where the reference has runs above and below its loss, in every seed.

    Args:
        table, arm, reference, column: as for `at_equal_compute`.
    Returns:
        Columns size ("all"), C (budgets at which the arm has runs) [FLOPs], seed, difference [log units of C]; empty if nothing can be
        compared. Below zero the reference needs less.
    Raises:
        ValueError: as for `at_equal_compute`.
    """
    import pandas as pd

    usable = _in_logs(table, arm, reference, column)
    ours, theirs = (usable[usable["arm"] == name] for name in (arm, reference))
    curves = {}
    for seed in sorted(set(ours["seed"]) & set(theirs["seed"])):
        rows = theirs[theirs["seed"] == seed]
        x, lowest = np.linspace(rows["x"].min(), rows["x"].max(), 200), _envelope(rows)
        known = np.array([lowest(at) for at in x])
        # the lowest loss reached by then, so that a loss has one compute
        x, known = x[np.isfinite(known)], np.minimum.accumulate(known[np.isfinite(known)])
        curves[seed] = _envelope(ours[ours["seed"] == seed]), x, known
    rows = []
    for at in _cells(ours["x"].to_numpy()):
        apart = {}
        for seed, (mine, x, known) in curves.items():
            y = mine(at)
            inside = np.isfinite(y) and known[-1] <= y <= known[0]
            apart[seed] = float(np.interp(-y, -known, x)) - at if inside else np.nan
        if apart and np.isfinite(list(apart.values())).all():
            rows += [{"size": "all", "C": np.exp(at), "seed": seed, "difference": value} for seed, value in apart.items()]
    return pd.DataFrame(rows, columns=["size", "C", "seed", "difference"])


def overall(differences: pd.DataFrame, level: float = 0.95) -> Interval:
    """The mean over all cells of `at_equal_compute` and its interval: one value a seed, since cells share runs.

    Raises:
        ValueError: nothing could be compared.
    """
    if not len(differences):
        raise ValueError("nothing to take a mean of: no C lies within the runs of both arms for the same size and seed")
    return interval(_complete(differences).mean(axis=1).to_numpy(), level)


def by_cell(differences: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """Mean and interval of each cell: columns size, C [FLOPs], value, low, high [log units], seeds, verdict.

    A level holds for each cell alone; among many cells some exclude zero by chance.
    """
    import pandas as pd

    rows = []
    for (size, C), cell in differences.groupby(["size", "C"], sort=False):
        found = interval(cell["difference"].to_numpy(), level)
        rows.append({"size": size, "C": C, "value": found.value, "low": found.low, "high": found.high,
                     "seeds": found.seeds, "verdict": found.verdict})
    return pd.DataFrame(rows, columns=["size", "C", "value", "low", "high", "seeds", "verdict"])


def compare(
    table: pd.DataFrame, arm: str, reference: str, columns: Mapping[str, str], *, across_sizes: bool = False, level: float = 0.95
) -> pd.DataFrame:
    """The difference of several measures of two arms at equal compute, over all sizes, budgets and seeds.

    Args:
        columns: label -> column of the table; one without any value is left out.
        table, arm, reference, across_sizes: as for `at_equal_compute`.
    Returns:
        A row a measure: arm, comparison ("ARM against REFERENCE"), kind (the label), value, low, high [%], seeds, cells,
        verdict, words (the finding as a clause). No row where nothing can be compared.
    """
    import pandas as pd

    rows = []
    for label, column in columns.items():
        present = set(table.loc[table["C"].notna() & table[column].notna(), "arm"])
        if not {arm, reference} <= present:
            continue
        found = at_equal_compute(table, arm, reference, column=column, across_sizes=across_sizes)
        if len(found):
            mean = overall(found, level)
            value, low, high = percent(np.array([mean.value, mean.low, mean.high]))
            rows.append({"arm": arm, "comparison": f"{arm} against {reference}", "kind": label, "value": value, "low": low, "high": high,
                         "seeds": mean.seeds, "cells": found[["size", "C"]].drop_duplicates().shape[0], "verdict": mean.verdict,
                         "words": words(mean)})
    return pd.DataFrame(rows, columns=["arm", "comparison", "kind", "value", "low", "high", "seeds", "cells", "verdict", "words"])


def change_with_size(differences: pd.DataFrame, sizes: Sequence[str]) -> Interval | None:
    """How far the difference moves from the smallest size to the largest [log units], by seed; None with one size.

    Args:
        differences: of `at_equal_compute`, size by size.
        sizes: labels, the smallest first; those without differences are passed over.
    """
    by_size = differences.pivot_table(index="seed", columns="size", values="difference")
    known = [size for size in sizes if size in by_size]
    return interval((by_size[known[-1]] - by_size[known[0]]).dropna().to_numpy()) if len(known) > 1 else None


def change_with_tokens(differences: pd.DataFrame) -> Interval | None:
    """How far the difference moves within a size from its least compute to its most, mean over sizes [log units], by seed.

    None where no size has two budgets.
    """
    moves = []
    for _, rows in differences.groupby("size"):
        by_budget = rows.pivot(index="seed", columns="C", values="difference").sort_index(axis=1)
        if by_budget.shape[1] > 1:
            moves.append(by_budget.iloc[:, -1] - by_budget.iloc[:, 0])
    return interval(np.mean(moves, axis=0)) if moves else None


def trend(differences: pd.DataFrame, sizes: Sequence[str]) -> str:
    """How the difference changes from the smallest size to the largest, as a clause; see `change_with_size`."""
    found = change_with_size(differences, sizes)
    if found is None:
        return "there is one size only, and so no trend"
    known = [size for size in sizes if size in set(differences["size"])]
    ends = f" [{100 * found.low:+.1f}, {100 * found.high:+.1f}]" if found.seeds > 1 else ""
    return (f"from {known[0]} to {known[-1]} the difference moves by {100 * found.value:+.1f} points{ends}, which is "
            f"{'resolved' if found.resolved else 'unresolved'}")


def words(found: Interval) -> str:
    """A difference of logarithms as a clause: "1.2 % higher [0.4, 2.0]", or that it is unresolved."""
    value, low, high = percent(np.array([found.value, found.low, found.high]))
    if found.resolved:
        low, high = sorted((abs(low), abs(high)))
        return f"{abs(value):.1f} % {found.verdict} [{low:.1f}, {high:.1f}]"
    few = f" ({found.seeds} seed{'s' * (found.seeds > 1)})" if found.seeds < MIN_SEEDS else ""
    return f"unresolved{few}, {value:+.1f} % " + (f"[{low:+.1f}, {high:+.1f}]" if found.seeds > 1 else "without an interval")


def _in_logs(table: pd.DataFrame, arm: str, reference: str, column: str) -> pd.DataFrame:
    """The usable rows with x = ln C and y = ln of the measure.

    Raises:
        ValueError: a column or an arm is missing, or no row has C and the measure.
    """
    missing = [name for name in ("arm", "size", "seed") if name not in table.columns]
    if missing:
        raise ValueError(f"no column {', '.join(missing)}: the table has {', '.join(map(str, table.columns))}")
    usable, _ = usable_rows(table, ("C", column))
    for name in (arm, reference):
        if name not in set(usable["arm"]):
            raise ValueError(f"no runs of arm {name!r}: there are {', '.join(sorted(set(usable['arm'])))}")
    return usable.assign(x=np.log(usable["C"]), y=np.log(usable[column]))


def _complete(differences: pd.DataFrame) -> pd.DataFrame:
    """A row a seed, a column a cell, only seeds that have every cell."""
    return differences.pivot(index="seed", columns=["size", "C"], values="difference").dropna()


def _cells(x: np.ndarray) -> list[float]:
    """Distinct budgets in ln C: runs closer than `SAME_C` are one, at their mean."""
    x = np.sort(x)
    return [float(part.mean()) for part in np.split(x, np.flatnonzero(np.diff(x) > SAME_C) + 1)] if len(x) else []


def _envelope(runs: pd.DataFrame) -> Curve:
    """The lowest curve of all sizes that have runs on both sides."""
    curves = [_curve(size["x"].to_numpy(), size["y"].to_numpy()) for _, size in runs.groupby("size")]

    def lowest(x: float) -> float:
        values = [value for curve in curves if np.isfinite(value := curve(x))]
        return min(values, default=float("nan"))

    return lowest


def _curve(x: np.ndarray, y: np.ndarray) -> Curve:
    """A curve through the runs of one size and seed: a cubic spline, of lower degree where runs are few."""
    points = np.unique(x)
    heights = np.array([y[x == point].mean() for point in points])
    spline = make_interp_spline(points, heights, k=min(3, len(points) - 1)) if len(points) > 1 else None

    def at(x: float) -> float:
        if not points[0] - SAME_C <= x <= points[-1] + SAME_C:
            return float("nan")
        inside = float(np.clip(x, points[0], points[-1]))
        return float(spline(inside)) if spline else float(heights[0])

    return at
