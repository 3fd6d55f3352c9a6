"""Profile likelihood: the values of one quantity that the runs do not rule out, all else refitted.

The statistic is the likelihood ratio of a robust fit, 2 (Q(t) - Q) E[psi'] / E[psi^2], compared with F(1, n - p)
(Koenker & Machado 1999 for the median; Heritier & Ronchetti 1994). The Huber threshold is far below the noise, so
the plain ratio, without the factor, would be off by the ratio of noise to threshold.
"""

from collections.abc import Callable

import numpy as np

from nmm.laws.core import solver
from nmm.laws.core.fitting import FULL_STARTS, Fit

TOLERANCE = 2e-3  # on the root of the statistic: far below what the data resolves
MAX_TRIALS = 40
STIFFNESS = 30.0  # of the pull towards a value, in units of the curvature of the fit along it
FARTHEST = 60.0  # beyond this many log units or natural units a side counts as not limited


def critical_value(level: float, free: int) -> float:
    """The value that the statistic exceeds with probability 1 - level, for `free` degrees of freedom."""
    from scipy.special import fdtri  # here: half a second that `import nmm.laws` need not pay

    return float(fdtri(1, max(free, 1), level))


class Pull:
    """The penalty `stiffness/2 (quantity - target)^2` with its derivatives, added to the objective of a fit.

    Its minimiser is the best fit among all with the value of the quantity that it reaches, so no constraint has to
    be met exactly: every minimum is a point of the profile.
    """

    def __init__(self, quantity: Callable, transform: np.ndarray, target: float, stiffness: float):
        self.quantity, self.transform, self.target, self.stiffness = quantity, transform, target, stiffness

    def slope_and_curve(self, phi: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Value, gradient and Hessian of the quantity at phi (p,) by central differences."""
        p = len(phi)
        h = 1e-4 * np.maximum(np.abs(phi), 0.1)
        i, j = np.triu_indices(p)
        steps = np.concatenate(
            [
                np.zeros((1, p)),
                np.diag(h),
                -np.diag(h),
                *(
                    np.eye(p)[i] * (a * h[i])[:, None] + np.eye(p)[j] * (b * h[j])[:, None]
                    for a, b in ((1, 1), (1, -1), (-1, 1), (-1, -1))
                ),
            ]
        )
        values = self.quantity((phi + steps) @ self.transform.T)
        gradient = (values[1 : p + 1] - values[p + 1 : 2 * p + 1]) / (2 * h)
        pp, pm, mp, mm = values[2 * p + 1 :].reshape(4, -1)
        hessian = np.zeros((p, p))
        hessian[i, j] = (pp - pm - mp + mm) / (4 * h[i] * h[j])
        hessian[j, i] = hessian[i, j]
        return float(values[0]), gradient, hessian

    def __call__(self, phi: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Penalty, gradient and Hessian for each row of phi (R, p)."""
        values, gradients, hessians = [], [], []
        for row in phi:
            value, slope, curve = self.slope_and_curve(row)
            excess = value - self.target
            values.append(0.5 * self.stiffness * excess**2)
            gradients.append(self.stiffness * excess * slope)
            hessians.append(self.stiffness * (np.outer(slope, slope) + excess * curve))
        return np.array(values), np.array(gradients), np.array(hessians)


def statistic_scale(fit: Fit) -> tuple[float, float]:
    """E[psi'] / E[psi^2] and E[psi'] at the residuals; the first turns scaled objectives into half a chi-square.

    The first is infinite for residuals at rounding level: noise-free data rules out everything but the fit.
    """
    residual = fit.loss.residual(fit.predicted, fit.observed)
    free = fit.n_runs - len(fit.phi)
    if np.sqrt(np.mean(residual**2)) < 1e-12:
        return np.inf, 1.0
    u = residual / fit.loss.unit
    if not fit.loss.robust:
        return free / np.sum(u * u), 1.0
    from scipy.special import ndtr

    # P(|r| < delta) from a smooth density: counting the few runs inside the threshold would be all noise.
    width = np.std(residual, ddof=1) * (0.75 * len(residual)) ** -0.2  # Silverman's rule for a Gaussian kernel
    inside = float(np.mean(ndtr((fit.loss.delta - residual) / width) - ndtr((-fit.loss.delta - residual) / width)))
    return inside * free / np.sum(np.clip(u, -1, 1) ** 2), inside


def profile_interval(fit: Fit, quantity: Callable, level: float) -> tuple[float, float]:
    """Interval of `quantity`, a smooth function of theta (R, p) to (R,), by profile likelihood.

    An end that the runs do not limit is minus or plus infinity.
    """
    centre = float(quantity(fit.theta[None])[0])
    if not np.isfinite(centre):
        return np.nan, np.nan
    free = fit.n_runs - len(fit.phi)
    if free < 1:
        return -np.inf, np.inf
    scale, inside = statistic_scale(fit)
    if np.isinf(scale):
        return centre, centre
    critical = np.sqrt(critical_value(level, free))
    # What a parabola would say: variance of the quantity per unit of the objective, then the half-width.
    prediction, jacobian, _ = fit.bound.evaluate(fit.phi[None], slice(0, min(fit.n_runs, FULL_STARTS)))
    sensitivity = jacobian[0] / (prediction[0] if fit.loss.logarithmic else 1.0) / fit.loss.unit
    information = inside * sensitivity @ sensitivity.T * fit.n_runs / sensitivity.shape[1]
    slope = Pull(quantity, fit.bound.transform, centre, 1.0).slope_and_curve(fit.phi)[1]
    variance = float(slope @ np.linalg.pinv(information, rcond=1e-10, hermitian=True) @ slope)
    if not (np.isfinite(variance) and variance > 0):
        return -np.inf, np.inf
    width = min(critical * np.sqrt(variance / scale), 4.0)
    stiffness = STIFFNESS * critical**2 / (scale * width**2)
    best = float(solver.objective_and_derivatives(fit.bound, fit.loss, fit.observed, fit.phi[None], None)[0][0])

    def root_at(target: float, start: np.ndarray) -> tuple[float, float, np.ndarray]:
        """Root of the statistic, value reached, and phi, pulled towards `target`."""
        pull = Pull(quantity, fit.bound.transform, target, stiffness)
        found = solver.minimise(fit.bound, fit.loss, fit.observed, start[None], penalty=pull)
        reached = float(quantity(found.phi @ fit.bound.transform.T)[0])
        excess = found.objective[0] - 0.5 * stiffness * (reached - target) ** 2 - best
        return float(np.sqrt(max(2.0 * scale * excess, 0.0))), reached, found.phi[0]

    return tuple(_one_side(root_at, fit.phi, centre, width, critical, sign) for sign in (-1.0, 1.0))


def _one_side(root_at: Callable, phi: np.ndarray, centre: float, width: float, critical: float, sign: float) -> float:
    """The value on one side of the estimate where the root of the statistic reaches `critical`."""
    low, high = (0.0, 0.0, 0.0), None  # target, root and value reached (as distances), below and above critical
    distance = width
    for _ in range(MAX_TRIALS):
        root, reached, found = root_at(centre + sign * distance, phi)
        point = (distance, root, sign * (reached - centre))
        if abs(root - critical) < TOLERANCE * critical:
            return reached
        if root > critical:
            high = point
        else:
            low, phi = point, found
            if distance > FARTHEST:
                return sign * np.inf
        if high is None:
            distance *= np.clip(critical / max(root, 1e-9), 1.2, 3.0)
            continue
        if high[0] - low[0] <= 1e-4 * high[0]:
            break
        # The root grows about linearly with the distance: interpolate between the two sides.
        share = (critical - low[1]) / (high[1] - low[1])
        distance = low[0] + np.clip(share, 0.05, 0.95) * (high[0] - low[0])
    if high is None:        # however far it is pulled, the statistic levels off below the critical value
        return sign * np.inf
    share = (critical - low[1]) / (high[1] - low[1])
    return centre + sign * (low[2] + share * (high[2] - low[2]))
