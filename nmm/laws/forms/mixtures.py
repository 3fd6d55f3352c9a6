"""Which mixture: laws over domain weights, the best weights, and how well unseen mixtures are predicted."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nmm.laws.core.checks import columns as checked_columns
from nmm.laws.core.checks import constant
from nmm.laws.core.fitting import Fit, fit_law
from nmm.laws.core.losses import Loss
from nmm.laws.forms.mixture_law import MixtureLaw
from nmm.laws.forms.parametric import fit_parametric

if TYPE_CHECKING:
    import pandas as pd

STARTS = 24
POWERS = tuple(itertools.product((-1.5, 0.0, 1.5), repeat=2))  # 1/gamma_A and 1/gamma_B that the joint law starts from
LEAST_SIZES = 5  # different (N, D): the pooled fit of Eq. 1, where starts come from, has five unknowns
RESAMPLES = 100  # behind the interval of a best mixture
SEARCHED, ROUNDS = 200, 26  # mixtures looked at in a round, and rounds
AT_END = 1e-3  # a weight nearer than this to the end of those tried counts as there


class MixtureFit(Fit):
    """A mixture law fitted for one target loss."""

    def predict(self, N, D, h) -> np.ndarray:
        """Loss [nats/token] at N, D (scalars or (m,)) and weights h (k,) or (m, k)."""
        h = np.atleast_2d(np.asarray(h, dtype=float))
        m = max(len(h), np.size(N), np.size(D))
        columns = {
            "N": np.broadcast_to(np.asarray(N, dtype=float), m),
            "D": np.broadcast_to(np.asarray(D, dtype=float), m),
            "h": np.broadcast_to(h, (m, h.shape[1])),
        }
        return self.law.predict(self.law.natural(self.theta), columns)


def _weights(h, n: int, domains) -> tuple[np.ndarray, tuple[str, ...]]:
    """Domain weights checked: (n, k) non-negative rows that sum to one."""
    h = np.asarray(h, dtype=float)
    if h.ndim != 2 or len(h) != n or h.shape[1] < 2:
        raise ValueError(f"h must be (n, k), the weights of k >= 2 domains in each of {n} runs: got shape {h.shape}")
    if not np.all(np.isfinite(h) & (h >= 0)) or not np.allclose(h.sum(axis=1), 1, atol=1e-6):
        raise ValueError("h must be non-negative and each row must sum to 1: normalise the weights of each run")
    names = tuple(domains) if domains is not None else tuple(str(i + 1) for i in range(h.shape[1]))
    if len(names) != h.shape[1]:
        raise ValueError(f"domains must name the {h.shape[1]} columns of h: got {names}")
    return h, names


def fit_mixture(
    N, D, h, L, kind: str = "additive", domains=None, delta: float = 1e-3, loss: str = "log-huber"
) -> MixtureFit:
    """Fit the additive or joint mixture law to one target loss.

    Args:
        N, D, L: parameters, tokens, loss [nats/token] of the target, (n,).
        h: weights of the domains in each run's mixture, (n, k), rows summing to 1.
        kind: "additive" (the mixture moves the floor) or "joint" (it also moves A and B).
        domains: names of the columns of h.
    Returns:
        MixtureFit with values E, C[i], gamma[i], alpha, beta and A, B or gamma_A, C^A[i], gamma_B, C^B[i]. With too few
        distinct mixtures for the numbers that h feeds it is unidentified, and says so.
    Raises:
        ValueError: bad values, weights that are no mixture, fewer than two distinct mixtures, an unknown kind.
    """
    checked = checked_columns(N=N, D=D, L=L)
    h, names = _weights(h, len(checked["N"]), domains)
    law, scaled = MixtureLaw(kind, names), Loss(loss, delta)
    mixtures, k = len(np.unique(h.round(9), axis=0)), len(names)
    if mixtures < 2:
        raise ValueError("all runs have one mixture: a mixture law needs several; fit Eq. 1 instead")
    sizes = len(np.unique(np.column_stack([checked["N"], checked["D"]]), axis=0))
    if sizes < LEAST_SIZES:
        raise ValueError(
            f"a mixture law is over N, D and the weights, and its terms in N and D need runs of at least {LEAST_SIZES} different (N, D): "
            f"got {sizes}; train the mixtures at several sizes and budgets"
        )
    needed = 1 + 2 * k
    of_N, of_D = (["A", "alpha"], ["B", "beta"]) if kind == "additive" else (
        ["alpha", "gamma_A", *(f"C^A[{name}]" for name in names)], ["beta", "gamma_B", *(f"C^B[{name}]" for name in names)]
    )  # fmt: skip
    unidentified, warnings = constant(checked, {"N": [*of_N, "E"], "D": [*of_D, "E"]})
    if mixtures < needed:
        unidentified += [q for q in law.names if q[:1] in "EC" or q.startswith("gamma")]
        warnings.append(
            f"{mixtures} distinct mixtures for {needed} numbers that set the floor: E, C and gamma are not known one "
            "by one; predictions between these mixtures can still be good, check leave_one_mixture_out"
        )
    columns = {"N": checked["N"], "D": checked["D"], "h": h}
    pooled = fit_parametric(checked["N"], checked["D"], checked["L"])
    starts = _starts(law, pooled.theta)
    if kind == "joint":
        plain = fit_mixture(N, D, h, L, "additive", domains, delta, loss)
        starts = np.concatenate([_from_additive(plain), starts])
    return fit_law(law, columns, checked["L"], scaled, starts, MixtureFit, unidentified, warnings)


def _from_additive(fit: MixtureFit) -> np.ndarray:
    """The additive law's minima as joint ones, which contain it: A_h is A for all h where every A_i is."""
    k, rng = len(fit.law.domains), np.random.default_rng(1)
    *head, A, B = fit.theta
    tilts = rng.normal(0, 0.1, (len(POWERS), 2, k))
    return np.array([[*head, *powers, *(A + tilt[0]), *(B + tilt[1])] for powers, tilt in zip(POWERS, tilts)])


def _starts(law: MixtureLaw, pooled: np.ndarray) -> np.ndarray:
    """Starts around Eq. 1 of all mixtures pooled: its floor split in two, the signs and sizes of gamma sampled."""
    E, A, B, alpha, beta = pooled
    k, rng = len(law.domains), np.random.default_rng(0)
    starts = []
    for _ in range(STARTS if law.kind == "additive" else STARTS // 2):
        share = rng.uniform(0.1, 0.9)
        gamma = rng.normal(0, 0.4, k)
        # sum_i C_i h_i^gamma_i = 1 / (share E) at even weights
        logs = -E - np.log(share) - np.log(k) + gamma * np.log(k) + rng.normal(0, 0.3, k)
        head = [E + np.log1p(-share), *logs, *gamma, alpha, beta]
        if law.kind == "additive":
            starts.append([*head, A, B])
        else:
            tilt = rng.normal(0, 0.3, (2, k))
            starts.append([*head, *rng.uniform(-1.5, 1.5, 2), *(A + tilt[0]), *(B + tilt[1])])
    return np.array(starts)


@dataclass(frozen=True, kw_only=True)
class BestMixture:
    """The weights with the lowest loss, with an interval for each by bootstrap percentiles, and what to beware of in words."""

    domains: tuple[str, ...]
    h: np.ndarray  # (k,)
    loss: float  # weighted mean of the targets' losses at h [nats/token]
    low: np.ndarray  # (k,)
    high: np.ndarray
    warnings: tuple[str, ...]


def optimal_mixture(
    fits: list[MixtureFit], targets, N: float, D: float, anywhere: bool = False, level: float = 0.95, n: int = RESAMPLES, seed: int = 0,
    cluster=None,
) -> BestMixture:  # fmt: skip
    """The weights h with the lowest weighted mean of the target losses at (N, D), within the weights that were tried.

    Beyond them a mixture law is a guess: its optimum then often is a vertex of the simplex, all of one domain.

    Args:
        fits: one mixture law per target.
        targets: importance of each target, non-negative, normalised here.
        N, D: the model and budget to mix for.
        anywhere: look at the whole simplex; otherwise each domain's weight stays between the least and the most that
            any run of any fit had.
        level: coverage of the intervals; n, seed: resamples of each fit's runs behind them; cluster: as in `Fit.bootstrap`.
    Returns:
        BestMixture. Its warnings name N, D or weights beyond the runs, and weights that only the range tried holds back.
    Raises:
        ValueError: not one non-negative importance per fit, laws over different domains, or a level out of range.
    Source: arXiv 2507.09404, there by mirror descent; here by a search that closes in on the best.
    """
    targets = np.asarray(targets, dtype=float)
    if targets.shape != (len(fits),) or np.any(targets < 0) or not targets.sum() > 0:
        raise ValueError(
            f"targets must be one non-negative importance per fit ({len(fits)}), not all zero: got {targets}"
        )
    if len({fit.law.domains for fit in fits}) > 1:
        raise ValueError("the fits are over different domains")
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1: got {level}")
    targets = targets / targets.sum()
    k = len(fits[0].law.domains)
    tried = np.concatenate([fit.columns["h"] for fit in fits])
    low, high = (np.zeros(k), np.ones(k)) if anywhere else (tried.min(axis=0), tried.max(axis=0))
    bounds = (np.minimum(np.maximum(low, 1e-6), high), np.maximum(high, 1e-6))
    rng = np.random.default_rng(seed)

    def best(parameters: list[np.ndarray], start: np.ndarray | None = None) -> tuple[np.ndarray, float]:
        def objective(h: np.ndarray) -> np.ndarray:
            columns = {"N": np.full(len(h), float(N)), "D": np.full(len(h), float(D)), "h": h}
            return sum(t * fit.law.predict(values, columns) for t, fit, values in zip(targets, fits, parameters))

        return _lowest(objective, bounds, rng, start)

    h, loss = best([fit.law.natural(fit.theta) for fit in fits])
    boots = [fit.bootstrap(n, seed, starts=2, cluster=cluster) for fit in fits]
    draws = np.array([best([boot.fit.law.natural(boot.theta[r]) for boot in boots], h)[0] for r in range(n)])
    ends = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return BestMixture(
        domains=fits[0].law.domains, h=h, loss=loss, low=ends[0], high=ends[1], warnings=tuple(_beyond(fits, h, N, D, tried, anywhere))
    )


def _lowest(
    objective, bounds: tuple[np.ndarray, np.ndarray], rng: np.random.Generator, start: np.ndarray | None
) -> tuple[np.ndarray, float]:
    """The weights within bounds with the lowest objective of (m, k), and that: points all over, then closer and closer to the best.

    Near a weight of zero the laws are so steep that methods by gradients stop anywhere.
    """
    k = len(bounds[0])
    points = _onto_simplex(rng.dirichlet(np.ones(k), SEARCHED), *bounds)
    if start is not None:
        points = np.concatenate([start[None], points])
    h, lowest = None, np.inf
    for width in 0.3 * 0.6 ** np.arange(ROUNDS):
        values = objective(points)
        if values.min() < lowest:
            h, lowest = points[np.argmin(values)], float(values.min())
        points = _onto_simplex(h + width * rng.normal(size=(SEARCHED, k)), *bounds)
    return h, lowest


def _onto_simplex(points: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The nearest weights (m, k) within bounds that sum to one: all shifted alike, then clipped (by bisection on the shift)."""
    under, over = np.full((len(points), 1), -3.0), np.full((len(points), 1), 3.0)
    points = np.clip(points, -1.0, 2.0)
    for _ in range(50):
        middle = 0.5 * (under + over)
        much = np.clip(points + middle, low, high).sum(axis=1, keepdims=True) > 1
        under, over = np.where(much, under, middle), np.where(much, middle, over)
    return np.clip(points + under, low, high)


def _beyond(fits: list[MixtureFit], h: np.ndarray, N: float, D: float, tried: np.ndarray, anywhere: bool) -> list[str]:
    """What of a best mixture is extrapolation, in words."""
    words = []
    for name, value in (("N", N), ("D", D)):
        seen = np.concatenate([fit.columns[name] for fit in fits])
        if not seen.min() * (1 - 1e-9) <= value <= seen.max() * (1 + 1e-9):
            words.append(f"{name} = {value:.3g} lies outside the runs, {seen.min():.3g} to {seen.max():.3g}: "
                         "the mixture is extrapolated there")
    for domain, weight, low, high in zip(fits[0].law.domains, h, tried.min(axis=0), tried.max(axis=0)):
        if weight < low - AT_END or weight > high + AT_END:
            words.append(f"{domain}: a weight of {weight:.3f} was never tried, {low:.3f} to {high:.3f} were: the law is extrapolated there")
        elif not anywhere and (weight < low + AT_END or weight > high - AT_END):
            words.append(f"{domain}: {weight:.3f} is the end of the weights tried, {low:.3f} to {high:.3f}: "
                         "the law would go on; try runs beyond")
    return words


def leave_one_mixture_out(fit: MixtureFit) -> pd.DataFrame:
    """Predict the runs of each mixture from a fit to all the others.

    Returns:
        One row a mixture: its weights, the number of runs, and the mean absolute and the mean relative error [%].
    """
    import pandas as pd

    h = fit.columns["h"].round(9)
    mixtures, which = np.unique(h, axis=0, return_inverse=True)
    which = which.ravel()
    weights = (which[None] != np.arange(len(mixtures))[:, None]).astype(float)
    theta, _ = fit.refit(weights, starts=5)
    rows = []
    for m, mixture in enumerate(mixtures):
        out = which == m
        held = {name: column[out] for name, column in fit.columns.items()}
        error = np.log(fit.law.predict(fit.law.natural(theta[m]), held)) - np.log(fit.observed[out])
        rows.append(
            {
                **dict(zip(fit.law.domains, mixture)),
                "runs": int(out.sum()),
                "error [%]": 100 * np.mean(np.abs(error)),
                "bias [%]": 100 * np.mean(error),
            }
        )
    return pd.DataFrame(rows)
