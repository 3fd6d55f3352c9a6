"""What tokens of one data type are worth to another: Eq. 1 of one type's loss, on its own tokens and those of others that stand in.

The mixture laws of arXiv 2507.09404 have seven numbers or more that only the weights move; four mixtures do not hold them. This is their
joint law with all but one part held fast: the floor and A do not depend on the weights, and B_h D^-beta is a power of the tokens, each
counted at what it is worth. A handful of mixtures tells that, if no data type has the same share in all of them.
"""

from __future__ import annotations

import numpy as np

from nmm.laws.core.checks import columns as checked_columns
from nmm.laws.core.fitting import Fit, fit_law
from nmm.laws.core.law import Law, PowerSum, Term, exponent
from nmm.laws.core.losses import Loss
from nmm.laws.forms.parametric import ParametricLaw, fit_parametric

LIMITS = (-2.0, 10.0)   # of a worth: beyond, another type would count more than the own one ever could
STARTS = (0.05, 0.3, 1.0)


class WorthLaw(Law):
    """L(N, D, h) of data type `own`; the worth of its own tokens is one, that of others w. Below zero they harm."""

    name = "worth of tokens"
    source = "the joint law of Shukor et al. 2025 (arXiv 2507.09404) with E, A and gamma_B = -beta fixed; ours"
    inputs = ("N", "D", "h")
    equation = r"L(N, D, h) = E + \frac{A}{N^\alpha} + \frac{B}{\bigl(D \, (h_k + \sum_{i \ne k} w_i h_i)\bigr)^\beta}"

    def __init__(self, own: str, domains: tuple[str, ...]):
        if own not in domains:
            raise ValueError(f"own must be one of the domains {', '.join(domains)}: got {own!r}")
        self.own, self.domains = own, domains
        self.others = tuple(name for name in domains if name != own)
        self.parameters = (*ParametricLaw.parameters, *(exponent(f"w[{name}]", *LIMITS, positive=False) for name in self.others))

    def bind(self, columns, centre=True):
        return WorthBound(self, columns, centre)


class WorthBound(PowerSum):
    """The law on given rows: E and the term in N as sums of powers, the term in tokens here."""

    def __init__(self, law: WorthLaw, columns: dict[str, np.ndarray], centre: bool):
        one = np.ones(len(columns["N"]))
        terms = [Term((0,), one[:, None]), Term((1, 3), np.column_stack([one, -np.log(columns["N"])]))]
        super().__init__(terms, law.parameters, centre=centre)
        places = [law.domains.index(name) for name in law.others]
        self.own_share, self.shares = columns["h"][:, law.domains.index(law.own)], columns["h"][:, places]
        self.log_D = np.log(columns["D"])
        if centre:
            self.transform[2, 4] = self.log_D.mean()
            self.log_D = self.log_D - self.log_D.mean()

    def evaluate(self, phi, rows=slice(None)):
        prediction, jacobian, parts = super().evaluate(phi, rows)
        counted = self.own_share[rows] + phi[:, 5:] @ self.shares[rows].T
        with np.errstate(invalid="ignore", divide="ignore"):       # no tokens of worth, no prediction: the solver's step is refused
            pull = self.shares[rows].T[None] / counted[:, None]     # of ln(counted) by each w
            log_tokens = self.log_D[rows] + np.log(counted)
        beta = phi[:, 4, None]
        value = np.exp(np.clip(phi[:, 2, None] - beta * log_tokens, -700, 200))
        inner = np.concatenate([np.ones_like(value)[:, None], -log_tokens[:, None], -beta[:, None] * pull], axis=1)
        jacobian[:, [2, 4, *range(5, phi.shape[1])]] = value[:, None] * inner
        return prediction + value, jacobian, (parts, phi, value, inner, pull)

    def curvature(self, parts, weights, rows=slice(None)):
        sums, phi, value, inner, pull = parts
        total = super().curvature(sums, weights, rows)
        strength = weights * value
        own = np.array([2, 4, *range(5, phi.shape[1])])
        total[:, own[:, None], own] += (inner * strength[:, None]) @ inner.transpose(0, 2, 1)
        mixed = -np.sum(strength[:, None] * pull, axis=2)
        total[:, 4, 5:] += mixed
        total[:, 5:, 4] += mixed
        total[:, 5:, 5:] += phi[:, 4, None, None] * ((pull * strength[:, None]) @ pull.transpose(0, 2, 1))
        return total


def spanned(h: np.ndarray) -> bool:
    """Whether mixtures, (m, k), tell all k data types apart: no weighted sum of the shares is the same in all of them."""
    return np.linalg.matrix_rank(np.unique(np.round(h, 9), axis=0), tol=1e-6) == np.shape(h)[1]


def fit_worth(N, D, h, L, own: str, domains, delta: float = 1e-3, loss: str = "log-huber") -> Fit:
    """Fit what tokens of other data types are worth for the loss on one.

    Args:
        N, D, L: parameters, tokens of all types, loss on `own` [nats/token], (n,).
        h: shares of tokens by data type, (n, k), rows summing to 1; domains: names of its columns.
        own: whose loss it is.
    Returns:
        Fit with values E, A, B, alpha, beta and w[name] of every other type: tokens of `own` that one of its tokens is worth.
    Raises:
        ValueError: bad values, shapes or names, or mixtures that do not tell the types apart.
    """
    checked = checked_columns(N=N, D=D, L=L)
    h, domains = np.asarray(h, dtype=float), tuple(domains)
    fits = h.shape == (len(checked["N"]), len(domains))
    if not fits or not np.all(np.isfinite(h) & (h >= 0)) or not np.allclose(h.sum(axis=1), 1, atol=1e-6):
        raise ValueError(f"h must be shares that sum to 1, a row a run and a column for each of {', '.join(domains)}: got shape {h.shape}")
    law = WorthLaw(own, domains)
    if not spanned(h):
        mixtures = len(np.unique(h.round(9), axis=0))
        raise ValueError(f"{mixtures} mixtures of {len(domains)} data types in which some shares always move together do not tell what "
                         "each is worth: train one that breaks the line")
    columns = {"N": checked["N"], "D": checked["D"], "h": h}
    place = domains.index(own)
    starts = []
    for worth in STARTS:
        counted = h[:, place] + worth * (1 - h[:, place])
        starts.append([*fit_parametric(checked["N"], checked["D"] * counted, checked["L"], delta, loss).theta, *[worth] * len(law.others)])
    scale = 1e-2 * (float(np.median(checked["L"])) if loss == "mse" else 1.0)
    return fit_law(law, columns, checked["L"], Loss(loss, delta, scale), np.array(starts), Fit)
