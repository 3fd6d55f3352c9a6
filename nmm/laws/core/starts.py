"""Where fits of Eq. 1 begin: a variable-projection grid, or the paper's own 1764 points."""

import itertools

import numpy as np

from nmm.laws.core.law import PowerSum

# Exponents of the grid: a factor 1.27 apart, from "barely falls" to "only the smallest run feels it".
EXPONENTS = np.geomspace(0.05, 2.0, 16)


def paper_grid() -> np.ndarray:
    """The 1764 starts of the paper (App. C, after Hoffmann et al. 2022), as (ln E, ln A, ln B, alpha, beta)."""
    exponents, logs, floors = (0.0, 0.5, 2.5), range(0, 31, 5), (-1.0, -0.5, 0.5, 1.0)
    grid = itertools.product(floors, logs, logs, exponents, exponents)
    return np.array(list(grid), dtype=float)


def _nonnegative(gram: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least squares with coefficients >= 0 for many small problems: the best of all 2^k supports.

    Returns coefficients (..., k) and the decrease of half the squared error (...).
    """
    k = gram.shape[-1]
    best, gain = np.zeros(right.shape), np.zeros(right.shape[:-1])
    for size in range(1, k + 1):
        for support in itertools.combinations(range(k), size):
            index = list(support)
            block = gram[..., index, :][..., index]
            ridge = 1e-12 * np.einsum("...ii->...", block)[..., None, None] * np.eye(size)
            part = np.linalg.solve(block + ridge, right[..., index, None])[..., 0]
            better = np.all(part >= 0, axis=-1) & (0.5 * np.sum(part * right[..., index], axis=-1) > gain)
            gain = np.where(better, 0.5 * np.sum(part * right[..., index], axis=-1), gain)
            full = np.zeros_like(best)
            full[..., index] = part
            best = np.where(better[..., None], full, best)
    return best, gain


def projection_grid(x: np.ndarray, y: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """Starts (ln E, ln A', ln B', alpha, beta) on a grid of exponents, the coefficients solved for at each.

    Given alpha and beta, Eq. 1 is linear in E, A and B (variable projection, Golub & Pereyra 1973): they come
    from least squares on relative errors, with none negative.

    Args:
        x, y: ln N and ln D, centred (n,); A' and B' belong to the centred terms.
        loss: observed losses (n,).
    Returns:
        (256, 5), rows in the order of the grid.
    """
    u = np.exp(-np.outer(EXPONENTS, x)) / loss
    v = np.exp(-np.outer(EXPONENTS, y)) / loss
    one = 1.0 / loss
    k = len(EXPONENTS)
    gram, right = np.empty((k, k, 3, 3)), np.empty((k, k, 3))
    gram[..., 0, 0] = one @ one
    gram[..., 0, 1] = gram[..., 1, 0] = (u @ one)[:, None]
    gram[..., 0, 2] = gram[..., 2, 0] = (v @ one)[None, :]
    gram[..., 1, 1] = np.sum(u * u, axis=1)[:, None]
    gram[..., 2, 2] = np.sum(v * v, axis=1)[None, :]
    gram[..., 1, 2] = gram[..., 2, 1] = u @ v.T
    right[..., 0] = one.sum()
    right[..., 1] = u.sum(axis=1)[:, None]
    right[..., 2] = v.sum(axis=1)[None, :]
    coefficients, _ = _nonnegative(gram.reshape(-1, 3, 3), right.reshape(-1, 3))
    alpha, beta = np.meshgrid(EXPONENTS, EXPONENTS, indexing="ij")
    # A coefficient of zero has zero gradient in its log: start it at a thousandth of the loss instead.
    logs = np.log(np.maximum(coefficients, 1e-3 * loss.mean()))
    return np.column_stack([logs, alpha.ravel(), beta.ravel()])


def spread_out(objective: np.ndarray, count: int) -> np.ndarray:
    """Indices of up to `count` grid points to start from: the local minima of the grid, then the lowest rest."""
    k = len(EXPONENTS)
    surface = np.pad(objective.reshape(k, k), 1, constant_values=np.inf)
    around = [surface[1 + i : k + 1 + i, 1 + j : k + 1 + j] for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]
    minima = np.flatnonzero((objective.reshape(k, k) <= np.min(around, axis=0)).ravel())
    order = np.argsort(objective)
    ranked = sorted(minima, key=lambda i: objective[i]) + [i for i in order if i not in set(minima)]
    return np.array(ranked[:count])


def sampled(
    bound: PowerSum, observed: np.ndarray, ranges: dict[int, tuple[float, float]], count: int = 32
) -> np.ndarray:
    """Starts for any sum of power laws: sampled slopes, the coefficients by non-negative least squares.

    Args:
        bound: the law on the runs.
        observed: values to fit (n,).
        ranges: for the column of each slope, where its samples lie; slopes not named start at 0.
        count: samples of a Sobol sequence.
    Returns:
        (count, p) logs and slopes, uncentred.
    """
    from scipy.optimize import nnls
    from scipy.stats.qmc import Sobol

    low, high = np.array(list(ranges.values())).T
    draws = low + (high - low) * Sobol(len(ranges), seed=0).random(count)
    base = np.zeros(len(bound.transform))
    starts = []
    for draw in draws:
        phi = base.copy()
        phi[list(ranges)] = draw
        features, columns = [], []
        for term_columns, design, _ in bound.terms:
            slopes = [k for k, column in enumerate(term_columns) if column in ranges]
            shape = np.exp(np.clip(phi[[term_columns[k] for k in slopes]] @ design[slopes], -50, 50))
            for k in set(range(len(term_columns))) - set(slopes):
                if np.ptp(design[k]) == 0 or set(np.unique(design[k])) <= {
                    0.0,
                    1.0,
                }:  # an intercept, perhaps of a group
                    features.append(shape * design[k])
                    columns.append(term_columns[k])
        target = observed - (bound.offset if bound.offset is not None else 0.0)
        weights, _ = nnls((np.array(features) / observed).T, target / observed)
        phi[columns] = np.log(np.maximum(weights, 1e-3 * np.median(observed)))
        starts.append(phi)
    return np.array(starts) @ bound.transform.T
