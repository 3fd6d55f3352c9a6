"""Eq. 1 for data that is read more than once: repeated tokens count less and less (Muennighoff et al. 2023)."""

from dataclasses import replace

import numpy as np

from nmm.laws.core.checks import columns as checked_columns
from nmm.laws.core.fitting import Fit, fit_law
from nmm.laws.core.law import Law, PowerSum, Term, coefficient
from nmm.laws.core.losses import Loss
from nmm.laws.forms.parametric import ParametricLaw, fit_parametric

PUBLISHED_R = 15.4  # of text from the web, Muennighoff et al. 2023 [repetitions]
STARTS = (1.0, 4.0, 16.0, 64.0)  # values of R* from which the fit begins
LIMITS = (0.01, 1e4)  # of R*: below, a second reading is worth nothing; above, as much as the first


def effective_tokens(D, U, R) -> np.ndarray:
    """D' = U + U R* (1 - exp(-(D/U - 1) / R*)): the fresh tokens that D tokens over U different ones are worth.

    Args:
        D: tokens read [tokens]; U: different tokens there are [tokens]; R: R*, repetitions after which one more is worth
            1/e of a first reading. All positive; they broadcast.
    Returns:
        D' [tokens], D itself where nothing was repeated (D <= U).
    Source: Muennighoff et al. 2023 (arXiv 2305.16264), the effective data of their data-constrained law.
    """
    once = np.minimum(U, D)
    return once * (1.0 - R * np.expm1(-(D / once - 1.0) / R))


class RepetitionLaw(Law):
    """Eq. 1 with the effective tokens D' in place of D."""

    name = "repetition"
    equation = (
        r"L(N, D, U) = E + \frac{A}{N^\alpha} + \frac{B}{D'^\beta},\quad "
        r"D' = U + U R^* \bigl(1 - e^{-(D/U - 1)/R^*}\bigr)"
    )
    source = "Muennighoff et al. 2023 (arXiv 2305.16264), without their second decay, of excess parameters"
    inputs = ("N", "D", "U")
    parameters = (*ParametricLaw.parameters, coefficient("R", "repetitions"))

    def bind(self, columns, centre=True):
        return RepetitionBound(self, columns, centre)


class RepetitionBound(PowerSum):
    """The law on given rows: E and the term in N as sums of powers, the term in D' here."""

    def __init__(self, law: RepetitionLaw, columns: dict[str, np.ndarray], centre: bool):
        one = np.ones(len(columns["N"]))
        terms = [Term((0,), one[:, None]), Term((1, 3), np.column_stack([one, -np.log(columns["N"])]))]
        super().__init__(terms, law.parameters, centre=centre)
        once = np.minimum(columns["U"], columns["D"])
        self.again = columns["D"] / once - 1.0  # times that a token was repeated
        self.log_once = np.log(once)
        if centre:
            self.transform[2, 4] = self.log_once.mean()
            self.log_once = self.log_once - self.log_once.mean()
            self.lower[5], self.upper[5] = np.log(LIMITS)

    def evaluate(self, phi, rows=slice(None)):
        prediction, jacobian, parts = super().evaluate(phi, rows)
        R, again = np.exp(np.clip(phi[:, 5, None], -30, 30)), self.again[rows]
        # D'/U = 1 + R (1 - exp(-q)), q = again / R, and its derivatives by ln R
        q = again / R
        fresh, kept = -np.expm1(-q), np.exp(-q)
        worth = 1.0 + R * fresh
        slope = R * (fresh - q * kept) / worth
        bend = R * (fresh - q * kept - q * q * kept) / worth - slope**2
        log_D = self.log_once[rows] + np.log(worth)
        value = np.exp(np.clip(phi[:, 2, None] - phi[:, 4, None] * log_D, -700, 200))
        inner = np.stack([np.ones_like(log_D), -log_D, -phi[:, 4, None] * slope], axis=1)  # of ln value: B, beta, R
        jacobian[:, [2, 4, 5]] = value[:, None] * inner
        return prediction + value, jacobian, (parts, phi, value, inner, slope, bend)

    def curvature(self, parts, weights, rows=slice(None)):
        sums, phi, value, inner, slope, bend = parts
        total = super().curvature(sums, weights, rows)
        strength = weights * value
        own = np.array([2, 4, 5])
        total[:, own[:, None], own] += (inner * strength[:, None]) @ inner.transpose(0, 2, 1)
        mixed = -np.sum(strength * slope, axis=1)
        total[:, 4, 5] += mixed
        total[:, 5, 4] += mixed
        total[:, 5, 5] -= phi[:, 4] * np.sum(strength * bend, axis=1)
        return total


def fit_repetition(N, D, U, L, delta: float = 1e-3, loss: str = "log-huber") -> Fit:
    """Fit Eq. 1 with effective tokens: E, A, B, alpha, beta and R*, here `R`.

    Args:
        N: parameters of each run [parameters], (n,).
        D: tokens read [tokens]; U: different tokens in the data that they were read from, in the same count, (n,).
        L: final loss [nats/token], (n,).
        delta, loss: as in `fit_parametric`.
    Returns:
        Fit; its bootstrap gives intervals. R is unidentified, with a warning in words, where no run repeats its data, or
        where the runs show no decay, or nothing but it.
    Raises:
        ValueError: bad values, or fewer than six distinct (N, D, U).
    Source: see `RepetitionLaw`. The law says that repetition helps less and less, never that it harms.
    """
    checked = checked_columns(N=N, D=D, U=U, L=L)
    observed = checked.pop("L")
    distinct = len(np.unique(np.column_stack(list(checked.values())), axis=0))
    if distinct < 6:
        raise ValueError(f"the law has six unknowns and needs at least six distinct (N, D, U): got {distinct}")
    unidentified, warnings = [], []
    most = float((checked["D"] / checked["U"]).max())
    if most <= 1.0:
        unidentified.append("R")
        warnings.append("no run reads its data twice: R* is unknown; lower U or raise D")
    law = RepetitionLaw()
    starts = [
        [*fit_parametric(checked["N"], effective_tokens(checked["D"], checked["U"], R), observed, delta, loss).theta, np.log(R)]
        for R in STARTS
    ]
    scale = 1e-2 * (float(np.median(observed)) if loss == "mse" else 1.0)
    fit = fit_law(law, checked, observed, Loss(loss, delta, scale), np.array(starts), Fit, unidentified, warnings)
    return _limits_checked(fit)


def _limits_checked(fit: Fit) -> Fit:
    """The fit, flagged where R* ran to one of its limits."""
    low, high = np.log(LIMITS)
    if "R" in fit.unidentified or low < fit.phi[5] < high:
        return fit
    words = "no token read twice counts" if fit.phi[5] <= low else "repeated tokens count like new ones"
    return replace(
        fit, status="unidentified", unidentified=(*fit.unidentified, "R"),
        warnings=(*fit.warnings, f"R* ran to its limit {fit.values['R']:g}: {words} in these runs"),
    )
