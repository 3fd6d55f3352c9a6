"""When do models trained from scratch catch up with models that had a start? By tokens, and by all compute that was spent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nmm.laws.use import cells, paired
from nmm.laws.use.paired import Interval, interval

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class CatchingUp:
    """The tokens at which one arm's loss meets another's, seed by seed.

    `tokens` is the geometric mean with its interval where every seed has its losses meet within the runs, else None;
    `ahead` and `behind` count seeds that are ahead at the fewest tokens already, or still behind at the most.
    """

    tokens: Interval | None
    ahead: int
    behind: int
    seeds: int
    first: float    # fewest tokens compared [tokens]
    last: float     # most

    def words(self, short: Callable[[float], str] = "{:.3g}".format) -> str:
        """As a clause."""
        if self.tokens is not None:
            return f"{short(self.tokens.value)} tokens [{short(self.tokens.low)}, {short(self.tokens.high)}]"
        if self.ahead == self.seeds:
            return f"ahead from {short(self.first)} tokens on"
        if self.behind == self.seeds:
            return f"not by {short(self.last)} tokens"
        met = self.seeds - self.ahead - self.behind
        return (f"{met} of {self.seeds} seeds between {short(self.first)} and {short(self.last)} tokens, {self.ahead} before, "
                f"{self.behind} not by then")


def gaps(table: pd.DataFrame, native: str, started: str, column: str) -> pd.DataFrame:
    """ln of a loss of the native arm over that of the started one, by budget and seed; above zero the native arm is behind.

    Args:
        table: a row a run: arm, seed, budget [tokens] and `column`, positive.
    Raises:
        ValueError: an arm is not there.
    """
    return cells.differences(table, native, started, column, ["budget"], log=True)


def by_budget(apart: pd.DataFrame) -> pd.DataFrame:
    """Mean and interval over seeds of each budget of `gaps`, in per cent: columns budget, value, low, high, seeds."""
    import pandas as pd

    rows = []
    for budget, rows_ in apart.groupby("budget"):
        found = interval(rows_["difference"].to_numpy())
        value, low, high = paired.percent(np.array([found.value, found.low, found.high]))
        rows.append({"budget": budget, "value": value, "low": low, "high": high, "seeds": found.seeds, "resolved": found.resolved})
    return pd.DataFrame(rows, columns=["budget", "value", "low", "high", "seeds", "resolved"])


def catching_up(apart: pd.DataFrame) -> CatchingUp:
    """Where the gaps of `gaps` vanish, along straight lines in ln tokens between budgets; the last time, if several.

    Raises:
        ValueError: no budget has runs of both arms.
    """
    if not len(apart):
        raise ValueError("nothing to compare: no budget has runs of both arms")
    met, ahead, behind = [], 0, 0
    for _, rows in apart.groupby("seed"):
        rows = rows.sort_values("budget")
        x, gap = np.log(rows["budget"].to_numpy(float)), rows["difference"].to_numpy()
        if gap[-1] > 0:
            behind += 1
        elif (gap <= 0).all():
            ahead += 1
        else:
            last = int(np.flatnonzero(gap > 0)[-1])
            met.append(x[last] + (x[last + 1] - x[last]) * gap[last] / (gap[last] - gap[last + 1]))
    found = None
    if met and not ahead and not behind:
        one = interval(np.array(met))
        found = Interval(value=float(np.exp(one.value)), low=float(np.exp(one.low)), high=float(np.exp(one.high)), seeds=one.seeds)
    budgets = apart["budget"]
    return CatchingUp(tokens=found, ahead=ahead, behind=behind, seeds=apart["seed"].nunique(), first=float(budgets.min()),
                      last=float(budgets.max()))


def with_all_compute(table: pd.DataFrame, native: str, started: str, column: str) -> Interval | None:
    """ln of the started arm's loss over the native one's at equal compute, that of the start counted; None where no compute is in both's
    runs.

    Args:
        table: a row a run: arm, size, seed, C_exact and C_exact_start [FLOPs], missing without a start, and `column`.
    """
    whole = table.assign(C=table["C_exact"] + table["C_exact_start"].fillna(0.0))
    found = paired.at_equal_compute(whole, started, native, column=column)
    return paired.overall(found) if len(found) else None
