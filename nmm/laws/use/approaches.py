"""Chinchilla's three approaches to the compute-optimal allocation, side by side, and the bias of the second."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nmm.laws.core.checks import columns as checked_columns
from nmm.laws.forms.frontier import lower_hull
from nmm.laws.forms.optimum import optimum, power_law
from nmm.laws.forms.parametric import fit_parametric

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Allocation:
    """N* = K_a C^a and D* = K_b C^b, and the optima (C, N, D) that they run through."""

    a: float
    b: float
    K_a: float
    K_b: float
    C: np.ndarray
    N: np.ndarray
    D: np.ndarray

    def optimum_N(self, C) -> np.ndarray:
        """N* [parameters] at C [FLOPs]."""
        return self.K_a * np.asarray(C, dtype=float) ** self.a


def _through(C, N, D) -> Allocation:
    (a, K_a), (b, K_b) = power_law(C, N), power_law(C, D)
    return Allocation(a, b, K_a, K_b, C, N, D)


def approach_1(N, D, L) -> Allocation:
    """The runs on the lower hull of (ln C, ln L), and power laws through their N and D.

    Raises:
        ValueError: bad values, or fewer than three runs on the hull.
    Source: Hoffmann et al. 2022, Sec. 3.1, with final losses of separate runs in place of whole training curves.
    """
    checked = checked_columns(N=N, D=D, L=L)
    C = 6.0 * checked["N"] * checked["D"]
    hull = lower_hull(C, checked["L"])
    if len(hull) < 3:
        raise ValueError(f"only {len(hull)} runs lie on the lower hull: approach 1 needs three")
    return _through(C[hull], checked["N"][hull], checked["D"][hull])


def isoflop_groups(N, D, tolerance: float = 0.1) -> np.ndarray:
    """Budget of each run: the mean (in logs) of its group, runs whose C is within `tolerance` of the next."""
    log_c = np.log(6.0 * np.asarray(N, dtype=float) * np.asarray(D, dtype=float))
    order = np.argsort(log_c)
    label = np.empty(len(order), dtype=int)
    label[order] = np.concatenate([[0], np.cumsum(np.diff(log_c[order]) > np.log1p(tolerance))])
    return np.exp([log_c[label == g].mean() for g in label])


def approach_2(N, D, L, budgets=None) -> Allocation:
    """A parabola in ln N through the runs of each budget; its minimum is N*, and D* = C / 6 N*.

    Budgets with fewer than four sizes, or whose parabola has no minimum within the sizes tried, are left out.

    Args:
        budgets: budget of each run [FLOPs] (n,); by default `isoflop_groups`.
    Raises:
        ValueError: bad values, or fewer than two usable budgets.
    Source: Hoffmann et al. 2022, Sec. 3.2.
    """
    checked = checked_columns(N=N, D=D, L=L)
    budgets = isoflop_groups(checked["N"], checked["D"]) if budgets is None else np.asarray(budgets, dtype=float)
    found = []
    for C in np.unique(budgets):
        here = budgets == C
        x = np.log(checked["N"][here])
        if len(np.unique(x)) < 4:
            continue
        curve, slope, _ = np.polyfit(x - x.mean(), checked["L"][here], 2)
        vertex = x.mean() - slope / (2 * curve) if curve > 0 else np.inf
        if x.min() <= vertex <= x.max():
            found.append((C, np.exp(vertex), C / 6.0 / np.exp(vertex)))
    if len(found) < 2:
        raise ValueError(
            f"approach 2 needs two budgets with at least four sizes around their minimum: {len(found)} of "
            f"{len(np.unique(budgets))} budgets are usable"
        )
    return _through(*np.array(found).T)


def approach_3(N, D, L) -> Allocation:
    """The parametric fit: N* and D* of Eq. 1 at the budgets of the runs."""
    fit = fit_parametric(N, D, L)
    C = np.unique(6.0 * np.asarray(N, dtype=float) * np.asarray(D, dtype=float))
    best = fit.optimum(np.array([C.min(), C.max()]))
    return _through(best.C, best.N, best.D)


def approach_2_bias(values: tuple[float, ...], C, width: float, centre: float = 1.0, points: int = 9) -> pd.DataFrame:
    """What approach 2 finds on a noise-free surface of Eq. 1, against the truth.

    Args:
        values: E, A, B, alpha, beta.
        C: budgets [FLOPs], (m,).
        width: sizes run from N*/width to N* width at each budget, times `centre`.
        centre: factor (scalar or (m,)) by which the middle of the sizes misses N*; a value that drifts with C
            biases the exponent, a constant one the level only.
        points: sizes a budget.
    Returns:
        One row a budget: C, the true N*, approach 2's, and their ratio. `attrs` holds both exponents a.
    Raises:
        ValueError: no usable budget, or width not above 1.
    Source: a parabola through a curve that is not symmetric misses its minimum; the size of the miss is computed here.
    """
    import pandas as pd

    if not width > 1:
        raise ValueError(f"width is the factor around N* and must be above 1: got {width}")
    C = np.asarray(C, dtype=float)
    best = optimum(*values, C)
    N = (best.N * centre)[:, None] * np.geomspace(1 / width, width, points)
    D = C[:, None] / 6.0 / N
    E, A, B, alpha, beta = values
    loss = E + A / N**alpha + B / D**beta
    found = approach_2(N.ravel(), D.ravel(), loss.ravel(), budgets=np.repeat(C, points))
    table = pd.DataFrame({"C": found.C, "N true": optimum(*values, found.C).N, "N approach 2": found.N})
    table["ratio"] = table["N approach 2"] / table["N true"]
    table.attrs = {"a true": beta / (alpha + beta), "a approach 2": found.a}
    return table
