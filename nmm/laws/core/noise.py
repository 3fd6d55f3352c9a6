"""The noise around a fitted law: its size from run to run, what runs of a cluster share, and draws of it.

Runs are seldom independent and alike. Budgets branched off one trunk share its luck, and noise often falls with the
budget. Both move how far an estimate scatters, so both are measured on the residuals here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nmm.laws.core.fitted import Fitted

OUTLYING = 4.0  # residuals beyond this many robust standard deviations are pulled in before variances are taken
ROUNDING = 1e-12  # residuals of noise-free data


@dataclass(frozen=True, kw_only=True)
class Shared:
    """Variance between and within clusters, each with the degrees of freedom that the fit leaves to it."""

    labels: np.ndarray  # (n,) 0 .. clusters - 1
    between: float  # mean square of the cluster totals, (1 + (size - 1) correlation) times the variance
    between_free: float
    within: float
    within_free: float
    size: float  # effective number of runs in a cluster

    @property
    def correlation(self) -> float:
        """Intraclass correlation of the noise."""
        trunk = max(self.between - self.within, 0.0) / self.size
        return trunk / (trunk + self.within)


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Noise of a fit in units of the loss's residual; `sensitivity` (n, p) is the derivative of the residual by phi."""

    sensitivity: np.ndarray
    standard: np.ndarray  # (n,) residuals over their relative size
    size: np.ndarray  # (n,) relative size of the noise of each run, around 1
    inside: np.ndarray  # (n,) E[psi'] of each run
    square: np.ndarray  # (n,) E[psi^2] of each run
    unit: float
    free: int  # runs minus parameters
    shared: Shared | None

    @property
    def exact(self) -> bool:
        """True for noise-free data, whose residuals are rounding."""
        return bool(np.sqrt(np.mean((self.standard * self.size) ** 2)) < ROUNDING)

    @property
    def information(self) -> np.ndarray:
        """Expected Hessian of the scaled objective (p, p)."""
        scaled = self.sensitivity / self.unit
        return scaled.T @ (self.inside[:, None] * scaled)

    def scale(self, slope: np.ndarray) -> tuple[float, float]:
        """Of a quantity with gradient `slope` (p,): 1 / (its curvature in the objective), and what turns twice the
        objective's rise along it into a squared t statistic of independent runs (sandwich over curvature)."""
        inverse = np.linalg.pinv(self.information, rcond=1e-10, hermitian=True)
        curvature = float(slope @ inverse @ slope)
        influence = self.sensitivity / self.unit @ (inverse @ slope)
        variance = float(np.sum(influence**2 * self.square))
        return curvature, curvature / variance if variance > 0 else np.inf

    @property
    def overall_scale(self) -> float:
        """What turns twice a rise of the objective into a sum of squared t statistics, for several quantities at once."""
        return float(np.mean(self.inside) / np.mean(self.square))

    def draws(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Residuals of `n` studies like this one (n, runs), given clusters.

        Each study has its own variances, drawn from what the residuals leave open (scaled inverse chi-square): with
        few clusters that is what widens an interval, as Student's t does for a mean. Effects of clusters are normal;
        the rest is resampled from the residuals, so that heavy tails stay heavy.
        """
        shared = self.shared
        between = shared.between * shared.between_free / rng.chisquare(shared.between_free, n)
        within = shared.within * shared.within_free / rng.chisquare(shared.within_free, n)
        trunk = np.sqrt(np.maximum(between - within, 0.0) / shared.size)
        effect = rng.normal(size=(n, shared.labels.max() + 1))[:, shared.labels]
        means = np.bincount(shared.labels, self.standard) / np.bincount(shared.labels)
        pool = (self.standard - means[shared.labels])[np.bincount(shared.labels)[shared.labels] > 1]
        pool = pool / np.sqrt(np.mean(pool**2))
        # A little normal noise, of Silverman's width: resampled residuals would repeat values exactly.
        smooth = 0.9 * len(pool) ** -0.2 * min(1.0, _robust_deviation(pool))
        shape = (n, len(self.standard))
        rest = (rng.choice(pool, shape) + smooth * rng.normal(size=shape)) / np.hypot(1.0, smooth)
        return self.size * (trunk[:, None] * effect + np.sqrt(within)[:, None] * rest)


def measure(fit: Fitted, cluster: np.ndarray | None = None) -> Noise:
    """The noise of a fit; `cluster` (n,) names the runs that share something besides the law.

    Raises:
        ValueError: not one label a run, or a single cluster.
    """
    residual = fit.loss.residual(fit.predicted, fit.observed)
    prediction, jacobian, _ = fit.bound.evaluate(fit.phi[None])
    sensitivity = (jacobian[0] / (prediction[0] if fit.loss.logarithmic else 1.0)).T
    size = relative_size(fit, residual)
    standard, unit, free = residual / size, fit.loss.unit, fit.n_runs - len(fit.phi)
    correction = fit.n_runs / max(free, 1)
    if fit.loss.robust:
        inside, square = _huber_moments(standard, size, fit.loss.delta)
        square = square * correction
    else:
        inside, square = np.ones(fit.n_runs), size**2 * np.mean(standard**2) * correction / unit**2
    shared = None
    if cluster is not None:
        labels = checked_labels(cluster, fit.n_runs)
        if labels.max() + 1 < fit.n_runs:  # a label for each run names no clusters
            shared = _components(standard, sensitivity / size[:, None], labels)
    return Noise(sensitivity=sensitivity, standard=standard, size=size, inside=inside, square=square, unit=unit, free=free, shared=shared)


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


def _components(standard: np.ndarray, sensitivity: np.ndarray, labels: np.ndarray) -> Shared:
    """Variances between and within clusters from residuals, with what the fit took away given back (moments)."""
    limit = OUTLYING * max(_robust_deviation(standard), 1e-300)
    basis = np.linalg.svd(sensitivity / np.linalg.norm(sensitivity, axis=0), full_matrices=False)
    basis = basis[0][:, basis[1] > 1e-9 * basis[1][0]]
    kept = np.clip(standard, -limit, limit)
    kept = kept - basis @ (basis.T @ kept)
    count = np.bincount(labels).astype(float)
    sums = np.stack([np.bincount(labels, column) for column in basis.T])  # (p, clusters)
    gram = np.diag(count) - sums.T @ sums  # of cluster totals when the noise has variance one
    trace, squares = float(np.trace(gram)), float(np.sum(gram**2))
    size, between_free = squares / trace, trace**2 / squares
    total, clustered = float(kept @ kept), float(np.sum(np.bincount(labels, kept) ** 2))
    within_free = max(len(labels) - basis.shape[1] - between_free, 1.0)
    within = max(total - clustered / size, 0.05 * total) / within_free
    return Shared(
        labels=labels, between=clustered / trace, between_free=between_free, within=within, within_free=within_free, size=size
    )
