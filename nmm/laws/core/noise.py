"""The noise around a fitted law: its size from run to run, and what runs of a cluster share.

Runs are seldom independent and alike. Budgets branched off one trunk share its luck, and noise often falls with the
budget. Both move how far an estimate scatters, so both are measured on the residuals here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from nmm.laws.core.clusters import Clusters, clusters
from nmm.laws.core.fitted import Fitted

OUTLYING = 4.0  # residuals beyond this many robust standard deviations are pulled in before variances are taken
ROUNDING = 1e-12  # residuals of noise-free data
ROUNDING_OF_SLOPES = 1e-9  # of a quantity's gradient by differences, relative


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Noise of a fit in units of the loss's residual; `sensitivity` (n, p) is the derivative of the residual by phi."""

    sensitivity: np.ndarray
    standard: np.ndarray  # (n,) residuals over their relative size
    size: np.ndarray  # (n,) relative size of the noise of each run, around 1
    inside: np.ndarray  # (n,) E[psi'] of each run
    square: np.ndarray  # (n,) E[psi^2] of each run
    score: np.ndarray  # (n,) psi of each run
    unit: float
    free: int  # runs minus parameters
    labels: np.ndarray | None = None  # (n,) clusters of the runs, 0 .. clusters - 1
    correlation: float = 0.0  # of two runs of a cluster

    @cached_property
    def shared(self) -> Clusters | None:
        """What the clusters of the runs do to estimates."""
        if self.labels is None:
            return None
        return clusters(self.labels, self.sensitivity / self.unit, self.score, self.inside, self.correlation)

    def seen_from(self, fit: Fitted, phi: np.ndarray) -> Noise:
        """The same noise where the law's derivatives are those at phi (p,)."""
        return replace(self, sensitivity=_sensitivity(fit, phi))

    @property
    def exact(self) -> bool:
        """True for noise-free data, whose residuals are rounding."""
        return bool(np.sqrt(np.mean((self.standard * self.size) ** 2)) < ROUNDING)

    @property
    def information(self) -> np.ndarray:
        """Expected Hessian of the scaled objective (p, p)."""
        scaled = self.sensitivity / self.unit
        return scaled.T @ (self.inside[:, None] * scaled)

    def scale(self, slope: np.ndarray) -> tuple[float, float, float]:
        """Of a quantity with gradient `slope` (p,): 1 / (its curvature in the objective); what turns twice the objective's
        rise along it into a squared t statistic (curvature over sandwich); and the degrees of freedom of that."""
        # Differences leave rounding in a gradient, which directions that hardly move a prediction would blow up.
        slope = np.where(np.abs(slope) > ROUNDING_OF_SLOPES * np.max(np.abs(slope), initial=0.0), slope, 0.0)
        inverse = np.linalg.pinv(self.information, rcond=1e-10, hermitian=True)
        curvature = float(slope @ inverse @ slope)
        along = slope @ self.shared.whitening if self.shared is not None else np.zeros(1)
        if along.any():
            along = along / np.linalg.norm(along)
            variance = float(self.shared.covariance(along[:, None])[0, 0])
            return curvature, 1.0 / variance if variance > 0 else np.inf, self.shared.free(along)
        influence = self.sensitivity / self.unit @ (inverse @ slope)
        variance = float(np.sum(influence**2 * self.square))
        return curvature, curvature / variance if variance > 0 else np.inf, float(max(self.free, 1))

    @property
    def overall_scale(self) -> float:
        """What turns twice a rise of the objective into a sum of squared t statistics, for several quantities at once."""
        return float(np.mean(self.inside) / np.mean(self.square))


def measure(fit: Fitted, cluster: np.ndarray | None = None) -> Noise:
    """The noise of a fit; `cluster` (n,) names the runs that share something besides the law.

    Raises:
        ValueError: not one label a run, or a single cluster.
    """
    residual = fit.loss.residual(fit.predicted, fit.observed)
    sensitivity = _sensitivity(fit, fit.phi)
    size = relative_size(fit, residual)
    standard, unit, free = residual / size, fit.loss.unit, fit.n_runs - len(fit.phi)
    correction = fit.n_runs / max(free, 1)
    if fit.loss.robust:
        inside, square = _huber_moments(standard, size, fit.loss.delta)
        square = square * correction
    else:
        inside, square = np.ones(fit.n_runs), size**2 * np.mean(standard**2) * correction / unit**2
    score = np.clip(residual / unit, -1, 1) if fit.loss.robust else residual / unit
    found = Noise(sensitivity=sensitivity, standard=standard, size=size, inside=inside, square=square, score=score, unit=unit, free=free)
    if cluster is None or (labels := checked_labels(cluster, fit.n_runs)).max() + 1 == fit.n_runs:  # a label for each run names no clusters
        return found
    return replace(found, labels=labels, correlation=_correlation(standard, sensitivity / size[:, None], labels))


def _sensitivity(fit: Fitted, phi: np.ndarray) -> np.ndarray:
    """Derivative of the residual by phi at phi, (n, p)."""
    prediction, jacobian, _ = fit.bound.evaluate(phi[None])
    return (jacobian[0] / (prediction[0] if fit.loss.logarithmic else 1.0)).T


def checked_labels(cluster: np.ndarray, n: int) -> np.ndarray:
    """Labels of clusters as numbers 0 .. clusters - 1 (n,).

    Raises:
        ValueError: not one label a run, or a single cluster.
    """
    cluster = np.asarray(cluster)
    if cluster.shape[:1] != (n,) or cluster.ndim > 2:
        raise ValueError(f"cluster must be one label a run, ({n},): got shape {cluster.shape}")
    _, labels = np.unique(cluster.astype(str), axis=0, return_inverse=True)
    if labels.max() == 0:
        raise ValueError(f"cluster puts all {n} runs into one cluster: what they share cannot be told from the law")
    return labels.ravel()


def relative_size(fit: Fitted, residual: np.ndarray) -> np.ndarray:
    """Size of the noise of each run, around 1: a power law of the inputs through the residuals' absolute values."""
    size = np.abs(residual)
    middle = np.median(size)
    columns = [np.log(column) for column in fit.columns.values() if column.ndim == 1 and np.all(column > 0)]
    columns = [column - column.mean() for column in columns if np.ptp(column) > 1e-6]
    if not columns or middle < ROUNDING or fit.n_runs < len(fit.phi) + 5 * len(columns):
        return np.ones(fit.n_runs)
    # The fit passes through some runs exactly: their residual says nothing, so small ones count as a tenth of the middle.
    height = np.log(np.clip(size, 0.1 * middle, 10 * middle))
    design = np.column_stack([np.ones(fit.n_runs), *columns])
    slopes = np.linalg.lstsq(design, height, rcond=None)[0]
    rest = height - design @ slopes
    slopes[0] = 0.0
    # Shrunk by what chance alone would give (James-Stein): noise that does not differ stays even.
    by_chance = len(columns) * np.mean(rest**2) / max(np.sum((design @ slopes) ** 2), 1e-300)
    slopes *= max(0.0, 1.0 - by_chance)
    return np.exp(np.clip(design @ slopes, -3.0, 3.0))


def _robust_deviation(values: np.ndarray) -> float:
    """Standard deviation, not moved by a few outliers: the smaller of it and of the quartiles' distance / 1.349."""
    return float(min(np.std(values, ddof=1), np.subtract(*np.quantile(values, [0.75, 0.25])) / 1.349))


def _huber_moments(standard: np.ndarray, size: np.ndarray, delta: float) -> tuple[np.ndarray, np.ndarray]:
    """E[psi'] and E[psi^2] of each run, psi the derivative of Huber's loss, from the pooled residuals (n,)."""
    from scipy.special import ndtr  # here: half a second that `import nmm.laws` need not pay

    # P(|r| < delta) from a smooth density: counting the few runs inside the threshold would be all noise.
    width = max(_robust_deviation(standard), 1e-300) * (0.75 * len(standard)) ** -0.2  # Silverman's rule, Gaussian kernel
    some = standard if len(standard) <= 2000 else np.quantile(standard, (np.arange(2000) + 0.5) / 2000)
    levels = np.unique(size) if np.ptp(size) == 0 else np.geomspace(size.min(), size.max(), 32)
    edge = delta / levels[:, None]
    inside = np.mean(ndtr((edge - some) / width) - ndtr((-edge - some) / width), axis=1)
    square = np.mean(np.clip(some / edge, -1, 1) ** 2, axis=1)
    return np.interp(size, levels, inside), np.interp(size, levels, square)


def _correlation(standard: np.ndarray, sensitivity: np.ndarray, labels: np.ndarray) -> float:
    """Intraclass correlation from residuals, with what the fit took away given back (moments)."""
    limit = OUTLYING * max(_robust_deviation(standard), 1e-300)
    basis = np.linalg.svd(sensitivity / np.linalg.norm(sensitivity, axis=0), full_matrices=False)
    basis = basis[0][:, basis[1] > 1e-9 * basis[1][0]]
    kept = np.clip(standard, -limit, limit)
    kept = kept - basis @ (basis.T @ kept)
    count = np.bincount(labels).astype(float)
    sums = np.stack([np.bincount(labels, column) for column in basis.T])  # (p, clusters)
    gram = np.diag(count) - sums.T @ sums  # of cluster totals when the noise has variance one
    trace, squares = float(np.trace(gram)), float(np.sum(gram**2))
    size, free = squares / trace, trace**2 / squares  # effective number of runs in a cluster, and of clusters
    total, clustered = float(kept @ kept), float(np.sum(np.bincount(labels, kept) ** 2))
    within = max(total - clustered / size, 0.05 * total) / max(len(labels) - basis.shape[1] - free, 1.0)
    shared = max(clustered / trace - within, 0.0) / size
    return shared / (shared + within)
