"""One power law, L = K C^c, and two of them compared: position-wise losses of two kinds of attention."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nmm.laws.core.checks import columns as checked_columns
from nmm.laws.core.fitting import Fit, fit_law
from nmm.laws.core.law import Law, PowerSum, Term, coefficient, exponent
from nmm.laws.core.losses import Loss

if TYPE_CHECKING:
    import pandas as pd


class PowerLaw(Law):
    """L = K C^c without a floor."""

    name = "power"
    equation = r"L(C) = K\,C^{c}"
    source = "Kaplan et al. 2020, Sec. 1.2; the paper, App. C.3; Lu et al. 2025 (MoBA), scaling of trailing positions"
    inputs = ("C",)
    parameters = (coefficient("K", "nats/token * FLOPs^-c"), exponent("c", -20.0, 20.0, positive=False))

    def bind(self, columns, centre=True):
        one = np.ones(len(columns["C"]))
        return PowerSum([Term((0, 1), np.column_stack([one, np.log(columns["C"])]))], self.parameters, centre=centre)


def fit_power(C, L, delta: float = 1e-3, loss: str = "log-huber") -> Fit:
    """Fit L = K C^c to all runs given (for the frontier of a sweep see `fit_frontier`).

    Args:
        C: compute [FLOPs] and L: loss [nats/token], (n,).
    Raises:
        ValueError: bad values, or fewer than two distinct C.
    """
    checked = checked_columns(C=C, L=L)
    if len(np.unique(checked["C"])) < 2:
        raise ValueError("a power law needs at least two different budgets")
    slope, intercept = np.polyfit(np.log(checked["C"]), np.log(checked["L"]), 1)
    start = np.array([[intercept, slope]])
    return fit_law(PowerLaw(), {"C": checked["C"]}, checked["L"], Loss(loss, delta), start)


def compare_positions(C, L_first, L_second, level: float = 0.95, n: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Two variants' power laws per position range, with an interval on the difference.

    The runs of the two variants at one budget are resampled together, so noise that they share cancels.

    Args:
        C: budgets [FLOPs], (m,).
        L_first, L_second: losses [nats/token] at those budgets by position range: mappings of its name to (m,).
    Returns:
        One row a range: K and c of each variant, the difference of c (second minus first) with its interval, and
        the ratio of the losses (second over first) at the largest budget with its interval.
    Raises:
        ValueError: the two have other ranges, or bad values.
    """
    import pandas as pd

    if list(L_first) != list(L_second):
        raise ValueError(f"both variants need the same position ranges: got {list(L_first)} and {list(L_second)}")
    C = np.asarray(C, dtype=float)
    weights = np.random.default_rng(seed).multinomial(len(C), np.full(len(C), 1 / len(C)), size=n).astype(float)
    weights = weights[(weights > 0).sum(axis=1) > 1]  # one budget alone has no slope
    tail = [(1 - level) / 2, (1 + level) / 2]
    rows = {}
    for name in L_first:
        fits = [fit_power(C, losses[name]) for losses in (L_first, L_second)]
        (log_k1, c1), (log_k2, c2) = (fit.refit(weights, starts=1)[0].T for fit in fits)
        ratio = np.exp(log_k2 - log_k1 + (c2 - c1) * np.log(C.max()))
        first, second = (fit.values for fit in fits)
        rows[name] = {
            "K_first": first["K"],
            "c_first": first["c"],
            "K_second": second["K"],
            "c_second": second["c"],
            "c_difference": second["c"] - first["c"],
            **dict(zip(("c_low", "c_high"), np.quantile(c2 - c1, tail))),
            "ratio": second["K"] / first["K"] * C.max() ** (second["c"] - first["c"]),
            **dict(zip(("ratio_low", "ratio_high"), np.quantile(ratio, tail))),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("positions")
