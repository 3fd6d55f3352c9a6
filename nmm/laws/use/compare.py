"""Architectures compared: one law with shared exponents, and what each is worth in compute."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nmm.laws.core.checks import columns as checked_columns
from nmm.laws.core.fitting import Fit, fit_law
from nmm.laws.core.law import Law, Parameter, PowerSum, Term, coefficient, exponent
from nmm.laws.core.losses import Loss
from nmm.laws.core.noise import measure
from nmm.laws.core.uncertainty import Bootstrap
from nmm.laws.forms.parametric import ParametricFit, fit_parametric


class SharedLaw(Law):
    """Eq. 1 with one E, alpha and beta for all groups, and A and B for each: N and D rescaled per group."""

    name = "shared"
    equation = r"L_g(N, D) = E + \frac{A_g}{N^\alpha} + \frac{B_g}{D^\beta}"
    source = "Volkova et al. 2026 (arXiv 2602.07712), there for optimizers"
    inputs = ("N", "D", "group")

    def __init__(self, groups: tuple[str, ...]):
        self.groups = groups
        self.parameters: tuple[Parameter, ...] = (
            coefficient("E", "nats/token"),
            exponent("alpha"),
            exponent("beta"),
            *(coefficient(f"A[{g}]", "nats/token * parameters^alpha") for g in groups),
            *(coefficient(f"B[{g}]", "nats/token * tokens^beta") for g in groups),
        )

    def bind(self, columns, centre=True):
        one = (columns["group"][:, None] == np.arange(len(self.groups))).astype(float)
        k = len(self.groups)
        terms = [
            Term((0,), np.ones((len(one), 1))),
            Term((*range(3, 3 + k), 1), np.column_stack([one, -np.log(columns["N"])]), intercepts=k),
            Term((*range(3 + k, 3 + 2 * k), 2), np.column_stack([one, -np.log(columns["D"])]), intercepts=k),
        ]
        return PowerSum(terms, self.parameters, centre=centre)


class SharedFit(Fit):
    """The joint fit. The compute multiplier of a group is C of the reference over C of the group at equal loss."""

    def derived(self, theta):
        values = super().derived(theta)
        k = len(self.law.groups)
        alpha, beta, log_a, log_b = theta[:, 1], theta[:, 2], theta[:, 3 : 3 + k], theta[:, 3 + k :]
        for g, name in enumerate(self.law.groups[1:], start=1):
            scale_n, scale_d = (log_a[:, 0] - log_a[:, g]) / alpha, (log_b[:, 0] - log_b[:, g]) / beta
            # A group with N and D worth s and t times the reference's reaches its loss at C / (s t).
            values |= {
                f"N scale[{name}]": np.exp(scale_n),
                f"D scale[{name}]": np.exp(scale_d),
                f"compute multiplier[{name}]": np.exp(scale_n + scale_d),
            }
        return values


@dataclass(frozen=True)
class Comparison:
    """Joint and separate fits of several architectures.

    `p_value`: of shared against free exponents; small means that one set of exponents does not fit all, and then a
    single multiplier does not describe the difference.
    """

    reference: str
    shared: SharedFit
    separate: dict[str, ParametricFit]
    statistic: float
    p_value: float

    def bootstrap(self, n: int = 1000, seed: int = 0) -> Bootstrap:
        """Resamples of the joint fit; `interval("compute multiplier[NAME]")` works on it."""
        return self.shared.bootstrap(n, seed)

    def multiplier_at(self, name: str, C) -> np.ndarray:
        """Equal-loss multiplier from the separate fits: the reference's budget for the loss of `name` at C, over C.

        NaN where the reference never reaches that loss.
        """
        reference, other = self.separate[self.reference], self.separate[name]
        gap = np.asarray(other.optimum(C).L) - reference.E
        rate = reference.alpha * reference.beta / (reference.alpha + reference.beta)
        unit = reference.optimum(1.0).L - reference.E
        with np.errstate(invalid="ignore"):
            return np.where(gap > 0, (np.abs(gap) / unit) ** (-1 / rate), np.nan) / np.asarray(C, dtype=float)


def compare_architectures(
    N, D, L, arch, reference: str | None = None, delta: float = 1e-3, loss: str = "log-huber"
) -> Comparison:
    """Fit all architectures jointly, test shared exponents, and give compute multipliers against `reference`.

    Args:
        N, D, L: as in `fit_parametric`, (n,); N counted so that C = 6 N D holds for every architecture.
        arch: name of the architecture of each run (n,).
        reference: the one that the others are compared with; the first in the data by default.
    Raises:
        ValueError: fewer than two architectures, an unknown reference, or bad values.
    """
    checked = checked_columns(N=N, D=D, L=L)
    arch = np.asarray(arch).astype(str)
    names = list(dict.fromkeys(arch))
    if arch.shape != checked["N"].shape or len(names) < 2:
        raise ValueError(f"arch must name one architecture a run and at least two in all: got {names}")
    reference = names[0] if reference is None else reference
    if reference not in names:
        raise ValueError(f"no architecture {reference!r}: there are {', '.join(names)}")
    groups = (reference, *(name for name in names if name != reference))
    separate = {
        name: fit_parametric(*(checked[q][arch == name] for q in "NDL"), delta=delta, loss=loss) for name in groups
    }
    columns = {"N": checked["N"], "D": checked["D"], "group": np.array([groups.index(name) for name in arch])}
    law, scaled = SharedLaw(groups), Loss(loss, delta)
    pooled = fit_parametric(checked["N"], checked["D"], checked["L"], delta=delta, loss=loss)
    starts = []
    for fit in (pooled, *separate.values()):
        E, A, B, alpha, beta = fit.theta
        starts.append([E, alpha, beta, *[A] * len(groups), *[B] * len(groups)])
    shared = fit_law(law, columns, checked["L"], scaled, np.array(starts), SharedFit)
    scale = measure(shared).overall_scale
    unit = scaled.total(1.0, len(arch))
    gain = shared.objective - sum(
        fit.objective * (fit.n_runs / len(arch) if not scaled.robust else 1.0) for fit in separate.values()
    )
    freed = 3 * (len(groups) - 1)
    statistic = float(max(2.0 * scale * gain / unit, 0.0)) / freed
    return Comparison(reference, shared, separate, statistic, _tail(statistic, freed, len(arch) - 5 * len(groups)))


def _tail(statistic: float, freed: int, free: int) -> float:
    """Probability of a larger F statistic by chance."""
    from scipy.special import fdtrc

    return float(fdtrc(freed, max(free, 1), statistic))
