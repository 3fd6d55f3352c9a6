"""Profile likelihood: the values of one quantity that the runs do not rule out, all else refitted.

The statistic is 2 (Q(t) - Q) over what it is by chance. For independent runs that follows from the curvature of the
objective along the quantity and the variance of its estimate (sandwich; Koenker & Machado 1999 for the median,
Heritier & Ronchetti 1994), and F(1, n - p) is its distribution. The Huber threshold is far below the noise, so the
plain ratio would be off by the ratio of noise to threshold; and noise that differs from run to run changes it too.
Where runs share trunks the variance is that of `nmm.laws.core.clusters`, taken anew at each value, and F(1, its degrees of
freedom) the distribution.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nmm.laws.core import solver
from nmm.laws.core.fitted import Fitted
from nmm.laws.core.noise import Noise

TOLERANCE = 2e-3  # on the root of the statistic: far below what the data resolves
MAX_TRIALS = 40
STIFFNESS = 30.0  # of the pull towards a value, in units of the curvature of the fit along it
FARTHEST = 60.0  # beyond this many log units or natural units a side counts as not limited
HYPOTHESIS_STIFFNESS, HYPOTHESIS_STEPS = 1e3, 2  # of the pull towards a value that is tested, and steps on the way

Quantity = Callable[[np.ndarray], np.ndarray]  # theta (R, p) to (R,)


def critical_value(level: float, free: float) -> float:
    """The value that the statistic exceeds with probability 1 - level, for `free` degrees of freedom."""
    from scipy.special import fdtri  # here: half a second that `import nmm.laws` need not pay

    return float(fdtri(1, max(free, 1), level))


class Pull:
    """The penalty `stiffness/2 (quantity - target)^2` with its derivatives, added to the objective of a fit.

    Its minimiser is the best fit among all with the value of the quantity that it reaches, so no constraint has to
    be met exactly: every minimum is a point of the profile.
    """

    def __init__(self, quantity: Quantity, transform: np.ndarray, target: float, stiffness: float):
        self.quantity, self.transform, self.target, self.stiffness = quantity, transform, target, stiffness

    def derivatives(self, phi: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Value (R,), gradient (R, p) and Hessian (R, p, p) of the quantity at phi (R, p) by central differences."""
        replicas, p = phi.shape
        h = 1e-4 * np.maximum(np.abs(phi), 0.1)
        i, j = np.triu_indices(p)
        one = np.eye(p)
        pairs = [a * one[i] + b * one[j] for a, b in ((1, 1), (1, -1), (-1, 1), (-1, -1))]
        steps = np.concatenate([np.zeros((1, p)), one, -one, *pairs])
        moved = (phi[:, None] + steps * h[:, None]).reshape(-1, p)
        values = self.quantity(moved @ self.transform.T).reshape(replicas, -1)
        gradient = (values[:, 1 : p + 1] - values[:, p + 1 : 2 * p + 1]) / (2 * h)
        pp, pm, mp, mm = values[:, 2 * p + 1 :].reshape(replicas, 4, -1).transpose(1, 0, 2)
        hessian = np.zeros((replicas, p, p))
        hessian[:, i, j] = (pp - pm - mp + mm) / (4 * h[:, i] * h[:, j])
        hessian[:, j, i] = hessian[:, i, j]
        return values[:, 0], gradient, hessian

    def __call__(self, phi: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Penalty, gradient and Hessian for each row of phi (R, p)."""
        value, slope, curve = self.derivatives(phi)
        excess = value - self.target
        outer = slope[:, :, None] * slope[:, None, :]
        return (
            0.5 * self.stiffness * excess**2,
            self.stiffness * excess[:, None] * slope,
            self.stiffness * (outer + excess[:, None, None] * curve),
        )


class Profile:
    """The profile of one quantity, a smooth function of theta: its interval, and the p-value of any value of it.

    Args:
        noise: of the fit.
    """

    def __init__(self, fit: Fitted, noise: Noise, quantity: Quantity):
        self.fit, self.noise, self.quantity = fit, noise, quantity
        self.centre = float(quantity(fit.theta[None])[0])
        slope = Pull(quantity, fit.bound.transform, self.centre, 1.0).derivatives(fit.phi[None])[1][0]
        self.curvature, self.scale, self.free = noise.scale(slope) if np.all(np.isfinite(slope)) else (np.nan, np.nan, np.nan)
        self.best = float(solver.objective_and_derivatives(fit.bound, fit.loss, fit.observed, fit.phi[None], None)[0][0])

    @property
    def known(self) -> bool:
        """Whether there are runs to spare, noise in them, and a quantity that moves with the parameters."""
        if self.noise.exact:
            return False
        return self.noise.free >= 1 and np.isfinite(self.curvature) and self.curvature > 0

    def measured(self, phi: np.ndarray) -> tuple[float, float]:
        """Scale of the statistic and its degrees of freedom at phi (p,), a point of the profile."""
        if self.noise.shared is None:
            return self.scale, self.free
        slope = Pull(self.quantity, self.fit.bound.transform, self.centre, 1.0).derivatives(phi[None])[1][0]
        _, scale, free = self.noise.seen_from(self.fit, phi).scale(slope)
        return (scale, free) if np.isfinite(scale) else (self.scale, self.free)

    def rise_at(self, target: float, start: np.ndarray, stiffness: float) -> tuple[float, float, np.ndarray]:
        """Rise of the objective, value reached, and phi, pulled towards `target`; begun at the fit too where `start` leads nowhere."""
        fit = self.fit
        pull = Pull(self.quantity, fit.bound.transform, target, stiffness)
        found = solver.minimise(fit.bound, fit.loss, fit.observed, start[None], penalty=pull)
        if not found.converged[0]:
            again = solver.minimise(fit.bound, fit.loss, fit.observed, fit.phi[None], penalty=pull)
            found = again if again.objective[0] < found.objective[0] else found
        reached = float(self.quantity(found.phi @ fit.bound.transform.T)[0])
        rise = found.objective[0] - 0.5 * stiffness * (reached - target) ** 2 - self.best
        return max(float(rise), 0.0), reached, found.phi[0]

    def interval(self, level: float) -> tuple[float, float]:
        """Low and high end; an end that the runs do not limit is minus or plus infinity."""
        if not np.isfinite(self.centre):
            return np.nan, np.nan
        if self.noise.exact and self.noise.free >= 1 and not self.fit.unidentified:
            return self.centre, self.centre
        if not self.known:
            return -np.inf, np.inf
        critical = np.sqrt(critical_value(level, self.free))
        width = min(critical * np.sqrt(self.curvature / self.scale), 4.0)
        stiffness = STIFFNESS * critical**2 / (self.scale * width**2)

        def root_at(target: float, start: np.ndarray) -> tuple[float, float, np.ndarray]:
            rise, reached, phi = self.rise_at(target, start, stiffness)
            scale, free = self.measured(phi)
            return float(np.sqrt(2.0 * scale * rise / critical_value(level, free))), reached, phi

        return tuple(_one_side(root_at, self.fit.phi, self.centre, width, 1.0, sign) for sign in (-1.0, 1.0))

    def test(self, value: float) -> Tested:
        """The hypothesis that the quantity has a value: how far the statistic rises there, and how often by chance."""
        if not self.known:
            exact = self.noise.exact and not self.fit.unidentified
            return Tested(self, 0.0, float(not exact or np.isclose(value, self.centre, rtol=1e-9, atol=1e-12)))
        phi, rise = self.fit.phi, 0.0
        for target in np.linspace(self.centre, value, HYPOTHESIS_STEPS + 1)[1:]:
            rise, _, phi = self.rise_at(target, phi, HYPOTHESIS_STIFFNESS / self.curvature)
        return Tested(self, float(np.sqrt(2.0 * self.measured(phi)[0] * rise)), self.chance(rise, phi))

    def chance(self, rise: float, phi: np.ndarray) -> float:
        """Probability that chance raises the objective by more at phi (p,), if the value there is the true one."""
        from scipy.special import fdtrc

        scale, free = self.measured(phi)
        return float(fdtrc(1, max(free, 1), 2.0 * scale * rise))


@dataclass(frozen=True)
class Tested:
    """A tested value: the root of the statistic there, and the probability of a larger one by chance."""

    profile: Profile
    root: float
    p_value: float


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
