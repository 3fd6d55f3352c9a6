"""Does what a model learned before say how it does after? Rank correlation with an interval, and a law from loss to accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nmm.laws.use.resample import resample

if TYPE_CHECKING:
    import pandas as pd

FEWEST = 5          # runs with which anything is said
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A number with the interval that resampled trunks give it; ends that are not known are infinite."""

    value: float
    low: float
    high: float
    runs: int
    clusters: int

    @property
    def resolved(self) -> bool:
        """Whether the interval leaves out zero."""
        return not self.low <= 0 <= self.high


def rank_correlation(
    table: pd.DataFrame, before: str, after: str, cluster: np.ndarray, n: int = 500, within: Sequence[str] = ()
) -> Measured:
    """Spearman's rank correlation of two columns, with an interval over trunks drawn with replacement.

    Args:
        table: a row a run.
        before, after: its columns.
        cluster: what each run shares its luck with (n_runs,).
        n: resamples.
        within: columns that runs must have in common to be ranked among each other, size and budget for instance, each rank as a share
            of its group; ranks of all groups are then correlated together.
    Raises:
        ValueError: fewer than `FEWEST` runs, or a column that never changes.
    """
    def one(rows: pd.DataFrame) -> list[float]:
        ranks = rows[[before, after]].rank()
        if within:
            groups = [rows[name] for name in within]
            ranks = rows.groupby(groups)[[before, after]].rank(pct=True)
            ranks = (ranks - ranks.groupby(groups).transform("mean")).round(9)
        if len(rows) < FEWEST or (ranks.nunique() < 3).any():
            raise ValueError(f"{len(rows)} runs with {int(ranks.nunique().min())} values: at least {FEWEST} that differ are ranked")
        return [float(np.corrcoef(ranks[before], ranks[after])[0, 1])]

    return _measured(one, table, cluster, n)[0]


@dataclass(frozen=True, kw_only=True)
class AccuracyLaw:
    """accuracy = chance + k exp(-gamma L): what is gained over guessing falls exponentially with the loss before.

    Source: Gadre et al. 2024 (arXiv 2403.08540), Eq. 5, whose error at a high loss, there a coefficient, is known here.
    """

    chance: float
    k: float
    gamma: Measured
    worst: float        # largest residual of a run's accuracy
    r2: float           # share of the variance of accuracies that it explains
    status: str         # "fitted", or why it tells nothing

    def accuracy(self, loss: np.ndarray) -> np.ndarray:
        """Accuracy that the law gives a loss [nats/token]."""
        return self.chance + self.k * np.exp(-self.gamma.value * np.asarray(loss, float))


def accuracy_law(table: pd.DataFrame, loss: str, accuracy: str, chance: float, cluster: np.ndarray, n: int = 500) -> AccuracyLaw:
    """Fit the law by least squares of accuracies, with an interval of gamma over resampled trunks.

    Args:
        table: a row a run; loss [nats/token] and accuracy, between 0 and 1, are two of its columns.
        chance: accuracy of a guess.
    Raises:
        ValueError: fewer than `FEWEST` runs, or a loss that never changes.
    """
    def one(rows: pd.DataFrame) -> list[float]:
        if len(rows) < FEWEST or rows[loss].nunique() < 3:
            raise ValueError(f"{len(rows)} runs with {rows[loss].nunique()} losses: the law needs {FEWEST}, and three that differ")
        return list(_fit(rows[loss].to_numpy(float), rows[accuracy].to_numpy(float) - chance))

    gamma, at_mean = _measured(one, table, cluster, n)
    centre = float(table[loss].mean())
    k = at_mean.value * np.exp(gamma.value * centre)
    left = table[accuracy] - (chance + k * np.exp(-gamma.value * table[loss]))
    status = ("no accuracy above chance" if at_mean.low <= 0 else "fitted" if gamma.resolved
              else "gamma is not told from zero: the loss before tells nothing of the accuracy")
    return AccuracyLaw(chance=chance, k=float(k), gamma=gamma, worst=float(left.abs().max()),
                       r2=float(1 - (left**2).sum() / ((table[accuracy] - table[accuracy].mean()) ** 2).sum()), status=status)


def _fit(loss: np.ndarray, gain: np.ndarray) -> tuple[float, float]:
    """gamma, and the gain at the mean loss: at each gamma the best k is linear, and gamma is searched on a grid, then refined."""
    from scipy.optimize import minimize_scalar  # here: `import nmm.laws` stays quick

    x = loss - loss.mean()

    def best(gamma: float) -> tuple[float, float]:
        shape = np.exp(-gamma * x)
        k = float(shape @ gain / (shape @ shape))
        return float(((gain - k * shape) ** 2).sum()), k

    grid = np.linspace(-1, 1, 81) * 12 / max(np.ptp(x), 1e-9)
    start = int(np.argmin([best(gamma)[0] for gamma in grid]))
    low, high = grid[max(start - 1, 0)], grid[min(start + 1, len(grid) - 1)]
    gamma = float(minimize_scalar(lambda g: best(g)[0], bounds=(low, high), method="bounded").x)
    return gamma, best(gamma)[1]


def _measured(one, table: pd.DataFrame, cluster: np.ndarray, n: int) -> list[Measured]:  # noqa: ANN001
    labels = np.unique(cluster)
    if len(labels) < 3:
        values = one(table)
        return [Measured(value=value, low=-np.inf, high=np.inf, runs=len(table), clusters=len(labels)) for value in values]
    values, draws = resample(one, table, cluster, n)
    ends = np.nanquantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return [Measured(value=float(value), low=float(low), high=float(high), runs=len(table), clusters=len(labels))
            for value, low, high in zip(values, *ends, strict=True)]
