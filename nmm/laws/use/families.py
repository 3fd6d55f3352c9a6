"""Nested laws for several arms, fitted to the same runs: Eq. 1 with more and more of it shared, and a line where cells are few."""

from __future__ import annotations

from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Protocol

import numpy as np

from nmm.laws.core import solver
from nmm.laws.core.checks import columns as checked_columns
from nmm.laws.core.fitting import STEEP, Fit, fit_law
from nmm.laws.core.law import Law
from nmm.laws.core.losses import Loss
from nmm.laws.core.noise import checked_labels
from nmm.laws.forms.joint import GroupLaw, OneMultiplier, SharedExponents
from nmm.laws.forms.optimum import budgets_within
from nmm.laws.use.compare import equal_loss
from nmm.laws.use.paired import SAME_C

if TYPE_CHECKING:
    import pandas as pd

NOTHING, EXPONENTS, FLOOR, PARAMETERS, MULTIPLIER, EVERYTHING = (        # what arms share
    "nothing", "exponents", "exponents and floor", "all but a parameter's worth", "all but a compute multiplier", "everything")
MISSING = 0.05          # share of draws without a value from which on there is no interval
LOSS = Loss("log-mse", scale=1e-2)
FINE = ("ok", "weak")   # statuses of a fit whose values may be used, "weak" with its intervals


class Family(Protocol):
    """Nested laws for several arms."""

    pairs: tuple[tuple[str, str], ...]          # wider and narrower laws, by what is shared
    n: int                                      # runs
    observed: np.ndarray                        # L of each run (n,)

    def unknowns(self, sharing: str) -> int: ...

    def predicted(self, sharing: str) -> np.ndarray:
        """ln L of each run by the law fitted (n,)."""
        ...

    def squares(self, sharing: str, observed: np.ndarray, near: str = "") -> np.ndarray:
        """Sum of squared residuals (R,) of the law refitted to each row of ln L, (R, n); `near` names a narrower law to begin at too."""
        ...


class PowerFamily:
    """Eq. 1 for several arms, fitted by least squares of ln L.

    Args:
        N: counted so that C = 6 N D for every arm [parameters]; D [tokens]; L [nats/token]; arm: name of each run's arm; (n,) each.
        reference: the arm that multipliers are told against; the first of `arms`.
        floor: E where it is known [nats/token]; None: fitted.
    Raises:
        ValueError: bad values, a single arm, no runs of the reference, or a floor that a loss does not exceed.
    """

    def __init__(self, N, D, L, arm, reference: str, floor: float | None = None):
        checked = checked_columns(N=N, D=D, L=L)
        self.arm, self.floor = np.asarray(arm).astype(str), floor
        self.arms, index = _groups(self.arm, checked["L"], reference)
        if floor is not None and not floor < checked["L"].min():
            raise ValueError(f"a known floor must lie below every loss: got {floor:g}, and the lowest loss is {checked['L'].min():g}")
        self.columns = {"N": checked["N"], "D": checked["D"], "group": index}
        self.observed, self.n = checked["L"], len(index)
        last = EXPONENTS if floor is not None else FLOOR
        self.pairs = ((NOTHING, EXPONENTS), *([(EXPONENTS, FLOOR)] if floor is None else []), (last, PARAMETERS), (last, MULTIPLIER),
                      (PARAMETERS, EVERYTHING))

    @cached_property
    def own(self) -> dict[str, Fit]:
        """The law of each arm alone."""
        return {name: self._fit(SharedExponents((name,), self.floor), self.columns["group"] == g) for g, name in enumerate(self.arms)}

    @cached_property
    def shared(self) -> dict[str, Fit]:
        """The joint law for each sharing but the widest."""
        found: dict[str, Fit] = {}
        full = np.concatenate([fit.law.full(fit.theta[None]) for fit in self.own.values()], axis=1)
        for sharing in dict.fromkeys(narrow for _, narrow in self.pairs):
            law = self._law(sharing)
            at = law.nearest(full if law.k > 1 else full.mean(axis=1, keepdims=True))
            found[sharing] = self._fit(law, np.ones(self.n, dtype=bool), np.concatenate([at, _starts(law, self.columns, self.observed)]))
        return found

    @property
    def numbers(self) -> int:
        """Numbers that an arm's own law has."""
        return 4 + (self.floor is None)

    @property
    def status(self) -> dict[str, str]:
        """Status of each arm's own law; where two sizes or two budgets cannot hold it, without a fit."""
        if self._too_few:
            return dict.fromkeys(self.arms, "unidentified")
        return {name: fit.status for name, fit in self.own.items()}

    @cached_property
    def _too_few(self) -> bool:
        """Whether an arm has fewer sizes or budgets than its term and a floor have numbers, two and one."""
        needed = 3 if self.floor is None else 2
        arms = [self.columns["group"] == g for g in range(len(self.arms))]
        return any(_levels(self.columns[name][rows]) < needed for rows in arms for name in "ND")

    @property
    def identified(self) -> bool:
        """Whether each arm alone determines its law, so that free and shared exponents can be told apart."""
        return all(status in FINE for status in self.status.values())

    def unknowns(self, sharing: str) -> int:
        """Numbers that the law has."""
        return sum(len(fit.phi) for fit in self._fits(sharing))

    def predicted(self, sharing: str) -> np.ndarray:
        """As in `Family`."""
        values = np.empty(self.n)
        for fit, rows in self._parts(sharing):
            values[rows] = np.log(fit.predicted)
        return values

    def squares(self, sharing: str, observed: np.ndarray, near: str = "") -> np.ndarray:
        """As in `Family`."""
        total = np.zeros(len(observed))
        for _, objective in self._refits(sharing, observed, near):
            total += 2 * LOSS.unit**2 * objective
        return total

    def drawn(self, sharing: str, cluster: np.ndarray, n: int = 200, seed: int = 0) -> np.ndarray:
        """ln E, ln A, ln B, alpha, beta of each arm: of the runs, and of `n` studies drawn from the law, (n + 1, arms, 5).

        A study keeps every cell; the residuals of a trunk keep their signs or are all turned round, enlarged by what the fit took.
        """
        labels = checked_labels(cluster, self.n)
        middle, rng = self.predicted(sharing), np.random.default_rng(seed)
        left = (np.log(self.observed) - middle) * np.sqrt(self.n / max(self.n - self.unknowns(sharing), 1))
        values = np.vstack([np.log(self.observed), middle + rng.choice([-1.0, 1.0], (n, labels.max() + 1))[:, labels] * left])
        parts = [fit.law.full(theta) for (fit, _), (theta, _) in zip(self._parts(sharing), self._refits(sharing, values))]
        full = np.concatenate(parts, axis=1)
        return np.repeat(full, len(self.arms), axis=1) if full.shape[1] == 1 else full

    def told(self, quantity: str, drawn: np.ndarray, level: float = 0.95) -> pd.DataFrame:
        """A quantity of each arm's own law with its interval, and its difference from the reference's.

        Args:
            quantity: of `derived`.
            drawn: of `drawn(NOTHING, ..)`.
        Returns:
            A row an arm: status, value, low, high, gap, gap low, gap high; the gap of the reference is missing.
        """
        import pandas as pd

        values, rows = derived(drawn)[quantity], {}
        for g, name in enumerate(self.arms):
            with np.errstate(invalid="ignore"):
                gaps = values[:, g] - values[:, 0]
            rows[name] = {"status": self.own[name].status, **_ends("", values[:, g], level)}
            rows[name] |= _ends("gap", gaps, level) if g else {}
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("arm")

    def at_optimum(self, C: float, drawn: np.ndarray, level: float = 0.95) -> pd.DataFrame:
        """The compute of the reference over that of an arm for the same loss, each at its own optimum: value, low, high by arm.

        Args:
            C: budget of the arm [FLOPs].
            drawn: of `drawn`, of any sharing.
        Returns:
            An end is infinite where the reference does not reach the loss.
        """
        import pandas as pd

        rows = []
        for g in range(1, len(self.arms)):
            found = equal_loss(_natural(drawn[:, 0]), _natural(drawn[:, g]), np.asarray(float(C)))
            rows.append(_ends("", np.where(np.isnan(found), np.inf, found), level))
        return pd.DataFrame(rows, pd.Index(self.arms[1:], name="arm"))

    def optima_within(self, name: str) -> tuple[float, float]:
        """The budgets [FLOPs] at which an arm's own optimum lies among its runs; the first is above the second where there are none."""
        rows = self.columns["group"] == self.arms.index(name)
        E, A, B, alpha, beta = _natural(self.own[name].law.full(self.own[name].theta[None])[:, 0])[:, 0]
        if not np.isfinite(alpha):
            return np.inf, -np.inf
        return budgets_within(E, A, B, alpha, beta, self.columns["N"][rows], self.columns["D"][rows])

    def _refits(self, sharing: str, observed: np.ndarray, near: str = "") -> list[tuple[np.ndarray, np.ndarray]]:
        """theta (R, p) and the objective (R,) of each part refitted to rows of ln L, from the fit and from where a narrower law ended."""
        found = []
        for fit, rows in self._parts(sharing):
            starts = [fit.theta]
            if near:
                full = self.shared[near].law.full(self.shared[near].theta[None])
                full = np.repeat(full, len(self.arms), axis=1) if full.shape[1] == 1 else full
                starts.append(fit.law.nearest(full[:, [self.arms.index(fit.law.groups[0])]] if fit.law.k == 1 else full)[0])
            best = None
            for start in starts:
                begin = np.repeat(np.linalg.solve(fit.bound.transform, start)[None], len(observed), axis=0)
                now = solver.minimise(fit.bound, LOSS, np.exp(observed[:, rows]), begin, tolerance=1e-7)
                lower = None if best is None else now.objective < best[1]
                best = (now.phi, now.objective) if best is None else (
                    np.where(lower[:, None], now.phi, best[0]), np.where(lower, now.objective, best[1]))
            found.append((best[0] @ fit.bound.transform.T, best[1]))
        return found

    def _law(self, sharing: str) -> Law:
        one = ("all",)
        return {
            EXPONENTS: lambda: SharedExponents(self.arms, self.floor, own_floor=self.floor is None),
            FLOOR: lambda: SharedExponents(self.arms), PARAMETERS: lambda: SharedExponents(self.arms, self.floor, own_tokens=False),
            MULTIPLIER: lambda: OneMultiplier(self.arms, self.floor),
            EVERYTHING: lambda: SharedExponents(one, self.floor),
        }[sharing]()

    def _fit(self, law: GroupLaw, rows: np.ndarray, starts: np.ndarray | None = None) -> Fit:
        columns = {name: column[rows] for name, column in self.columns.items()}
        if law.k == 1:
            columns["group"] = np.zeros(int(rows.sum()), dtype=int)
        starts = _starts(law, columns, self.observed[rows]) if starts is None else starts
        return fit_law(law, columns, self.observed[rows], LOSS, starts)

    def _fits(self, sharing: str) -> list[Fit]:
        return list(self.own.values()) if sharing == NOTHING else [self.shared[sharing]]

    def _parts(self, sharing: str) -> list[tuple[Fit, np.ndarray]]:
        if sharing == NOTHING:
            return [(fit, self.columns["group"] == g) for g, fit in enumerate(self.own.values())]
        return [(self.shared[sharing], np.ones(self.n, dtype=bool))]


class LinearFamily:
    """ln L linear in ln N and ln D, with one bend in ln N for all arms where there are three sizes: what few cells can hold.

    It has no floor, no optimum and no meaning beyond its runs; an arm's level is its compute multiplier once its slopes are shared.

    Args and Raises: as for `PowerFamily`.
    """

    pairs = ((NOTHING, EXPONENTS), (EXPONENTS, EVERYTHING))
    numbers = 3

    def __init__(self, N, D, L, arm, reference: str):
        checked = checked_columns(N=N, D=D, L=L)
        self.arms, index = _groups(np.asarray(arm).astype(str), checked["L"], reference)
        self.n, self.observed = len(index), checked["L"]
        one = (index[:, None] == np.arange(len(self.arms))).astype(float)
        x, y = (np.log(checked[name]) - np.log(checked[name]).mean() for name in "ND")
        bend = [x**2] if len(np.unique(checked["N"][index == 0])) > 2 else []
        common = [x, y, *bend]
        own = [one, one * x[:, None], one * y[:, None], *bend]
        designs = {NOTHING: own, EXPONENTS: [one, *common], EVERYTHING: [np.ones(self.n), *common]}
        self._bases = {name: np.linalg.qr(np.column_stack(design))[0] for name, design in designs.items()}
        ranks = {name: np.linalg.matrix_rank(np.column_stack(design)) for name, design in designs.items()}
        self.identified = ranks[NOTHING] == self._bases[NOTHING].shape[1] < self.n

    def unknowns(self, sharing: str) -> int:
        """Numbers that the law has."""
        return self._bases[sharing].shape[1]

    def predicted(self, sharing: str) -> np.ndarray:
        """As in `Family`."""
        basis = self._bases[sharing]
        return basis @ (basis.T @ np.log(self.observed))

    def squares(self, sharing: str, observed: np.ndarray, near: str = "") -> np.ndarray:
        """As in `Family`."""
        basis = self._bases[sharing]
        return np.sum((observed - observed @ basis @ basis.T) ** 2, axis=1)


def _levels(values: np.ndarray) -> int:
    """Different values; those closer than `SAME_C` are one, for seeds read a few tokens more or less."""
    return 1 + int(np.sum(np.diff(np.sort(np.log(values))) > SAME_C))


def _groups(arm: np.ndarray, L: np.ndarray, reference: str) -> tuple[tuple[str, ...], np.ndarray]:
    names = list(dict.fromkeys(arm.tolist()))
    if arm.shape != L.shape or len(names) < 2:
        raise ValueError(f"arm must name one arm a run and at least two in all: got {', '.join(names)}")
    if reference not in names:
        raise ValueError(f"no runs of arm {reference!r}: there are {', '.join(names)}")
    arms = (reference, *(name for name in names if name != reference))
    return arms, np.array([arms.index(name) for name in arm])


def _starts(law: GroupLaw, columns: dict[str, np.ndarray], observed: np.ndarray) -> np.ndarray:
    """theta (m, p): a few exponents, and each term half of what lies above a few floors."""
    x, y, low = np.log(columns["N"]).mean(), np.log(columns["D"]).mean(), observed.min()
    starts = []
    for E in [law.floor] if law.floor is not None else [0.4 * low, 0.8 * low]:
        half = np.log(0.5 * (np.median(observed) - E))
        for alpha, beta in product((0.25, 0.7), repeat=2):
            starts.append([np.log(max(E, 1e-300)), half + alpha * x, half + beta * y, alpha, beta])
    return law.nearest(np.repeat(np.array(starts)[:, None], law.k, axis=1))


def _natural(full: np.ndarray) -> np.ndarray:
    """E, A, B, alpha, beta (5, R) from full (R, 5); exponents that are not positive have no optimum and are missing."""
    values = np.concatenate([np.exp(np.clip(full[:, :3], -690, 690)), full[:, 3:]], axis=1).T
    return np.where((values[3:] > 0).all(axis=0), values, np.nan)


def derived(full: np.ndarray) -> dict[str, np.ndarray]:
    """What follows from ln E, ln A, ln B, alpha, beta (.., 5): alpha, beta; a = beta/(alpha+beta), with N* ~ C^a; r =
    alpha beta/(alpha+beta), with L* - E ~ C^-r; each (..). Missing where an exponent is not positive, infinite where it is a step."""
    alpha, beta = full[..., 3], full[..., 4]
    fine = (alpha > 0) & (beta > 0)
    total = np.where(fine, alpha + beta, np.nan)
    alone = (np.where(each > STEEP, np.inf, each) for each in (alpha, beta))     # a step at the smallest run: nothing limits it
    return {**dict(zip(("alpha", "beta"), alone)), "a": beta / total, "r": alpha * beta / total}


def _ends(name: str, draws: np.ndarray, level: float) -> dict[str, float]:
    """The first of the draws, and the middle `level` of the others; no ends where more than one in twenty is missing."""
    missing = np.isnan(draws[1:]).mean()
    low, high = np.quantile(draws[1:], [(1 - level) / 2, (1 + level) / 2], method="nearest") if not missing else (
        np.nanquantile(draws[1:], [(1 - level) / 2, (1 + level) / 2], method="nearest") if missing < MISSING else (np.nan, np.nan))
    return {f"{name} {end}".strip(): float(number) for end, number in (("value", draws[0]), ("low", low), ("high", high))}
