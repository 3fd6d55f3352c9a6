"""When do models trained from scratch catch up with models that had a start? By tokens, and by all compute that was spent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nmm.laws.use import cells, paired
from nmm.laws.use.paired import MIN_SEEDS, Interval, interval

if TYPE_CHECKING:
    import pandas as pd


FINE = 100          # places between two budgets at which the interval is looked at


@dataclass(frozen=True, kw_only=True)
class CatchingUp:
    """Where one arm's loss meets another's, as the intervals over seeds tell.

    `status` is "met" where the arm is told to be behind at some budget and ahead at the most tokens, "behind" where it is behind there,
    "ahead" where it is at no budget behind and at the most tokens ahead, else "open": few seeds, or too noisy ones. `tokens` is where the
    mean gap vanishes, its interval all places from the last at which the arm is told to be behind to the first from which on it is ahead;
    None unless met.
    """

    status: str
    tokens: Interval | None
    behind_at: tuple[float, ...]    # budgets at which the arm is told to be behind [tokens]
    ahead_at: tuple[float, ...]     # budgets at which it is told to be ahead
    seeds: int
    last: float                     # most tokens compared

    def words(self, short: Callable[[float], str] = "{:.3g}".format) -> str:
        """As a clause."""
        if self.tokens is not None:
            return f"{short(self.tokens.value)} tokens [{short(self.tokens.low)}, {short(self.tokens.high)}]"
        if self.status == "behind":
            return f"not by {short(self.last)} tokens"
        if self.seeds < MIN_SEEDS:
            return f"not told by {self.seeds} seed{'s' * (self.seeds > 1)}"
        sides = {"behind": self.behind_at, "ahead": self.ahead_at}
        told = [f"{where} at {' and '.join(map(short, budgets))}" for where, budgets in sides.items() if budgets]
        if self.status == "open":
            told.append(f"not told apart at {short(self.last)}")
        return ", ".join(told) + " tokens"


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


def gaps_to_the_most(table: pd.DataFrame, native: str, started: str, column: str) -> pd.DataFrame:
    """As `gaps`, but beside what the started arm reached at its largest budget, whatever the native one's: where this gap vanishes, the
    native arm has reached that loss.

    Args, raises: as for `gaps`.
    """
    import pandas as pd

    most = table.loc[table["arm"] == started, "budget"].max()
    reached = table[(table["arm"] == started) & (table["budget"] == most)]
    each = [reached.assign(budget=budget) for budget in sorted(table.loc[table["arm"] == native, "budget"].unique())]
    return gaps(pd.concat([table[table["arm"] == native], *each]), native, started, column)


def catching_up(apart: pd.DataFrame) -> CatchingUp:
    """Where the gaps of `gaps` vanish, along straight lines in ln tokens between budgets, by seeds that have every budget.

    Raises:
        ValueError: no budget has runs of both arms, or no seed has all budgets.
    """
    wide = apart.pivot(index="seed", columns="budget", values="difference").sort_index(axis=1).dropna()
    if not wide.size:
        raise ValueError("nothing to compare: no budget has runs of both arms for the same seeds")

    def told(lines: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of each column, whether the arm is behind, and whether it is ahead."""
        found = [interval(gap) for gap in lines.T]
        behind, ahead = (np.array([one.resolved and sign * one.value > 0 for one in found]) for sign in (1, -1))
        return behind, ahead

    behind, ahead = told(wide.to_numpy())
    status = "behind" if behind[-1] else "open" if not ahead[-1] else "met" if behind.any() else "ahead"
    tokens = None
    if status == "met":
        known = np.log(wide.columns.to_numpy(float))
        x = np.concatenate([*(np.linspace(a, b, FINE, endpoint=False) for a, b in zip(known[:-1], known[1:])), known[-1:]])
        lines = np.array([np.interp(x, known, gap) for gap in wide.to_numpy()])
        mean, (fine_behind, fine_ahead) = lines.mean(axis=0), told(lines)
        last = int(np.flatnonzero(mean > 0)[-1])
        at = x[last] + (x[last + 1] - x[last]) * mean[last] / (mean[last] - mean[last + 1])
        low, high = x[np.flatnonzero(fine_behind)[-1]], x[np.flatnonzero(~fine_ahead)[-1] + 1]
        tokens = Interval(value=float(np.exp(at)), low=float(np.exp(low)), high=float(np.exp(high)), seeds=len(wide))
    budgets = wide.columns.to_numpy(float)
    return CatchingUp(status=status, tokens=tokens, behind_at=tuple(budgets[behind]), ahead_at=tuple(budgets[ahead]), seeds=len(wide),
                      last=float(budgets[-1]))


def with_all_compute(table: pd.DataFrame, native: str, started: str, column: str) -> dict[float, Interval]:
    """ln of the started arm's loss over the native one's at equal compute, that of the start counted, by the started arm's budget
    [tokens], the largest first; only budgets whose compute is within the native arm's runs.

    Args:
        table: a row a run: arm, size, seed, budget, C_exact and C_exact_start [FLOPs], missing without a start, and `column`.
    """
    whole = _with_start(table)
    found = paired.at_equal_compute(whole, started, native, column=column)
    spent = whole[whole["arm"] == started].groupby("budget")["C"].mean().sort_index(ascending=False)
    cells_of = {budget: found[np.abs(np.log(found["C"] / C)) <= paired.SAME_C] for budget, C in spent.items()}
    return {float(budget): paired.overall(rows) for budget, rows in cells_of.items() if len(rows)}


def compute_of_the_same_loss(table: pd.DataFrame, native: str, started: str, column: str) -> Interval | None:
    """ln of all FLOPs of the started arm at its largest budget over those with which the native arm has its loss; above zero the started
    one is dearer. None where the native arm's runs do not reach that loss, or begin below it.

    Args: as for `with_all_compute`.
    """
    whole = _with_start(table)
    found = paired.at_equal_loss(whole, started, native, column=column)
    spent = whole.loc[whole["arm"] == started].groupby("budget")["C"].mean()
    at_most = found[np.abs(np.log(found["C"] / spent[spent.index.max()])) <= paired.SAME_C]
    return interval(-at_most["difference"].to_numpy()) if len(at_most) else None


def _with_start(table: pd.DataFrame) -> pd.DataFrame:
    """With the FLOPs of a start counted in C."""
    return table.assign(C=table["C_exact"] + table["C_exact_start"].fillna(0.0))
