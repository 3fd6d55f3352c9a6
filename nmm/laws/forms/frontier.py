"""The compute frontier: L = K C^c on the lower convex hull of the runs (App. C.3)."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nmm.laws.core.checks import columns
from nmm.laws.forms.optimum import optimum, power_law

MANY = 20_000  # with more runs than this, resamples are taken of those near the hull
BINS, LOWEST = 500, 20  # budgets, evenly spaced in log C, of each of which the lowest runs are kept: 1 in e^20 resamples lacks all


def low_runs(C: np.ndarray, L: np.ndarray) -> np.ndarray:
    """Indices of the lowest runs of each of many narrow ranges of C."""
    x = np.log(C)
    bins = np.minimum(((x - x.min()) / max(np.ptp(x), 1e-12) * BINS).astype(int), BINS - 1)
    order = np.lexsort((L, bins))
    first = np.searchsorted(bins[order], np.arange(BINS))
    rank = np.arange(len(C)) - first[bins[order]]
    return order[rank < LOWEST]


def lower_hull(C: np.ndarray, L: np.ndarray) -> np.ndarray:
    """Indices of the runs on the lower convex hull of (log C, log L), from the cheapest to the lowest loss.

    The hull ends at the lowest loss: dearer runs with a higher loss are not on the frontier.
    """
    x, y = np.log(C), np.log(L)
    order = np.lexsort((y, x))
    hull: list[int] = []
    for i in order:
        if hull and x[i] == x[hull[-1]]:
            continue
        while len(hull) >= 2:
            p, q = hull[-2], hull[-1]
            if (x[q] - x[p]) * (y[i] - y[p]) - (y[q] - y[p]) * (x[i] - x[p]) > 0:
                break
            hull.pop()
        hull.append(int(i))
    return np.array(hull[: int(np.argmin(y[hull])) + 1])


@dataclass(frozen=True)
class FrontierFit:
    """L = K C^c through the hull: K [nats/token * FLOPs^-c], c, and the runs on the hull."""

    K: float
    c: float
    C: np.ndarray  # budgets of all runs used [FLOPs]
    L: np.ndarray  # their losses [nats/token]
    hull: np.ndarray  # indices into C and L
    C_min: float  # runs at or below are left out [FLOPs]
    n_below: int  # how many that are

    def predict(self, C) -> np.ndarray:
        """Loss on the frontier [nats/token] at C [FLOPs]."""
        return self.K * np.asarray(C, dtype=float) ** self.c

    @cached_property
    def residuals(self) -> np.ndarray:
        """ln(frontier) - ln(L) of the runs on the hull."""
        return np.log(self.predict(self.C[self.hull])) - np.log(self.L[self.hull])

    def bootstrap(self, n: int = 1000, seed: int = 0) -> "FrontierBootstrap":
        """Refit resamples of all runs, hull included. Resamples with fewer than three hull points are redrawn."""
        rng = np.random.default_rng(seed)
        # Of very many runs only the lowest at each budget can be on the hull of a resample, and each is drawn at least
        # once with the same probability, about independently of the others.
        some = low_runs(self.C, self.L) if len(self.C) > MANY else None
        draws = []
        for _ in range(20 * n):
            if some is None:
                rows = rng.integers(0, len(self.C), len(self.C))
            else:
                rows = some[rng.random(len(some)) < 1 - np.exp(-1.0)]
            hull = lower_hull(self.C[rows], self.L[rows])
            if len(hull) >= 3:
                draws.append(_through(self.C[rows][hull], self.L[rows][hull]))
            if len(draws) == n:
                return FrontierBootstrap(self, np.array(draws))
        raise ValueError(f"too few runs for a bootstrap of the frontier: {len(self.hull)} of {len(self.C)} are on it")


@dataclass(frozen=True)
class FrontierBootstrap:
    """Refits of the frontier: `draws` (n, 2) of c and K."""

    fit: FrontierFit
    draws: np.ndarray

    def interval(self, name: str, level: float = 0.95) -> tuple[float, float]:
        """Percentile interval of "c" or "K"."""
        if name not in ("c", "K"):
            raise ValueError(f'the frontier has "c" and "K": got {name!r}')
        low, high = np.quantile(self.draws[:, ("c", "K").index(name)], [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)


def _through(C: np.ndarray, L: np.ndarray, points: int = 200) -> tuple[float, float]:
    """c and K of the power law through the hull, read off at evenly spaced C as the paper does."""
    grid = np.linspace(C.min(), C.max(), points)
    return power_law(grid, np.exp(np.interp(np.log(grid), np.log(C), np.log(L))))


def fit_frontier(C, L, C_min: float = 0.0) -> FrontierFit:
    """Fit L = K C^c to the lower convex hull of all runs in (log C, log L).

    Args:
        C: compute of each run [FLOPs].
        L: final loss [nats/token].
        C_min: runs with C at or below it are left out [FLOPs]; the paper's cut is 3e19.
    Raises:
        ValueError: bad values, or fewer than three runs on the hull.
    Source: the paper, App. C.3: the hull is interpolated at linearly spaced C, then regressed on logs.
    """
    checked = columns(C=C, L=L)
    keep = checked["C"] > C_min
    if keep.sum() < 3:
        raise ValueError(f"a frontier needs at least three runs above C_min = {C_min:g}: got {keep.sum()}")
    C, L = checked["C"][keep], checked["L"][keep]
    hull = lower_hull(C, L)
    if len(hull) < 3:
        raise ValueError(
            f"only {len(hull)} of {len(C)} runs lie on the lower hull: a power law needs three; "
            "train several sizes at each budget, or lower C_min"
        )
    c, K = _through(C[hull], L[hull])
    return FrontierFit(K, c, C, L, hull, C_min, int((~keep).sum()))


def local_slope(E: float, A: float, B: float, alpha: float, beta: float, C) -> np.ndarray:
    """d ln L* / d ln C of Eq. 1 on its optimal path: the frontier's exponent at C, which tends to 0 as L* nears E."""
    return -(alpha * beta / (alpha + beta)) * (1 - E / optimum(E, A, B, alpha, beta, C).L)
