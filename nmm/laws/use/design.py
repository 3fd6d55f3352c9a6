"""Which run next: the runs that shrink the interval of a goal most for a budget, by what they would tell about the fitted law.

A run at (N, D) adds its own row to the information of the fit. The noise there is taken as that of the run nearest to it. The
width that an interval would have follows without training anything; `check` trains nothing either, but refits drawn studies
with and without the new runs, which the prediction must agree with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nmm.laws.core import solver
from nmm.laws.core.profile import Pull, critical_value
from nmm.laws.forms.optimum import FLOPS_PER_PARAMETER_TOKEN
from nmm.laws.forms.parametric import ParametricFit

if TYPE_CHECKING:
    import pandas as pd

GOALS = ("a", "alpha", "beta", "E", "N*", "D*", "L*")
GRID = 24  # candidate sizes, and candidate token budgets
PASSES = 12  # of the exchange, which ends when no run can be bettered


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Runs to train: `shrinks` is the width of the goal's interval after them over the width now."""

    runs: pd.DataFrame  # N, D, C, of each run; beyond: whether N or D lies outside those trained
    shrinks: float

    @property
    def cost(self) -> float:
        """Compute of all of them [FLOPs]."""
        return float(self.runs["C"].sum())


@dataclass(frozen=True, kw_only=True)
class Checked:
    """Drawn studies refitted: how far the goal's estimates scatter with the plan's runs over without, and the prediction."""

    realised: float
    predicted: float
    studies: int


class Designer:
    """Plans for one goal on one fit.

    Args:
        fit: Eq. 1 on the runs there are.
        goal: one of `GOALS`; "N*", "D*" and "L*" are at the budget C [FLOPs].
        level: of the interval.
        reach: how many times beyond the smallest and largest N and D trained a run may lie.
    Raises:
        ValueError: an unknown goal, a missing C, a level or reach out of range, or runs that do not determine the goal.
    """

    def __init__(self, fit: ParametricFit, goal: str, C: float | None = None, level: float = 0.95, reach: float = 2.0):
        if goal not in GOALS:
            raise ValueError(f"no goal {goal!r}: there are {', '.join(GOALS)}")
        if not reach >= 1:
            raise ValueError(f"reach is a factor beyond the runs there are, at least 1: got {reach:g}")
        lost = set(fit.unidentified) & ({goal} if goal in ("alpha", "beta", "E") else {"A", "B", "alpha", "beta"})
        if lost:
            reason = fit.warnings[0] if fit.warnings else f"{', '.join(sorted(lost))} are not identified"
            raise ValueError(f"these runs do not determine {goal}, so no plan can be compared with what is known: {reason}")
        self.fit, self.goal, self.C, self.level, self.reach = fit, goal, C, level, reach
        self.intervals = fit.profile()
        self.now = self.intervals.interval(goal, level, C)
        profile, self.logarithmic = self.intervals.profile_of(goal, C)
        self.quantity, self.noise = profile.quantity, self.intervals.noise
        if self.noise.exact or self.noise.free < 1:
            raise ValueError("the runs have no noise to plan against: there must be more of them than unknowns, and they must scatter")
        self.slope = Pull(self.quantity, fit.bound.transform, 0.0, 1.0).derivatives(fit.phi[None])[1][0]
        scaled = self.noise.sensitivity / self.noise.unit
        self.information = scaled.T @ (self.noise.inside[:, None] * scaled)
        self.scatter = scaled.T @ (self.noise.square[:, None] * scaled)
        self.width = float(self._widths(self.information[None], self.scatter[None], fit.n_runs)[0])

    def plan(self, budget: float, runs: int) -> Plan:
        """The best exactly `runs` runs that cost at most `budget` FLOPs together.

        Exchange: each run in turn is replaced by the candidate that is best beside the others, until none gets better.

        Raises:
            ValueError: the budget is not positive, or pays for no run in reach.
        """
        import pandas as pd

        if not (np.isfinite(budget) and budget > 0) or runs < 1:
            raise ValueError(f"a plan needs a positive budget and at least one run: got {budget:g} FLOPs and {runs} runs")
        N, D, cost = self._candidates()
        if cost.min() * runs > budget:
            raise ValueError(
                f"{budget:.3g} FLOPs pay for no {runs} runs in reach: the smallest costs {cost.min():.3g}; raise the budget or the reach"
            )
        gain, spread, _ = self._told(N, D)
        chosen, changed = np.full(runs, -1), 0
        for step in range(PASSES * runs):
            place = step % runs
            others = np.delete(chosen, place)
            others = others[others >= 0]
            # Until all places are filled each of them has an even share of the budget.
            room = budget - cost[others].sum() if (chosen >= 0).all() else budget / runs
            best = self._best(gain, spread, others, np.flatnonzero(cost <= room), runs)
            if step >= runs and best == chosen[place]:
                if step - changed >= runs:
                    break
                continue
            chosen[place] = best
            changed = step
        order = chosen[np.argsort(cost[chosen])]
        beyond = ~(self._within("N", N[order]) & self._within("D", D[order]))
        table = pd.DataFrame({"N": N[order], "D": D[order], "C": cost[order], "beyond": beyond})
        return Plan(runs=table, shrinks=float(self._after(gain, spread, chosen)) / self.width)

    def expected(self, plan: Plan) -> tuple[float, float]:
        """The interval that the plan's runs would leave, if the estimate stays where it is."""
        ends = np.array(self.now, dtype=float)
        centre = float(self.quantity(self.fit.theta[None])[0])
        ends = np.log(ends) if self.logarithmic else ends
        low, high = centre + plan.shrinks * (ends - centre)
        return (float(np.exp(low)), float(np.exp(high))) if self.logarithmic else (float(low), float(high))

    def check(self, plan: Plan, studies: int = 200, seed: int = 0) -> Checked:
        """Draw studies from the fitted law and its noise, refit each with and without the plan's runs, and compare."""
        rng, noise, fit = np.random.default_rng(seed), self.noise, self.fit
        new = {name: plan.runs[name].to_numpy() for name in "ND"}
        columns = {name: np.concatenate([fit.columns[name], new[name]]) for name in "ND"}
        bound = fit.law.bind(columns)
        begin = np.linalg.solve(bound.transform, fit.theta)
        size = np.concatenate([noise.size, noise.size[self._nearest(new["N"], new["D"])]])
        residual = size * rng.choice(noise.standard * np.sqrt(fit.n_runs / noise.free), (studies, len(size)))
        truth = bound.evaluate(begin[None])[0]
        observed = truth * np.exp(-residual) if fit.loss.logarithmic else truth - residual
        spreads = []
        for weight in (np.ones(len(size)), np.arange(len(size)) < fit.n_runs):
            weights = np.repeat(weight[None].astype(float), studies, axis=0)
            found = solver.minimise(bound, fit.loss, observed, np.repeat(begin[None], studies, axis=0), weights)
            values = self.quantity(found.phi @ bound.transform.T)
            low, high = np.quantile(values[np.isfinite(values)], [0.25, 0.75])
            spreads.append(high - low)
        freedom = self._critical(fit.n_runs + len(plan.runs)) / self._critical(fit.n_runs)
        return Checked(realised=float(spreads[0] / spreads[1] * freedom), predicted=plan.shrinks, studies=studies)

    def _candidates(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """N, D and cost of a grid that reaches a little beyond the runs."""
        edges = [(self.fit.columns[name].min() / self.reach, self.fit.columns[name].max() * self.reach) for name in "ND"]
        N, D = (axis.ravel() for axis in np.meshgrid(*(np.geomspace(*edge, GRID) for edge in edges), indexing="ij"))
        return N, D, FLOPS_PER_PARAMETER_TOKEN * N * D

    def _within(self, name: str, values: np.ndarray) -> np.ndarray:
        column = self.fit.columns[name]
        return (values >= column.min() * (1 - 1e-9)) & (values <= column.max() * (1 + 1e-9))

    def _nearest(self, N: np.ndarray, D: np.ndarray) -> np.ndarray:
        """For each new run the run there is that is nearest in ln N and ln D."""
        distance = 0.0
        for name, values in (("N", N), ("D", D)):
            distance = distance + (np.log(values)[:, None] - np.log(self.fit.columns[name])) ** 2
        return np.argmin(distance, axis=1)

    def _told(self, N: np.ndarray, D: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What a run at each candidate adds to the information and to the scatter (m, p, p), and the run nearest to it."""
        fit, noise = self.fit, self.noise
        prediction, jacobian, _ = fit.law.bind({"N": N, "D": D}, centre=False).evaluate(fit.theta[None])
        rows = (jacobian[0] / (prediction[0] if fit.loss.logarithmic else 1.0)).T @ fit.bound.transform / noise.unit
        outer, near = rows[:, :, None] * rows[:, None, :], self._nearest(N, D)
        return noise.inside[near][:, None, None] * outer, noise.square[near][:, None, None] * outer, near

    def _critical(self, n: int) -> float:
        return float(np.sqrt(critical_value(self.level, n - len(self.fit.phi))))

    def _widths(self, information: np.ndarray, scatter: np.ndarray, n: int) -> np.ndarray:
        """Half the width of the goal's interval for each information and scatter (m, p, p)."""
        influence = np.linalg.pinv(information, rcond=1e-12, hermitian=True) @ self.slope
        return self._critical(n) * np.sqrt(np.einsum("mi,mij,mj->m", influence, scatter, influence))

    def _best(self, gain: np.ndarray, spread: np.ndarray, others: np.ndarray, allowed: np.ndarray, runs: int) -> int:
        """The candidate that is best beside the others."""
        information = self.information + gain[others].sum(axis=0) + gain[allowed]
        scatter = self.scatter + spread[others].sum(axis=0) + spread[allowed]
        return int(allowed[np.argmin(self._widths(information, scatter, self.fit.n_runs + runs))])

    def _after(self, gain: np.ndarray, spread: np.ndarray, chosen: np.ndarray) -> float:
        """Half the width with the chosen runs."""
        information, scatter = self.information + gain[chosen].sum(axis=0), self.scatter + spread[chosen].sum(axis=0)
        return float(self._widths(information[None], scatter[None], self.fit.n_runs + len(chosen))[0])
