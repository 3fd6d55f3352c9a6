"""Runs that share something besides the law, such as a trunk: how far an estimate scatters with them.

The variance is the cluster-robust one with the jackknife's correction (CR3, Bell & McCaffrey 2002): what a cluster pulls at
the estimate is measured on residuals, enlarged by what the fit to that cluster took off them. Its own uncertainty is that of
a chi-square with few degrees of freedom (Satterthwaite), so intervals take quantiles of Student's t. Which runs hold a value
depends on the value, where a law bends (a floor that the fit has let go to zero is held by other runs than a true one): so the
law's derivatives are taken where the value is tested. Tried beside it on the studies of benchmarks/laws_coverage.py: CR2,
variance components, derivatives of the best fit, residuals of the tested one, and studies redrawn with the clusters' noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEAST_LEFT = 1e-4  # of a cluster's residual that the fit leaves; less counts as this


@dataclass(frozen=True, kw_only=True)
class Clusters:
    """What clusters of runs do to estimates, in coordinates in which the objective's curvature is one.

    `whitening` (p, p) turns a gradient by phi into these coordinates: `gradient @ whitening`; `inverse` (p, p) a step of phi:
    `inverse @ step`.
    """

    labels: np.ndarray  # (n,) 0 .. clusters - 1
    correlation: float  # of two runs of a cluster beyond the law
    whitening: np.ndarray
    inverse: np.ndarray
    gram: np.ndarray  # (clusters, p, p) share of the curvature that is a cluster's
    total: np.ndarray  # (clusters, p) sum of the whitened sensitivities
    pull: np.ndarray  # (clusters, p) sum of the whitened scores

    @property
    def count(self) -> int:
        """Number of clusters."""
        return len(self.gram)

    def _adjusted(self, directions: np.ndarray) -> np.ndarray:
        """The jackknife's correction (I - gram)^-1 of directions (p, q), for each cluster (clusters, p, q)."""
        values, vectors = np.linalg.eigh(np.eye(self.gram.shape[1]) - self.gram)
        return vectors @ ((vectors.transpose(0, 2, 1) @ directions) / np.maximum(values, LEAST_LEFT)[:, :, None])

    def covariance(self, directions: np.ndarray) -> np.ndarray:
        """Covariance of the whitened estimate along orthonormal directions (p, q), (q, q); one where runs are independent."""
        each = np.einsum("gpq,gp->gq", self._adjusted(directions), self.pull)
        return each.T @ each

    def free(self, direction: np.ndarray) -> float:
        """Degrees of freedom of the variance along a direction (p,), for runs with this correlation in clusters."""
        weight = self._adjusted(direction[:, None])[:, :, 0]
        kept = np.einsum("gpq,gq->gp", self.gram, weight)
        alone = np.diag(np.sum(weight * kept, axis=1)) - kept @ kept.T
        together = np.diag(np.sum(weight * self.total, axis=1)) - kept @ self.total.T
        form = (1 - self.correlation) * alone + self.correlation * together @ together.T
        return float(np.trace(form) ** 2 / np.sum(form**2))

    def test(self, directions: np.ndarray, rise: float) -> float:
        """Probability that chance raises twice the objective along orthonormal directions (p, q) by more than `rise`.

        Source: Rao & Scott 1984, second-order correction, with the degrees of freedom of the variances for the denominator.
        """
        from scipy.special import fdtrc  # here: half a second that `import nmm.laws` need not pay

        values, vectors = np.linalg.eigh(self.covariance(directions))
        values = np.maximum(values, 0.0)
        free = np.array([self.free(direction) for direction in (directions @ vectors).T])
        return float(fdtrc(values.sum() ** 2 / np.sum(values**2), float(values @ free / values.sum()), rise / values.sum()))


def clusters(labels: np.ndarray, sensitivity: np.ndarray, score: np.ndarray, inside: np.ndarray, correlation: float) -> Clusters:
    """Clusters of a fit.

    Args:
        labels: (n,) 0 .. clusters - 1.
        sensitivity: (n, p) derivative of the scaled residuals by phi; score: (n,) derivative of the scaled loss by them;
            inside: (n,) its expected second derivative.
        correlation: of two runs of a cluster.
    """
    root = np.sqrt(inside)[:, None] * sensitivity
    length = np.maximum(np.linalg.norm(root, axis=0), 1e-300)  # a floor near zero moves nothing, and is a direction all the same
    values, vectors = np.linalg.eigh((root / length).T @ (root / length))
    kept = values > 1e-10 * values[-1]
    whitening = vectors[:, kept] / np.sqrt(values[kept]) / length[:, None]
    basis, order = root @ whitening, np.argsort(labels, kind="stable")
    first = np.searchsorted(labels[order], np.arange(labels.max() + 1))
    pairs = (basis[:, :, None] * basis[:, None, :])[order]
    return Clusters(
        labels=labels, correlation=correlation, whitening=whitening, inverse=(vectors[:, kept] * np.sqrt(values[kept])).T * length,
        gram=np.add.reduceat(pairs, first), total=np.add.reduceat(basis[order], first),
        pull=np.add.reduceat((sensitivity * score[:, None] @ whitening)[order], first),
    )  # fmt: skip
