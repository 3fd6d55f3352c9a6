"""Architectures compared: one law with shared exponents, and what each is worth in compute."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nmm.laws.core.checks import columns as checked_columns
from nmm.laws.core.clusters import clusters
from nmm.laws.core.fitting import Fit, fit_law
from nmm.laws.core.law import Law, Parameter, PowerSum, Term, coefficient, exponent
from nmm.laws.core.losses import Loss
from nmm.laws.core.noise import checked_labels, measure
from nmm.laws.core.uncertainty import Bootstrap
from nmm.laws.forms.optimum import FLOPS_PER_PARAMETER_TOKEN
from nmm.laws.forms.parametric import ParametricFit, fit_parametric

if TYPE_CHECKING:
    import pandas as pd

SHARED = 0.05  # p-value below which shared exponents count as rejected


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

    `p_value`: of shared against free exponents. Small means that one set of exponents does not fit all: then no single
    multiplier describes the difference, and `curve` shows it budget by budget.
    """

    reference: str
    shared: SharedFit
    separate: dict[str, ParametricFit]
    statistic: float
    p_value: float
    cluster: np.ndarray | None
    arch: np.ndarray  # of each run (n,)

    @property
    def single(self) -> bool:
        """Whether one multiplier may be given: shared exponents are not rejected (5 %)."""
        return self.p_value >= SHARED

    def bootstrap(self, n: int = 1000, seed: int = 0) -> Bootstrap:
        """Resamples of the joint fit, of whole clusters where labels were given."""
        return self.shared.bootstrap(n, seed, cluster=self.cluster)

    def multiplier(self, name: str, level: float = 0.95) -> tuple[float, float, float]:
        """The compute that the reference needs over that of `name` at equal loss: value, low, high.

        Raises:
            ValueError: an unknown name, or shared exponents are rejected: then there is no single number.
        """
        self._check(name)
        if not self.single:
            raise ValueError(
                f"{name} and {self.reference} do not share exponents (p = {self.p_value:.2g}): no single multiplier describes "
                "them; see the curve over C"
            )
        intervals, quantity = self.shared.profile(self.cluster), f"compute multiplier[{name}]"
        return intervals.estimate[quantity], *intervals.interval(quantity, level)

    def curve(self, name: str, C, level: float = 0.95, n: int = 400, seed: int = 0) -> pd.DataFrame:
        """The equal-loss multiplier budget by budget, from the separate fits, with a band of bootstrap percentiles.

        Args:
            C: budgets of `name` [FLOPs].
            n: resamples of either architecture's runs, of whole clusters where labels were given.
        Returns:
            Columns C, multiplier, low, high; NaN, or an infinite end, where the reference never reaches the loss.
        """
        import pandas as pd

        self._check(name)
        C = np.atleast_1d(np.asarray(C, dtype=float))
        draws = []
        for k, group in enumerate((self.reference, name)):
            labels = None if self.cluster is None else self.cluster[self.arch == group]
            boot = self.separate[group].bootstrap(n, seed + k, starts=2, cluster=labels)
            draws.append(boot.fit.law.natural(boot.theta).T[:, :, None])
        bands = equal_loss(*draws, C)
        with np.errstate(invalid="ignore"):
            bands = np.where(np.isnan(bands), np.inf, bands)
            low, high = np.nanquantile(bands, [(1 - level) / 2, (1 + level) / 2], axis=0, method="nearest")
        return pd.DataFrame({"C": C, "multiplier": self.multiplier_at(name, C), "low": low, "high": high})

    def multiplier_at(self, name: str, C) -> np.ndarray:
        """Equal-loss multiplier from the separate fits: the reference's budget for the loss of `name` at C, over C.

        NaN where the reference never reaches that loss.
        """
        self._check(name)
        pair = (self.reference, name)
        values = [np.array([getattr(self.separate[group], q) for q in ("E", "A", "B", "alpha", "beta")]) for group in pair]
        return equal_loss(*values, np.asarray(C, dtype=float))

    def _check(self, name: str) -> None:
        if name not in self.separate or name == self.reference:
            others = ", ".join(group for group in self.separate if group != self.reference)
            raise ValueError(f"no architecture {name!r} beside the reference {self.reference}: there are {others}")


def equal_loss(reference: np.ndarray, other: np.ndarray, C: np.ndarray) -> np.ndarray:
    """Budget of the reference over C at the best loss of the other at C; parameters (5, ..) of Eq. 1 that broadcast with C."""

    def path(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """E, and unit and rate of the best loss E + unit C^-rate; NaN where a term is missing."""
        E, A, B, alpha, beta = values
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            rate, log_g = alpha * beta / (alpha + beta), np.log(alpha * A / (beta * B)) / (alpha + beta)
            log_n = log_g - np.log(FLOPS_PER_PARAMETER_TOKEN) * beta / (alpha + beta)
            log_d = -np.log(FLOPS_PER_PARAMETER_TOKEN) - log_n
            return E, A * np.exp(-alpha * log_n) + B * np.exp(-beta * log_d), rate

    (E_ref, unit_ref, rate_ref), (E, unit, rate) = path(reference), path(other)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        gap = E + unit * C**-rate - E_ref
        return np.where(gap > 0, (np.abs(gap) / unit_ref) ** (-1 / rate_ref), np.nan) / C


def compare_architectures(
    N, D, L, arch, reference: str | None = None, delta: float = 1e-3, loss: str = "log-huber", cluster=None
) -> Comparison:
    """Fit all architectures jointly, test shared exponents, and give compute multipliers against `reference`.

    Args:
        N, D, L: as in `fit_parametric`, (n,); N counted so that C = 6 N D holds for every architecture.
        arch: name of the architecture of each run (n,).
        reference: the one that the others are compared with; the first in the data by default.
        cluster: what each run shares its luck with, such as architecture, size and seed of its trunk (n,). The test of
            shared exponents then draws studies with the noise of this one (see `nmm.laws.core.noise`).
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
    cluster = None if cluster is None else checked_labels(cluster, len(arch))
    noise = measure(shared, cluster)
    freed = 3 * (len(groups) - 1)
    gain = shared.objective / shared.loss.total(1.0, len(arch)) - sum(
        fit.objective / fit.loss.total(1.0, fit.n_runs) for fit in separate.values()
    )
    statistic = max(2.0 * noise.overall_scale * gain, 0.0) / freed
    if noise.shared is None or noise.exact:
        p_value = _tail(statistic, freed, len(arch) - 5 * len(groups))
    else:
        inside = [arch == name for name in groups]
        p_value = _chance(shared, [separate[name] for name in groups], inside, cluster, max(2.0 * gain, 0.0))
    return Comparison(reference, shared, separate, float(statistic), p_value, cluster, arch)


def _chance(shared: SharedFit, separate: list[ParametricFit], inside: list[np.ndarray], cluster: np.ndarray, rise: float) -> float:
    """Probability that separate exponents lower twice the objective by more than `rise` where one set holds for all.

    Sensitivities are those at the shared fit, whose own directions then lie within those of the separate ones; residuals
    are of the separate fits, which describe the runs either way.
    """
    k, n = len(separate), len(cluster)
    sensitivity, score, inner = np.zeros((n, 5 * k)), np.zeros(n), np.zeros(n)
    held = np.zeros((5 * k, len(shared.theta)))  # the separate laws' phi by the shared theta
    for g, (fit, rows) in enumerate(zip(separate, inside)):
        own = [0, 3 + g, 3 + k + g, 1, 2]  # E, A, B, alpha, beta of the group
        block = slice(5 * g, 5 * g + 5)
        held[block, own] = np.linalg.inv(fit.bound.transform)
        noise = measure(fit)
        sensitivity[rows, block] = noise.seen_from(fit, held[block, own] @ shared.theta[own]).sensitivity / noise.unit
        score[rows], inner[rows] = noise.score, noise.inside
    found = clusters(cluster, sensitivity, score, inner, measure(shared, cluster).correlation)
    along = found.inverse @ held  # the shared law's directions; those that leave it are orthogonal
    basis, sizes, _ = np.linalg.svd(along / np.linalg.norm(along, axis=0))
    return found.test(basis[:, np.sum(sizes > 1e-9 * sizes[0]):], rise)


def _tail(statistic: float, freed: int, free: int) -> float:
    """Probability of a larger F statistic by chance."""
    from scipy.special import fdtrc

    return float(fdtrc(freed, max(free, 1), statistic))
