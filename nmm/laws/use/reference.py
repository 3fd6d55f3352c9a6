"""The usual way to fit Eq. 1, kept as a reference: scipy's L-BFGS-B from every start, with analytic gradients.

Tests, benchmarks and the chapter on fitting compare with it; nothing else uses it.
"""

import numpy as np


def huber_objective(theta, x, y, target, delta, weights, scale):
    """Sum of Huber losses of Eq. 1 on logs, times `scale`, and its gradient.

    Args:
        theta: ln E, ln A, ln B, alpha, beta. x, y, target: ln N, ln D, ln L, (n,). weights: counts (n,).
    """
    z = np.stack([np.full_like(x, theta[0]), theta[1] - theta[3] * x, theta[2] - theta[4] * y])
    top = z.max(axis=0)
    shares = np.exp(z - top)
    total = shares.sum(axis=0)
    shares /= total
    residual = top + np.log(total) - target
    size = np.abs(residual)
    value = np.sum(weights * np.where(size < delta, 0.5 * residual**2, delta * (size - 0.5 * delta)))
    pull = weights * np.clip(residual, -delta, delta) * shares
    second = -(pull[1:] * np.stack([x, y])).sum(axis=1)
    return scale * value, scale * np.concatenate([pull.sum(axis=1), second])


def scipy_fit(N, D, L, starts, weights=None, delta: float = 1e-3, scale: float = 1.0, careful: bool = False):
    """Where L-BFGS-B ends from each start.

    Args:
        N, D, L: parameters, tokens, loss [nats/token], (n,).
        starts: rows of ln E, ln A, ln B, alpha, beta, (k, 5), such as `nmm.laws.core.starts.paper_grid()`.
        weights: counts of the runs (n,).
        scale: factor on the objective; 1/n is the mean, as often written.
        careful: logs centred, starts clamped to a band where all terms matter, and a tolerance that the scaled
            objective can meet; with scale = 1e6 all starts then reach the minimum.
    Returns:
        objectives (k,), unscaled, and solutions (k, 5), uncentred.
    """
    from scipy.optimize import minimize

    x, y, target = np.log(N), np.log(D), np.log(L)
    weights = np.ones(len(x)) if weights is None else weights
    starts, options, middle = np.array(starts, dtype=float), {}, np.zeros(2)
    if careful:
        middle = np.array([x.mean(), y.mean()])
        starts[:, 1:3] = np.clip(starts[:, 1:3] - starts[:, 3:] * middle, -6, 3)
        options = {"ftol": 1e-15, "gtol": 1e-10, "maxiter": 2000, "maxfun": 5000}
    arguments = (x - middle[0], y - middle[1], target, delta, weights, scale)
    found = [minimize(huber_objective, s, arguments, "L-BFGS-B", jac=True, options=options) for s in starts]
    solutions = np.array([result.x for result in found])
    solutions[:, 1:3] += solutions[:, 3:] * middle
    return np.array([result.fun for result in found]) / scale, solutions
