"""What is wrong with a fit in ways that its minimum does not show: runs far off, a law that does not describe them, no runs to spare."""

from __future__ import annotations

import numpy as np

from nmm.laws.core.fitted import Fitted
from nmm.laws.core.noise import relative_size

STATUSES = ("ok", "weak", "unidentified", "misfit")
FAR = 8.0  # robust standard deviations beyond which a run is named: 1 in 2000 even under Student's t with 3 degrees
LEAST_FAR = 1e-3  # log units; nearer runs are never called far
FEW = 0.10  # more than this share of runs far off, and the law does not describe the runs
LOW_R2 = 0.5  # below it the law explains less than half of what the runs differ by
CONSTANT = 1e-6  # relative spread of the observed values below which there is nothing to explain
NAMED = 5  # far runs named in a warning


def outliers(fit: Fitted) -> np.ndarray:
    """Positions of the runs far from the law, the farthest first.

    Distances are robust standard deviations of the residuals, each over the size that noise has at such runs.
    """
    if fit.n_runs <= len(fit.phi) + 1:
        return np.array([], dtype=int)
    residual = fit.loss.residual(fit.predicted, fit.observed)
    size = relative_size(fit, residual)
    quartiles = np.quantile(residual / size, [0.25, 0.75])
    limit = np.maximum(FAR * np.ptp(quartiles) / 1.349 * size, LEAST_FAR)
    distance = np.abs(residual)
    far = np.flatnonzero(distance > limit)
    return far[np.argsort(-(distance / limit)[far])]


def misfit(fit: Fitted, far: np.ndarray) -> list[str]:
    """Why the law does not describe the runs, in words; empty where it does."""
    words = []
    if not fit.r2 >= LOW_R2:
        without = np.setdiff1d(np.arange(fit.n_runs), far)
        rest = ""
        if 0 < len(far) <= FEW * fit.n_runs:
            rest = f"; without the {len(far)} runs named above it is {_r2(fit.predicted[without], fit.observed[without]):.2f}"
        words.append(f"R2 = {fit.r2:.2f}: the law explains less than half of what the runs differ by{rest}; look for diverged runs, "
                     "mixed settings or other units")
    if len(far) > FEW * fit.n_runs:
        words.append(f"{len(far)} of {fit.n_runs} runs are far from the law: these runs do not follow one law; fit groups of like runs")
    return words


def named(fit: Fitted, far: np.ndarray) -> list[str]:
    """A warning that names the runs far off."""
    if not len(far):
        return []
    which = ", ".join(f"{position} ({100 * np.expm1(-fit.residuals[position]):+.0f} %)" for position in far[:NAMED])
    more = f" and {len(far) - NAMED} more" if len(far) > NAMED else ""
    return [f"far from the law, position (observed over predicted): {which}{more}; the fit leans on them little, look why"]


def saturated(fit: Fitted) -> list[str]:
    """Why nothing is identified: as many parameters as runs, or values that do not differ."""
    if np.ptp(fit.observed) <= CONSTANT * np.median(np.abs(fit.observed)):
        return [f"all observed values are {fit.observed[0]:g}: nothing falls, so there is no law to identify"]
    if fit.n_runs <= len(fit.phi):
        return [f"{fit.n_runs} runs for {len(fit.phi)} unknowns: any noise is fitted exactly, and nothing says how far off the values are"]
    return []


def _r2(predicted: np.ndarray, observed: np.ndarray) -> float:
    return float(1 - np.sum((predicted - observed) ** 2) / np.sum((observed - observed.mean()) ** 2))
