"""Which law: cross-validation and an information criterion, the same for every fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nmm.laws.core.fitted import MANY
from nmm.laws.core.fitting import Fit
from nmm.laws.forms.parametric import ParametricFit, fit_parametric

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


@dataclass(frozen=True, kw_only=True)
class HoldOut:
    """Runs left out and predicted from the rest."""

    what: str  # which runs
    rows: np.ndarray  # their positions
    errors: np.ndarray  # ln(predicted) - ln(observed) of each
    inside: int  # how many lie in their prediction interval
    level: float

    @property
    def failed(self) -> bool:
        """Whether fewer than half of the runs lie where the rest says that most will."""
        return self.inside < 0.5 * len(self.rows)

    @property
    def record(self) -> dict:
        """Everything as plain values, for JSON."""
        return {"what": self.what, "runs": len(self.rows), "mean absolute error": float(np.mean(np.abs(self.errors))),
                "mean error": float(np.mean(self.errors)), "inside": self.inside, "level": self.level, "failed": self.failed}

    @property
    def words(self) -> str:
        """The finding as a clause."""
        mean = 100 * float(np.mean(np.abs(self.errors)))
        return (f"{self.what} held out ({len(self.rows)} runs): off by {mean:.2g} % on average, {100 * float(np.mean(self.errors)):+.2g} % "
                f"in the mean; {self.inside} of {len(self.rows)} in their {100 * self.level:g} % interval")


def largest_model_out(fit: Fit) -> np.ndarray:
    """ln(predicted) - ln(observed) of the largest model's runs, predicted from all smaller ones.

    Raises:
        ValueError: there is one model size only.
    """
    N = fit.columns["N"]
    largest = N == N.max()
    if largest.all():
        raise ValueError("all runs have one model size: none can be left out")
    return predicted_from_the_rest(fit, largest)


def hold_outs(fit: ParametricFit, cluster: np.ndarray | None = None, level: float = 0.95, n: int = 200, seed: int = 0) -> list[HoldOut]:
    """The largest size and the largest budget, each left out and predicted from the rest with a prediction interval.

    Args:
        cluster: as in `Fit.profile`.
        n: resamples of the rest. Of very many runs a sample is taken, and 20 resamples.
    Returns:
        Those that can be tried: where the rest has at least eight runs of three sizes and three budgets.
    """
    N, D, observed = fit.columns["N"], fit.columns["D"], fit.observed
    labels = None if cluster is None else np.asarray(cluster)
    rows = np.arange(len(N))
    if len(N) > MANY:
        rows = np.sort(np.random.default_rng(seed).choice(len(N), MANY, replace=False))
        N, D, observed, labels = N[rows], D[rows], observed[rows], None if labels is None else labels[rows]
    C = N * D
    found = []
    for what, out in (("the largest size", N > 0.98 * N.max()), ("the largest budget", C > 0.9 * C.max())):
        rest = ~out
        if rest.sum() < 8 or len(np.unique(N[rest])) < 3 or len(np.unique(D[rest])) < 3:
            continue
        again = fit_parametric(N[rest], D[rest], observed[rest], fit.loss.delta, fit.loss.name)
        errors, inside = _interval_errors(again, {"N": N[out], "D": D[out]}, observed[out], None if labels is None else labels[rest], level,
                                          n if len(N) < MANY else 20, seed)
        found.append(HoldOut(what=what, rows=rows[out], errors=errors, inside=inside, level=level))
    return found


def hold_out(
    fit: ParametricFit, what: str, out: np.ndarray, cluster: np.ndarray | None = None, level: float = 0.95, n: int = 200, seed: int = 0,
) -> HoldOut:
    """Any runs left out and predicted from the rest, as `hold_outs` does with the largest.

    Args:
        what: which runs, in words; out: mask (n,).
    Raises:
        ValueError: nothing is left out, or the rest cannot be fitted.
    """
    if not np.any(out):
        raise ValueError(f"nothing is left out as {what}")
    N, D, observed = fit.columns["N"], fit.columns["D"], fit.observed
    again = fit_parametric(N[~out], D[~out], observed[~out], fit.loss.delta, fit.loss.name)
    labels = None if cluster is None else np.asarray(cluster)[~out]
    errors, inside = _interval_errors(again, {"N": N[out], "D": D[out]}, observed[out], labels, level, n, seed)
    return HoldOut(what=what, rows=np.flatnonzero(out), errors=errors, inside=inside, level=level)


def _interval_errors(
    again: ParametricFit, held: dict[str, np.ndarray], observed: np.ndarray, labels: np.ndarray | None, level: float, n: int, seed: int,
) -> tuple[np.ndarray, int]:
    """ln(predicted) - ln(observed) of runs by a fit to others, whose clusters `labels` names, and how many lie in their interval."""
    known = labels is not None and len(np.unique(labels)) > 1
    low, high = again.bootstrap(n, seed, starts=2, cluster=labels if known else None).prediction_interval(held, level)
    return np.log(again.predict(**held)) - np.log(observed), int(np.sum((low <= observed) & (observed <= high)))


def predicted_from_the_rest(fit: Fit, out: np.ndarray) -> np.ndarray:
    """ln(predicted) - ln(observed) of some runs, from a refit without them.

    Args:
        out: mask (n,) of the runs left out.
    """
    theta, _ = fit.refit((~out).astype(float)[None], starts=5)
    held = {name: column[out] for name, column in fit.columns.items()}
    return np.log(fit.law.predict(fit.law.natural(theta[0]), held)) - np.log(fit.observed[out])


def aicc(fit: Fit, independent: int | None = None) -> float:
    """Akaike's criterion with its correction for few runs; n ln(mean squared log error) stands for -2 ln likelihood.

    Args:
        independent: how many runs the fit's are worth where they share their luck, as the number of their trunks; None: all.
    Source: Hurvich & Tsai 1989.
    """
    n, p = independent or fit.n_runs, len(fit.phi) + 1  # the scale of the noise is estimated too
    return float(n * np.log(np.mean(fit.residuals**2)) + 2 * p + 2 * p * (p + 1) / max(n - p - 1, 1))


def compare_laws(fits: dict[str, Fit], folds: int = 10, seed: int = 0) -> pd.DataFrame:
    """Laws fitted to the same observed values, side by side.

    Returns:
        One row a law: number of parameters p, R2, mean absolute error [%] in and out of sample (`folds`-fold
        cross-validation, the same folds for all), and AICc (see `aicc`) and its difference from the best.
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
        rows[name] = {
            "p": len(fit.phi),
            "R2": fit.r2,
            "error [%]": 100 * np.mean(np.abs(fit.residuals)),
            "held-out error [%]": 100 * np.mean(np.abs(held_out_errors(fit, groups))),
            "AICc": aicc(fit),
        }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("law")
    return table.assign(**{"AICc difference": table["AICc"] - table["AICc"].min()})
