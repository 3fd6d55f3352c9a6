"""Runs of several mixtures side by side: which mixtures are whole, the law of each, and pairs that hold a share fixed.

A mixture is named, and `shares` says what the name stands for: mixture -> data type -> share of the training tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from nmm.laws.forms.frontier import fit_frontier
from nmm.laws.forms.parametric import ParametricFit, fit_parametric
from nmm.laws.use import cells, paired
from nmm.laws.use.mixing import Estimate
from nmm.laws.use.paired import Interval
from nmm.laws.use.resample import resample

if TYPE_CHECKING:
    import pandas as pd

Shares = Mapping[str, Mapping[str, float]]
Planned = Mapping[tuple[str, int], AbstractSet[tuple[int, int]]]     # widths and budgets of a mixture and a seed
MEAN = "mean"
NEARLY = 0.055          # a share that moves by no more is called nearly the same
WORDS = {"caption": "captions", "interleaved": "interleaved documents", "text": "text"}


def whole_seeds(table: pd.DataFrame, planned: Planned) -> dict[str, list[int]]:
    """The seeds of which a mixture has a run of every width and budget that are planned, by mixture; empty lists where there is none.

    Args:
        table: finished runs of one arm: mixture, seed, d_model, budget.
    """
    found: dict[str, list[int]] = {}
    for mixture, rows in table.groupby("mixture", sort=False):
        here = {seed: set(zip(mine["d_model"], mine["budget"])) for seed, mine in rows.groupby("seed")}
        found[mixture] = sorted(seed for seed, have in here.items() if planned.get((mixture, seed), {None}) <= have)
    return found


def of_whole(table: pd.DataFrame, planned: Planned, sees: Sequence[bool]) -> pd.DataFrame:
    """The runs of whole seeds, of those cells (width, budget and seed) that every mixture has that is whole, and in which every run sees.

    Mixtures with other sizes, budgets or seeds than others are not set beside them, and what a blind run lacks is sight.

    Args:
        sees: whether each run reads its pictures, (n,).
    """
    seeds = whole_seeds(table, planned)
    keep = [row.seed in seeds[row.mixture] and (row.d_model, row.budget) in planned[row.mixture, row.seed] for row in table.itertuples()]
    rows = table.assign(sees=np.asarray(sees, dtype=bool))[np.array(keep, dtype=bool)]
    cells = rows.groupby(["d_model", "budget", "seed"])
    everywhere = (cells["mixture"].transform("nunique") == rows["mixture"].nunique()) & cells["sees"].transform("all")
    return rows[everywhere].drop(columns="sees").reset_index(drop=True)


def weights(table: pd.DataFrame, shares: Shares, domains: Sequence[str]) -> np.ndarray:
    """The shares of each run's mixture, (n, k).

    Raises:
        ValueError: a mixture that `shares` does not know.
    """
    if unknown := set(table["mixture"]) - set(shares):
        raise ValueError(f"unknown mixture {min(unknown)!r}: shares are known of {', '.join(shares)}")
    return np.array([[shares[name][kind] for kind in domains] for name in table["mixture"]]).reshape(-1, len(domains))


@dataclass(frozen=True)
class Laws:
    """Eq. 1 and the frontier of each mixture and loss, with draws over resampled trunks.

    Attributes:
        fits: mixture -> loss -> Eq. 1.
        values, draws: quantities "a", "alpha", "beta", "E" (of Eq. 1), "c" (the frontier's exponent) and "c above" (that of what is
            above the known floor; NaN without one) by (quantity, mixture, loss): the value of all runs, and of n resamples, NaN where
            one has none.
        failed: (mixture, loss) -> why there is none.
    """

    fits: dict[str, dict[str, ParametricFit]]
    values: dict[tuple[str, str, str], float]
    draws: dict[tuple[str, str, str], np.ndarray]
    failed: dict[tuple[str, str], str]

    def estimate(self, quantity: str, mixture: str, kind: str, level: float = 0.95) -> Estimate | None:
        """A quantity with its interval; None where there is none."""
        key = (quantity, mixture, kind)
        return middle(self.values[key], self.draws[key], level) if key in self.values else None

    def apart(self, quantity: str, one: tuple[str, str], other: tuple[str, str], level: float = 0.95) -> Estimate | None:
        """A quantity of one mixture and loss less that of another, on the same resamples: draw i has the same sizes and seeds of both."""
        first, second = (quantity, *one), (quantity, *other)
        if first not in self.values or second not in self.values:
            return None
        return middle(self.values[first] - self.values[second], self.draws[first] - self.draws[second], level)


def middle(value: float, draws: np.ndarray, level: float = 0.95) -> Estimate | None:
    """The value, and the middle `level` of the draws that are numbers, widened to hold the value; None without either."""
    draws = draws[np.isfinite(draws)]
    if not np.isfinite(value) or not len(draws):
        return None
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(float(value), float(min(low, value)), float(max(high, value)))


def laws(table: pd.DataFrame, columns: Mapping[str, str], floors: Mapping[str, str], n: int = 200, seed: int = 0) -> Laws:
    """The law of each mixture, for each loss.

    Args:
        table: runs of whole mixtures: mixture, N, D, C, cluster, and the columns below.
        columns: loss -> its column; floors: loss -> the column with the lowest possible loss, NaN where it is not known; of a loss
            that it leaves out, no exponent above a floor is told.
        n: resamples of whole trunks, the same for all losses of a mixture.
    """
    found = Laws({}, {}, {}, {})
    needed = ["mixture", "N", "D", "C", "cluster", *dict.fromkeys([*columns.values(), *floors.values()])]      # resamples copy them
    for mixture, rows in table[needed].groupby("mixture", sort=False):
        trunks = rows["cluster"].to_numpy()
        for kind, column in columns.items():
            try:
                fit = fit_parametric(rows["N"], rows["D"], rows[column])
                samples = fit.bootstrap(n, seed, starts=1, cluster=trunks).samples
            except ValueError as error:
                found.failed[mixture, kind] = str(error)
                continue
            found.fits.setdefault(mixture, {})[kind] = fit
            for name in ("a", "alpha", "beta", "E"):
                found.values[name, mixture, kind] = float(getattr(fit, name))
                found.draws[name, mixture, kind] = samples[name].to_numpy()
        for name, floor in (("c", dict.fromkeys(columns, None)), ("c above", floors)):
            kinds = [kind for kind in columns if name == "c" or (kind in floors and (rows[columns[kind]] > rows[floors[kind]]).all())]
            if not kinds:
                continue

            def exponents(part, kinds=kinds, floor=floor):
                heights = (part[columns[kind]] - (part[floor[kind]] if floor[kind] else 0.0) for kind in kinds)
                return [fit_frontier(part["C"], height).c for height in heights]

            try:
                whole, draws = resample(exponents, rows, trunks, n, seed)
            except ValueError as error:
                found.failed.update({(mixture, kind): str(error) for kind in kinds})
                continue
            for place, kind in enumerate(kinds):
                found.values[name, mixture, kind], found.draws[name, mixture, kind] = float(whole[place]), draws[:, place]
    return found


@dataclass(frozen=True)
class Swap:
    """Two mixtures: what a change from the first to the second moves [shares of all tokens]."""

    first: str
    second: str
    moved: dict[str, float]

    @property
    def fixed(self) -> list[str]:
        """Data types whose share is the same."""
        return [kind for kind, by in self.moved.items() if abs(by) < 1e-9]

    @property
    def nearly(self) -> list[str]:
        """Those whose share is the same up to `NEARLY`, and not quite."""
        return [kind for kind, by in self.moved.items() if 1e-9 <= abs(by) <= NEARLY]

    @property
    def words(self) -> str:
        """The change in points of all tokens as a clause, and what it leaves alone."""
        def told(sign: int) -> str:
            parts = [f"{sign * 100 * by:.0f} of {WORDS.get(kind, kind)}" for kind, by in self.moved.items() if sign * by > 1e-9]
            return " and ".join(parts)

        alone = "share stays the same" if self.fixed else "share hardly moves" if self.nearly else ""
        kept = WORDS.get(kind := (self.fixed or self.nearly or [""])[0], kind)
        return f"{told(-1)} become {told(1)}; " + (f"of {kept} the {alone}" if alone else "all shares move")

    @property
    def isolates(self) -> str:
        """What the pair holds apart, as a clause."""
        if kept := self.fixed or self.nearly:
            others = " and ".join(WORDS.get(kind, kind) for kind in self.moved if kind != kept[0])
            about = "" if self.fixed else f", but for {abs(100 * self.moved[kept[0]]):.0f} points of its own"
            return f"{others}, one for the other, to {WORDS.get(kept[0], kept[0])}{about}"
        return "nothing"


def swaps(mixtures: Sequence[str], shares: Shares) -> list[Swap]:
    """Every pair of mixtures, those that hold a share fixed first."""
    found = [Swap(one, two, {kind: shares[two][kind] - share for kind, share in shares[one].items()})
             for one, two in combinations(mixtures, 2)]
    return sorted(found, key=lambda swap: (not swap.fixed, not swap.nearly))


def at_equal_total(table: pd.DataFrame, swap: Swap, column: str) -> Interval | None:
    """ln of a loss in the second mixture over that in the first, at equal size, budget and seed; None without such runs."""
    try:
        apart = cells.differences(table.assign(arm=table["mixture"]), swap.second, swap.first, column, ["N", "budget"], log=True)
        return cells.overall(apart)
    except ValueError:
        return None


def at_equal_own(table: pd.DataFrame, swap: Swap, column: str, kind: str, shares: Shares) -> Interval | None:
    """The same after as many tokens of the data type `kind` in both, at equal size and seed; None where budgets do not reach.

    ln L is interpolated in the own tokens as `paired.at_equal_compute` does in C. The others' tokens then differ in number as in share.
    """
    own = table["D"] * table["mixture"].map({name: share[kind] for name, share in shares.items()})
    try:
        apart = paired.at_equal_compute(table.assign(arm=table["mixture"], C=own), swap.second, swap.first, column=column)
        return paired.overall(apart)
    except ValueError:
        return None


def changes(table: pd.DataFrame, shares: Shares, columns: Mapping[str, str]) -> pd.DataFrame:
    """What every pair of mixtures does to every data type's loss, at equal total and at equal own tokens.

    Args:
        columns: data type -> column of its loss.
    Returns:
        A row a pair, data type and `equal` ("total" or "own"): first, second, kind, equal, fixed (share of the type stays), times
        (total tokens of the second over the first), value, low, high [%], seeds, verdict. Rows that cannot be compared are left out.
    """
    import pandas as pd

    rows = []
    mixtures = [name for name in shares if name in set(table["mixture"])]
    for swap in swaps(mixtures, shares):
        for kind, column in columns.items():
            for equal in ("total", "own"):
                if equal == "own" and kind in swap.fixed:
                    continue                        # the same thing
                found = at_equal_total(table, swap, column) if equal == "total" else at_equal_own(table, swap, column, kind, shares)
                if found is None:
                    continue
                times = 1.0 if equal == "total" else shares[swap.first][kind] / shares[swap.second][kind]
                value, low, high = (float(paired.percent(end)) for end in (found.value, found.low, found.high))
                rows.append({"first": swap.first, "second": swap.second, "kind": kind, "equal": equal, "fixed": kind in swap.fixed,
                             "times": times, "value": value, "low": low, "high": high, "seeds": found.seeds, "verdict": found.verdict})
    names = ["first", "second", "kind", "equal", "fixed", "times", "value", "low", "high", "seeds", "verdict"]
    return pd.DataFrame(rows, columns=names)
