"""The one solver: damped Newton with the exact Hessian, for many starts or many resamples at once.

Replicas (starts, bootstrap resamples, profile points) are rows of one array, so numpy does the work. Resamples
are weights, the counts of each run. Memory is bounded: rows and replicas are taken in blocks.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nmm.laws.core.law import Bound
from nmm.laws.core.losses import Loss

BLOCK = 1 << 15  # elements of a block: its arrays stay in the second-level cache
RELATIVE_TOLERANCE = 1e-13  # on the decrease that Newton still promises
ABSOLUTE_TOLERANCE = 1e-21  # the same for noise-free data, in units of delta^2
MAX_ITERATIONS = 300


@dataclass(frozen=True)
class Solution:
    """Minima found: phi (R, p), scaled objective (R,), and whether each converged (R,)."""

    phi: np.ndarray
    objective: np.ndarray
    converged: np.ndarray


def objective_and_derivatives(
    bound: Bound,
    loss: Loss,
    observed: np.ndarray,
    phi: np.ndarray,
    weights: np.ndarray | None,
    penalty: Callable | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scaled objective (R,), gradient (R, p) and Hessian (R, p, p) at phi (R, p), with a penalty on phi if given."""
    replicas, p = phi.shape
    value, gradient, hessian = np.zeros(replicas), np.zeros((replicas, p)), np.zeros((replicas, p, p))
    height = max(1, BLOCK // bound.n)
    width = bound.n if height > 1 else BLOCK
    for top in range(0, replicas, height):
        block = slice(top, top + height)
        for left in range(0, bound.n, width):
            rows = slice(left, min(left + width, bound.n))
            prediction, jacobian, parts = bound.evaluate(phi[block], rows)
            each, first, second = loss.derivatives(prediction, observed[rows] if observed.ndim == 1 else observed[block, rows])
            if weights is not None:
                count = weights[block, rows]
                each, first, second = each * count, first * count, second * count
            value[block] += each.sum(axis=1)
            gradient[block] += (jacobian @ first[:, :, None])[:, :, 0]
            hessian[block] += (jacobian * second[:, None, :]) @ jacobian.transpose(0, 2, 1)
            hessian[block] += bound.curvature(parts, first, rows)
    if penalty is not None:
        for total, more in zip((value, gradient, hessian), penalty(phi)):
            total += more
    return value, gradient, hessian


def _newton_step(gradient, hessian, damping, blocked):
    """Damped saddle-free Newton step, and the decrease an undamped one would bring; blocked coordinates rest."""
    gradient = np.where(blocked, 0.0, gradient)
    hessian = np.where(blocked[:, :, None] | blocked[:, None, :], 0.0, hessian)
    scale = np.sqrt(np.maximum(np.abs(np.einsum("rii->ri", hessian)), 1e-30))
    scale = np.maximum(scale, 1e-8 * scale.max(axis=1, keepdims=True))
    values, vectors = np.linalg.eigh(hessian / (scale[:, :, None] * scale[:, None, :]))
    values = np.abs(values)
    # A floor at rounding level keeps directions that the data does not determine where they are.
    floor = 1e-14 * values.max(axis=1, keepdims=True) + 1e-100
    projected = np.einsum("rij,ri->rj", vectors, gradient / scale)
    promised = 0.5 * np.sum(projected**2 / np.maximum(values, floor), axis=1)
    step = -np.einsum("rij,rj->ri", vectors, projected / (np.maximum(values, floor) + damping[:, None])) / scale
    return step, promised


def _finite(value, gradient, hessian):
    """Rows (R,) whose value and derivatives are numbers."""
    return np.isfinite(value) & np.isfinite(gradient).all(axis=1) & np.isfinite(hessian).all(axis=(1, 2))


def minimise(
    bound: Bound,
    loss: Loss,
    observed: np.ndarray,
    start: np.ndarray,
    weights: np.ndarray | None = None,
    tolerance: float = RELATIVE_TOLERANCE,
    penalty: Callable | None = None,
) -> Solution:
    """Minimise the sum of `weights` times the loss from each row of `start`.

    Args:
        observed: (n,), or (R, n) where each replica has its own.
        start: (R, p) in the coordinates of `bound`; clipped to its bounds.
        weights: (R, n) or None for one each.
        tolerance: relative decrease still promised at which a replica is done.
        penalty: smooth function of phi (R, p) added to each objective: values, gradients, Hessians.
    """
    phi = np.clip(np.array(start, dtype=float), bound.lower, bound.upper)
    replicas = len(phi)
    value, gradient, hessian = objective_and_derivatives(bound, loss, observed, phi, weights, penalty)
    damping = np.full(replicas, 1e-3)
    converged = np.zeros(replicas, dtype=bool)
    going = np.flatnonzero(_finite(value, gradient, hessian))
    for _ in range(MAX_ITERATIONS):
        if not len(going):
            break
        here, slope = phi[going], gradient[going]
        blocked = ((here <= bound.lower) & (slope > 0)) | ((here >= bound.upper) & (slope < 0))
        step, promised = _newton_step(slope, hessian[going], damping[going], blocked)
        done = promised <= tolerance * value[going] + ABSOLUTE_TOLERANCE
        # A step of more than 2 in a log or an exponent leaves the region where the quadratic means anything.
        step *= np.minimum(1.0, 2.0 / np.maximum(np.abs(step).max(axis=1), 1e-300))[:, None]
        trial = np.clip(here + step, bound.lower, bound.upper)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            new_value, new_gradient, new_hessian = objective_and_derivatives(
                bound, loss, observed if observed.ndim == 1 else observed[going], trial,
                None if weights is None else weights[going], penalty,
            )  # fmt: skip
        moved = trial - here
        model = -(np.sum(slope * moved, axis=1) + 0.5 * np.einsum("ri,rij,rj->r", moved, hessian[going], moved))
        # A penalty may end at a border, such as a logarithm at zero: a step onto it is taken back and shortened.
        better = (new_value <= value[going]) & _finite(new_value, new_gradient, new_hessian)
        ratio = (value[going] - new_value) / np.where(model > 0, model, np.inf)
        now = damping[going]
        now = np.where(
            ~better, np.maximum(now, 1e-6) * 8, np.where(ratio > 0.7, now * 0.1, np.where(ratio < 0.3, now * 3, now))
        )
        damping[going] = now
        accepted = going[better]
        phi[accepted], value[accepted] = trial[better], new_value[better]
        gradient[accepted], hessian[accepted] = new_gradient[better], new_hessian[better]
        converged[going[done]] = True
        going = going[~(done | (now > 1e12))]
    return Solution(phi, value, converged)


def continuation(
    bound: Bound, loss: Loss, observed: np.ndarray, start: np.ndarray, weights: np.ndarray | None = None
) -> Solution:
    """`minimise` with the Huber threshold lowered to its value in three stages: far starts need the wide quadratic."""
    if loss.robust:
        for factor in (10.0, 3.0):
            stage = minimise(bound, loss.with_delta(loss.delta * factor), observed, start, weights, 1e-3)
            start = stage.phi
    return minimise(bound, loss, observed, start, weights)
