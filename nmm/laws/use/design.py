"""Which run next: the runs that shrink the interval of a goal most for a budget, by what they would tell about the fitted law.

A run at (N, D) adds its own row to the information of the fit. The noise there is taken as that of the run nearest to it. The
width that an interval would have follows without training anything; `check` trains nothing either, but refits drawn studies
with and without the new runs, which the prediction must agree with.

Where the runs there are share trunks, new runs of one size are taken as branches of one new trunk: together they cost less to
train and tell less than runs of their own seeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nmm.laws.core import solver
from nmm.laws.core.losses import Loss
from nmm.laws.core.noise import Noise
from nmm.laws.core.profile import Pull, critical_value
from nmm.laws.forms.optimum import FLOPS_PER_PARAMETER_TOKEN
from nmm.laws.forms.parametric import ParametricFit

if TYPE_CHECKING:
    import pandas as pd

GOALS = ("a", "alpha", "beta", "E", "N*", "D*", "L*")
GRID = 24  # candidate sizes, and candidate token budgets
PASSES = 12  # of the exchange, which ends when no run can be bettered
PAIRS = 20_000  # drawn runs of a trunk, for the correlation of their scores


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
class Candidates:
    """Runs that could be trained, (m,) each."""

    N: np.ndarray
    D: np.ndarray
    cost: np.ndarray  # [FLOPs]
    gain: np.ndarray  # (m, p, p) what each adds to the information
    pull: np.ndarray  # (m, p) how far its luck moves the gradient, one standard deviation


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
        cluster: what each run shares its luck with, as in `Fit.profile`.
    Raises:
        ValueError: an unknown goal, a missing C, a level or reach out of range, labels that are not one a run, or runs that do
            not determine the goal.
    """

    def __init__(
        self, fit: ParametricFit, goal: str, C: float | None = None, level: float = 0.95, reach: float = 2.0,
        cluster: np.ndarray | None = None,
    ):
        if goal not in GOALS:
            raise ValueError(f"no goal {goal!r}: there are {', '.join(GOALS)}")
        if not reach >= 1:
            raise ValueError(f"reach is a factor beyond the runs there are, at least 1: got {reach:g}")
        lost = set(fit.unidentified) & ({goal} if goal in ("alpha", "beta", "E") else {"A", "B", "alpha", "beta"})
        if lost:
            reason = fit.warnings[0] if fit.warnings else f"{', '.join(sorted(lost))} are not identified"
            raise ValueError(f"these runs do not determine {goal}, so no plan can be compared with what is known: {reason}")
        self.fit, self.goal, self.C, self.level, self.reach = fit, goal, C, level, reach
        self.intervals = fit.profile(cluster)
        self.now = self.intervals.interval(goal, level, C)
        profile, self.logarithmic = self.intervals.profile_of(goal, C)
        self.quantity, self.noise = profile.quantity, self.intervals.noise
        if self.noise.exact or self.noise.free < 1:
            raise ValueError("the runs have no noise to plan against: there must be more of them than unknowns, and they must scatter")
        self.slope = Pull(self.quantity, fit.bound.transform, 0.0, 1.0).derivatives(fit.phi[None])[1][0]
        self.shared = _of_scores(self.noise, fit.loss)
        scaled = self.noise.sensitivity / self.noise.unit
        self.information = scaled.T @ (self.noise.inside[:, None] * scaled)
        labels = np.arange(fit.n_runs) if self.noise.labels is None else self.noise.labels
        self.scatter = self._scatter(np.sqrt(self.noise.square)[:, None] * scaled, labels)
        self.free = fit.n_runs - len(fit.phi) if self.noise.shared is None else profile.free
        self.width = float(self._widths(self.information[None], self.scatter[None], 0)[0])

    def plan(self, budget: float, runs: int) -> Plan:
        """The best exactly `runs` runs that cost at most `budget` FLOPs together.

        Exchange: each run in turn is replaced by the candidate that is best beside the others, until none gets better.

        Raises:
            ValueError: the budget is not positive, or pays for no run in reach.
        """
        import pandas as pd

        if not (np.isfinite(budget) and budget > 0) or runs < 1:
            raise ValueError(f"a plan needs a positive budget and at least one run: got {budget:g} FLOPs and {runs} runs")
        there = self._candidates()
        cost = there.cost
        # A trunk has one branch of a length: where runs share trunks no two new ones are alike.
        if np.sum(cost * runs <= budget) < (1 if self.noise.shared is None else runs):
            raise ValueError(
                f"{budget:.3g} FLOPs pay for no {runs} runs in reach: the smallest costs {cost.min():.3g}; raise the budget or the reach"
            )
        chosen, changed = np.full(runs, -1), 0
        for step in range(PASSES * runs):
            place = step % runs
            others = np.delete(chosen, place)
            others = others[others >= 0]
            # Until all places are filled each of them has an even share of the budget.
            room = budget - cost[others].sum() if (chosen >= 0).all() else budget / runs
            best = self._best(there, others, np.flatnonzero(cost <= room), runs)
            if step >= runs and best == chosen[place]:
                if step - changed >= runs:
                    break
                continue
            chosen[place] = best
            changed = step
        order = chosen[np.argsort(cost[chosen])]
        N, D = there.N[order], there.D[order]
        table = pd.DataFrame({"N": N, "D": D, "C": cost[order], "beyond": ~(self._within("N", N) & self._within("D", D))})
        return Plan(runs=table, shrinks=self._after(there, chosen) / self.width)

    def expected(self, plan: Plan) -> tuple[float, float]:
        """The interval that the plan's runs would leave, if the estimate stays where it is."""
        ends = np.array(self.now, dtype=float)
        centre = float(self.quantity(self.fit.theta[None])[0])
        ends = np.log(ends) if self.logarithmic else ends
        low, high = centre + plan.shrinks * (ends - centre)
        return (float(np.exp(low)), float(np.exp(high))) if self.logarithmic else (float(low), float(high))

    def check(self, plan: Plan, studies: int = 200, seed: int = 0) -> Checked:
        """Draw studies from the fitted law and its noise, refit each with and without the plan's runs, and compare.

        Raises:
            ValueError: fewer than two studies.
        """
        if studies < 2:
            raise ValueError(f"studies, drawn to see how estimates scatter, must be at least 2: got {studies}")
        rng, noise, fit = np.random.default_rng(seed), self.noise, self.fit
        new = {name: plan.runs[name].to_numpy() for name in "ND"}
        columns = {name: np.concatenate([fit.columns[name], new[name]]) for name in "ND"}
        bound = fit.law.bind(columns)
        begin = np.linalg.solve(bound.transform, fit.theta)
        size = np.concatenate([noise.size, noise.size[self._nearest(new["N"], new["D"])]])
        standard = noise.standard * np.sqrt(fit.n_runs / noise.free)
        residual = rng.choice(standard, (studies, len(size)))
        if noise.shared is not None:
            trunks = np.concatenate([noise.labels, noise.labels.max() + 1 + np.unique(new["N"], return_inverse=True)[1]])
            together = rng.choice(standard, (studies, trunks.max() + 1))[:, trunks]
            residual = np.sqrt(noise.correlation) * together + np.sqrt(1 - noise.correlation) * residual
        residual = size * residual
        truth = bound.evaluate(begin[None])[0]
        observed = truth * np.exp(-residual) if fit.loss.logarithmic else truth - residual
        spreads = []
        for weight in (np.ones(len(size)), np.arange(len(size)) < fit.n_runs):
            weights = np.repeat(weight[None].astype(float), studies, axis=0)
            found = solver.minimise(bound, fit.loss, observed, np.repeat(begin[None], studies, axis=0), weights)
            values = self.quantity(found.phi @ bound.transform.T)
            low, high = np.quantile(values[np.isfinite(values)], [0.25, 0.75])
            spreads.append(high - low)
        freedom = self._critical(self._more(new["N"])) / self._critical(0)
        return Checked(realised=float(spreads[0] / spreads[1] * freedom), predicted=plan.shrinks, studies=studies)

    def _candidates(self) -> Candidates:
        """A grid of runs that reaches a little beyond those there are; each has the noise of the run nearest to it."""
        fit, noise = self.fit, self.noise
        edges = [(fit.columns[name].min() / self.reach, fit.columns[name].max() * self.reach) for name in "ND"]
        N, D = (axis.ravel() for axis in np.meshgrid(*(np.geomspace(*edge, GRID) for edge in edges), indexing="ij"))
        prediction, jacobian, _ = fit.law.bind({"N": N, "D": D}, centre=False).evaluate(fit.theta[None])
        rows = (jacobian[0] / (prediction[0] if fit.loss.logarithmic else 1.0)).T @ fit.bound.transform / noise.unit
        near = self._nearest(N, D)
        return Candidates(
            N=N, D=D, cost=FLOPS_PER_PARAMETER_TOKEN * N * D, gain=noise.inside[near][:, None, None] * rows[:, :, None] * rows[:, None, :],
            pull=np.sqrt(noise.square[near])[:, None] * rows,
        )  # fmt: skip

    def _within(self, name: str, values: np.ndarray) -> np.ndarray:
        column = self.fit.columns[name]
        return (values >= column.min() * (1 - 1e-9)) & (values <= column.max() * (1 + 1e-9))

    def _nearest(self, N: np.ndarray, D: np.ndarray) -> np.ndarray:
        """For each new run the run there is that is nearest in ln N and ln D."""
        distance = 0.0
        for name, values in (("N", N), ("D", D)):
            distance = distance + (np.log(values)[:, None] - np.log(self.fit.columns[name])) ** 2
        return np.argmin(distance, axis=1)

    def _scatter(self, pull: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Variance of the gradient (p, p) that runs with these pulls (n, p) add, of which those with one label share some luck."""
        together = np.array([pull[labels == label].sum(axis=0) for label in np.unique(labels)]) if self.shared else pull
        return (1 - self.shared) * pull.T @ pull + self.shared * together.T @ together

    def _more(self, N: np.ndarray) -> int:
        """Degrees of freedom that new runs of sizes N add: one a run, or one a trunk."""
        return len(N) if self.noise.shared is None else len(np.unique(N))

    def _critical(self, more: int) -> float:
        return float(np.sqrt(critical_value(self.level, self.free + more)))

    def _widths(self, information: np.ndarray, scatter: np.ndarray, more: int) -> np.ndarray:
        """Half the width of the goal's interval for each information and scatter (m, p, p)."""
        influence = np.linalg.pinv(information, rcond=1e-12, hermitian=True) @ self.slope
        return self._critical(more) * np.sqrt(np.einsum("mi,mij,mj->m", influence, scatter, influence))

    def _best(self, there: Candidates, others: np.ndarray, allowed: np.ndarray, runs: int) -> int:
        """The candidate that is best beside the others."""
        if self.noise.shared is not None:
            allowed = np.setdiff1d(allowed, others)
        pull, same = there.pull[allowed], there.N[allowed][:, None] == there.N[others]
        crossed = pull[:, :, None] * (same @ there.pull[others])[:, None]
        information = self.information + there.gain[others].sum(axis=0) + there.gain[allowed]
        scatter = self.scatter + self._scatter(there.pull[others], there.N[others]) + pull[:, :, None] * pull[:, None]
        scatter = scatter + self.shared * (crossed + crossed.transpose(0, 2, 1))
        return int(allowed[np.argmin(self._widths(information, scatter, runs))])

    def _after(self, there: Candidates, chosen: np.ndarray) -> float:
        """Half the width with the chosen runs."""
        information = self.information + there.gain[chosen].sum(axis=0)
        scatter = self.scatter + self._scatter(there.pull[chosen], there.N[chosen])
        return float(self._widths(information[None], scatter[None], self._more(there.N[chosen]))[0])


def _of_scores(noise: Noise, loss: Loss) -> float:
    """Correlation of the scores of two runs of a trunk, from that of their noise: Huber's loss clips what they share.

    By drawn pairs of normal noise of the residuals' size; for a threshold far below the noise it is 2/pi arcsin(correlation).
    """
    if noise.shared is None or noise.correlation <= 0 or not loss.robust:
        return noise.correlation if noise.shared is not None else 0.0
    first, second = np.random.default_rng(0).normal(size=(2, PAIRS))
    second = noise.correlation * first + np.sqrt(1 - noise.correlation**2) * second
    spread = np.subtract(*np.quantile(noise.standard, [0.75, 0.25])) / 1.349
    return float(np.corrcoef(*(np.clip(spread * values, -loss.delta, loss.delta) for values in (first, second)))[0, 1])
