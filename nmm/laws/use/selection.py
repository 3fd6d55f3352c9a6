"""Which law: cross-validation and an information criterion, the same for every fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nmm.laws.core.fitting import Fit

if TYPE_CHECKING:
    import pandas as pd


def held_out_errors(fit: Fit, groups: np.ndarray, starts: int = 5) -> np.ndarray:
    """ln(predicted) - ln(observed) of each run, predicted from the runs of all other groups.

    Args:
        groups: group of each run (n,): folds, model sizes, mixtures.
    Raises:
        ValueError: not one group a run, or a single group.
    """
    groups = np.asarray(groups)
    levels = np.unique(groups)
    if groups.shape != (fit.n_runs,) or len(levels) < 2:
        raise ValueError(f"groups must be one label a run and at least two in all: got shape {groups.shape}")
    weights = (groups[None] != levels[:, None]).astype(float)
    theta, _ = fit.refit(weights, starts)
    errors = np.empty(fit.n_runs)
    for level, row in zip(levels, theta):
        out = groups == level
        held = {name: column[out] for name, column in fit.columns.items()}
        with np.errstate(invalid="ignore"):
            errors[out] = np.log(fit.law.predict(fit.law.natural(row), held)) - np.log(fit.observed[out])
    return errors


def largest_model_out(fit: Fit) -> np.ndarray:
    """ln(predicted) - ln(observed) of the largest model's runs, predicted from all smaller ones.

    Raises:
        ValueError: there is one model size only.
    """
    N = fit.columns["N"]
    largest = N == N.max()
    if largest.all():
        raise ValueError("all runs have one model size: none can be left out")
    theta, _ = fit.refit((~largest).astype(float)[None], starts=5)
    held = {name: column[largest] for name, column in fit.columns.items()}
    return np.log(fit.law.predict(fit.law.natural(theta[0]), held)) - np.log(fit.observed[largest])


def compare_laws(fits: dict[str, Fit], folds: int = 10, seed: int = 0) -> pd.DataFrame:
    """Laws fitted to the same observed values, side by side.

    Returns:
        One row a law: number of parameters p, R2, mean absolute error [%] in and out of sample (`folds`-fold
        cross-validation, the same folds for all), and AICc and its difference from the best. AICc takes
        n ln(mean squared log error) as -2 ln likelihood (Hurvich & Tsai 1989).
    Raises:
        ValueError: the laws were fitted to different observations, or too few runs for the folds.
    """
    import pandas as pd

    first = next(iter(fits.values()))
    if any(
        fit.n_runs != first.n_runs or not np.allclose(fit.observed, first.observed, rtol=1e-12) for fit in fits.values()
    ):
        raise ValueError("laws can be compared only on the same observed values: convert units before fitting")
    n = first.n_runs
    if not 2 <= folds <= n:
        raise ValueError(f"folds must be between 2 and the number of runs, {n}: got {folds}")
    groups = np.random.default_rng(seed).permutation(n) % folds
    rows = {}
    for name, fit in fits.items():
        p = len(fit.phi) + 1  # the scale of the noise is estimated too
        aicc = n * np.log(np.mean(fit.residuals**2)) + 2 * p + 2 * p * (p + 1) / max(n - p - 1, 1)
        rows[name] = {
            "p": len(fit.phi),
            "R2": fit.r2,
            "error [%]": 100 * np.mean(np.abs(fit.residuals)),
            "held-out error [%]": 100 * np.mean(np.abs(held_out_errors(fit, groups))),
            "AICc": aicc,
        }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("law")
    return table.assign(**{"AICc difference": table["AICc"] - table["AICc"].min()})
