"""Which mixture: laws over domain weights, the best weights, and how well unseen mixtures are predicted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nmm.laws.core.checks import columns as checked_columns
from nmm.laws.core.fitting import Fit, fit_law
from nmm.laws.core.losses import Loss
from nmm.laws.forms.mixture_law import MixtureLaw
from nmm.laws.forms.parametric import fit_parametric

if TYPE_CHECKING:
    import pandas as pd

STARTS = 24


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
    needed = 1 + 2 * k
    unidentified, warnings = [], []
    if mixtures < needed:
        unidentified = [q for q in law.names if q[:1] in "EC" or q.startswith("gamma")]
        warnings.append(
            f"{mixtures} distinct mixtures for {needed} numbers that set the floor: E, C and gamma are not known one "
            "by one; predictions between these mixtures can still be good, check leave_one_mixture_out"
        )
    columns = {"N": checked["N"], "D": checked["D"], "h": h}
    pooled = fit_parametric(checked["N"], checked["D"], checked["L"])
    fit = fit_law(law, columns, checked["L"], scaled, _starts(law, pooled.theta), MixtureFit, unidentified, warnings)
    return fit


def _starts(law: MixtureLaw, pooled: np.ndarray) -> np.ndarray:
    """Starts around Eq. 1 of all mixtures pooled: its floor split in two, the signs and sizes of gamma sampled."""
    E, A, B, alpha, beta = pooled
    k, rng = len(law.domains), np.random.default_rng(0)
    starts = []
    for _ in range(STARTS):
        share = rng.uniform(0.1, 0.9)
        gamma = rng.normal(0, 0.4, k)
        # sum_i C_i h_i^gamma_i = 1 / (share E) at even weights
        logs = -E - np.log(share) - np.log(k) + gamma * np.log(k) + rng.normal(0, 0.3, k)
        head = [E + np.log1p(-share), *logs, *gamma, alpha, beta]
        if law.kind == "additive":
            starts.append([*head, A, B])
        else:
            powers = rng.choice([-1, 1], 2) * rng.uniform(0.3, 1.5, 2)
            tilt = rng.normal(0, 0.3, (2, k))
            starts.append([*head, *powers, *(A / powers[0] + tilt[0]), *(B / powers[1] + tilt[1])])
    return np.array(starts)


def optimal_mixture(fits: list[MixtureFit], targets, N: float, D: float, anywhere: bool = False) -> tuple[np.ndarray, float]:
    """The weights h with the lowest weighted mean of the target losses at (N, D), within the weights that were tried.

    Beyond them a mixture law is a guess: its optimum then often is a vertex of the simplex, all of one domain.

    Args:
        fits: one mixture law per target.
        targets: importance of each target, non-negative, normalised here.
        N, D: the model and budget to mix for.
        anywhere: look at the whole simplex; otherwise each domain's weight stays between the least and the most that
            any run of any fit had.
    Returns:
        h (k,) and the weighted loss there [nats/token].
    Raises:
        ValueError: not one non-negative importance per fit, or laws over different domains.
    Source: arXiv 2507.09404, there by mirror descent; here SLSQP from the vertices' middles and the centre.
    """
    from scipy.optimize import minimize

    targets = np.asarray(targets, dtype=float)
    if targets.shape != (len(fits),) or np.any(targets < 0) or not targets.sum() > 0:
        raise ValueError(
            f"targets must be one non-negative importance per fit ({len(fits)}), not all zero: got {targets}"
        )
    if len({fit.law.domains for fit in fits}) > 1:
        raise ValueError("the fits are over different domains")
    targets = targets / targets.sum()
    k = len(fits[0].law.domains)

    def objective(h):
        h = np.clip(h, 1e-6, None)
        return float(sum(t * fit.predict(N, D, h / h.sum())[0] for t, fit in zip(targets, fits)))

    tried = np.concatenate([fit.columns["h"] for fit in fits])
    low, high = (np.zeros(k), np.ones(k)) if anywhere else (tried.min(axis=0), tried.max(axis=0))
    low = np.minimum(np.maximum(low, 1e-6), high)
    centre = np.full(k, 1 / k) if anywhere else tried.mean(axis=0)
    best = None
    for start in [centre, *(0.6 * np.eye(k) + 0.4 * centre)]:
        start = np.clip(start, low, high)
        found = minimize(
            objective,
            start,
            method="SLSQP",
            bounds=list(zip(low, np.maximum(high, 1e-6))),
            options={"ftol": 1e-12, "maxiter": 300},
            constraints={"type": "eq", "fun": lambda h: h.sum() - 1},
        )
        if best is None or found.fun < best.fun:
            best = found
    return best.x / best.x.sum(), float(best.fun)


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
