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


def compare_positions(C, L_first, L_second, level: float = 0.95) -> pd.DataFrame:
    """Two variants' power laws per position range, with an interval on the difference.

    The difference is the line through ln(L_second / L_first) over ln C by least squares: noise that the two variants
    share at a budget cancels, and with few budgets Student's t says what their scatter leaves open. (Resampled budgets
    cover 68 to 84 % with four or five.)

    Args:
        C: budgets [FLOPs], (m,), at least three different ones.
        L_first, L_second: losses [nats/token] at those budgets by position range: mappings of its name to (m,).
    Returns:
        One row a range: K and c of each variant, the difference of c (second minus first) with its interval, and
        the ratio of the losses (second over first) at the largest budget with its interval.
    Raises:
        ValueError: the two have other ranges, there are fewer than three budgets, or bad values.
    """
    import pandas as pd
    from scipy.special import stdtrit  # here: half a second that `import nmm.laws` need not pay

    if list(L_first) != list(L_second):
        raise ValueError(f"both variants need the same position ranges: got {list(L_first)} and {list(L_second)}")
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1: got {level}")
    rows = {}
    for name in L_first:
        checked = checked_columns(C=C, L_first=L_first[name], L_second=L_second[name])
        x, y = np.log(checked["C"] / checked["C"].max()), np.log(checked["L_second"] / checked["L_first"])
        if len(np.unique(x)) < 3:
            raise ValueError(f"an interval on the difference needs three different budgets: got {len(np.unique(x))}")
        design = np.column_stack([np.ones_like(x), x])
        inverse = np.linalg.inv(design.T @ design)
        at_end, slope = inverse @ design.T @ y
        free = len(x) - 2
        spread = np.sqrt(np.sum((y - design @ [at_end, slope]) ** 2) / free * np.diag(inverse))
        half = stdtrit(free, (1 + level) / 2) * spread
        first, second = (fit_power(checked["C"], checked[column]).values for column in ("L_first", "L_second"))
        rows[name] = {
            "K_first": first["K"], "c_first": first["c"], "K_second": second["K"], "c_second": second["c"],
            "c_difference": slope, "c_low": slope - half[1], "c_high": slope + half[1],
            "ratio": np.exp(at_end), "ratio_low": np.exp(at_end - half[0]), "ratio_high": np.exp(at_end + half[0]),
        }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("positions")
