"""Which N? The same runs with parameters counted in several ways, and what becomes of the exponents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nmm.laws.core.uncertainty import Bootstrap
from nmm.laws.forms.optimum import FLOPS_PER_PARAMETER_TOKEN
from nmm.laws.forms.parametric import fit_parametric

if TYPE_CHECKING:
    import pandas as pd

BUDGETS, SIZES = 9, 200  # of the grid on which optima at one compute are found


def which_n(
    counts: dict[str, np.ndarray], D, L, cluster: np.ndarray | None = None, level: float = 0.95, resamples: int = 200, seed: int = 0
) -> pd.DataFrame:
    """Eq. 1 with each way of counting N.

    With its own N a counting has C = 6 N D, so both sides of N* ~ C^a change with it. `a at one C` keeps the first counting's
    compute for all: the exponent of the counted N* in C = 6 N_first D, on the path of best losses among the sizes of the runs.

    Args:
        counts: what counts -> parameters of each run, (n,); the first is the one that compute is counted with.
        D, L: tokens and loss [nats/token], (n,).
        cluster: as in `Fit.profile`.
        resamples, seed: of the interval of `a at one C`, a percentile one.
    Returns:
        One row a counting: share (median of N over the first's), status, R2, E, alpha, beta, a and `a at one C`, with
        intervals (`a low`, ..).
    Raises:
        ValueError: fewer than two countings, or what `fit_parametric` refuses.
    """
    import pandas as pd

    if len(counts) < 2:
        raise ValueError(f"at least two ways of counting N are compared: got {', '.join(counts) or 'none'}")
    reference = np.asarray(next(iter(counts.values())), dtype=float)
    rows = {}
    for name, N in counts.items():
        N = np.asarray(N, dtype=float)
        fit = fit_parametric(N, D, L)
        boot = fit.bootstrap(resamples, seed, starts=2, cluster=cluster)
        row = {"share": float(np.median(N / reference)), "status": fit.status, "R2": fit.r2, "E": fit.E}
        for quantity in ("alpha", "beta", "a"):
            row[quantity] = fit.values.get(quantity, fit.a)
            row[f"{quantity} low"], row[f"{quantity} high"] = boot.interval(quantity, level)
        value, draws = _at_one_compute(boot, reference, N, np.asarray(D, dtype=float))
        known = draws[np.isfinite(draws)]
        row["a at one C"] = value
        ends = np.quantile(known, [(1 - level) / 2, (1 + level) / 2]) if len(known) > len(draws) / 2 else (np.nan, np.nan)
        row["a at one C low"], row["a at one C high"] = map(float, ends)
        rows[name] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("N counts")


def _at_one_compute(boot: Bootstrap, reference: np.ndarray, N: np.ndarray, D: np.ndarray) -> tuple[float, np.ndarray]:
    """Exponent of the counted N* in C = 6 reference D: of the fit, and of each refit (R,); NaN where the best size is an end one."""
    sizes, where = np.unique(reference, return_index=True)
    along = np.geomspace(sizes[0], sizes[-1], SIZES)
    # The counted N follows the reference's as smoothly as widths and depths do: a parabola in logs.
    curve = np.polyfit(np.log(sizes), np.log(N[where]), min(2, len(sizes) - 1))
    counted = np.exp(np.polyval(curve, np.log(along)))
    C = np.geomspace(*np.quantile(FLOPS_PER_PARAMETER_TOKEN * reference * D, [0.1, 0.9]), BUDGETS)
    law = boot.fit.law
    E, A, B, alpha, beta = law.natural(np.vstack([boot.fit.theta, boot.theta])).T[:, :, None, None]
    tokens = C[:, None] / (FLOPS_PER_PARAMETER_TOKEN * along)
    with np.errstate(over="ignore", invalid="ignore"):
        best = np.argmin(E + A * counted**-alpha + B * tokens**-beta, axis=2)  # (R, budgets)
    inside = (best > 0) & (best < SIZES - 1)
    x, y = np.log(C), np.log(counted[best])
    weight = inside.astype(float)
    n = weight.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        centre = (weight @ x / n)[:, None]
        slope = np.sum(weight * (x - centre) * y, axis=1) / np.sum(weight * (x - centre) ** 2, axis=1)
    slope[n < 3] = np.nan
    return float(slope[0]), slope[1:]
