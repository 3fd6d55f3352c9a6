"""The paper's laws as a planner needs them: what is printed, what is assumed, how well it is known, where it ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from nmm import paper
from nmm.laws.forms.eq1 import Cost, Eq1
from nmm.laws.forms.optimum import late_fusion_optimum, optimum
from nmm.laws.use.planner import Reach
from nmm.laws.use.procedure import LEVEL_AT, encoder

NAMES = ("early", "late", "sparse")
FIELDS = ("E", "A", "B", "alpha", "beta")


@dataclass(frozen=True, kw_only=True)
class PublishedLaw:
    """One law of the paper."""

    name: str
    law: Eq1
    note: str     # what is printed and what is assumed
    covers: str   # what the band covers
    spread: bool  # whether the band holds a published spread, or rounding alone
    bounded: str  # of "N", "D" and "L" those whose band says something: with D*/N* assumed, digits bound no size
    reach: Reach
    draws: np.ndarray  # (n, 5) E, A, B, alpha, beta

    def band(self, quantity: str, C: float, level: float = 0.95) -> tuple[float, float]:
        """The middle `level` of N*, D* or L* over the draws, at C [FLOPs]: quantity is "N", "D" or "L".

        Raises:
            ValueError: level is not between 0 and 1.
        """
        if not 0 < level < 1:
            raise ValueError(f"level must be between 0 and 1: got {level:g}")
        values = getattr(self.optima(C), quantity)
        low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)

    def optima(self, C: float):
        """The optimum of every draw at one budget [FLOPs]."""
        columns, cost = self.draws.T, self.law.cost
        if cost.plain:
            return optimum(*columns, C)
        budgets = np.full(len(self.draws), C)
        return late_fusion_optimum(*columns, budgets, (cost.slope, cost.intercept), cost.vision_share, points=400)


def published_law(name: str, tokens_per_parameter: float, draws: int = 1000, seed: int = 0) -> PublishedLaw:
    """A law of the paper by name, with draws of what its digits and its spreads leave open.

    Every printed number is drawn evenly within its rounding. For early fusion alpha and beta are besides drawn from
    independent normals with the spreads of Table 11 (E, alpha, beta positive). E is not drawn with its own spread, because in a
    fit it moves with the exponents: it follows from the frontier, whose loss L and slope c at 1e21 FLOPs hold in every
    draw, as E = L (1 + c / r), r = alpha beta / (alpha + beta), shifted so that the printed exponents give the printed E.
    Table 11 is of early fusion alone: for the other two the draws are of rounding, which is no interval.

    Args:
        name: "sparse" (all of Eq. 1 is in Table 12), "early" or "late" (A and B are not published; they follow from
            Figure 26's frontier at 1e21 FLOPs and an assumed D*/N* there).
        tokens_per_parameter: the assumed D*/N* at 1e21 FLOPs, the same in every draw; not used for "sparse".
        draws, seed: of the sampling.
    Raises:
        ValueError: an unknown name, or a ratio that is not positive.
    """
    if name not in NAMES:
        raise ValueError(f"no published law {name!r}: there are early, late and sparse")
    rng = np.random.default_rng(seed)
    if name == "sparse":
        row = paper.TABLE_12_EQ_1
        law = Eq1(**{key: getattr(row, key).value for key in FIELDS})
        found = np.column_stack([_rounded(getattr(row, key), rng, draws) for key in FIELDS])
        note = "Table 12, Eq. 1; N counts active parameters"
    else:
        law, found = _from_frontier(name, tokens_per_parameter, rng, draws)
        note = f"Table 2 and Figure 26; A and B are not published: D*/N* = {tokens_per_parameter:g} at 1e21 FLOPs is assumed"
    spread = name == "early"
    covers = "Table 11's spreads and rounding" if spread else "rounding alone; no spread is published, so these say nothing of chance"
    return PublishedLaw(
        name=name, law=law, note=note, covers=covers, spread=spread, bounded="L" if name == "late" else "NDL",
        reach=_reach(name, law.cost), draws=found,
    )  # fmt: skip


def _from_frontier(name: str, ratio: float, rng: np.random.Generator, draws: int) -> tuple[Eq1, np.ndarray]:
    """Early or late fusion: the law at the printed numbers, and its draws."""
    row = next(law for law in paper.TABLE_2 if law.name == name)
    frontier = next(f for f in paper.FIGURE_26 if f.name == name)
    cost = Cost(slope=encoder()[0], intercept=encoder()[1], vision_share=paper.VISION_SHARE.value) if name == "late" else Cost()

    def surface(E: float, alpha: float, beta: float, K: float, c: float) -> Eq1:
        return Eq1.through(
            E=E, alpha=alpha, beta=beta, C=LEVEL_AT, excess=K * LEVEL_AT**c - E, tokens_per_parameter=ratio, cost=cost
        )

    def floor(alpha, beta, K, c):
        return K * LEVEL_AT**c * (1 + c * (1 / alpha + 1 / beta))

    printed = (row.E, row.alpha, row.beta, frontier.K, frontier.c)
    centre = [number.value for number in printed]
    found = []
    while len(found) < draws:
        E, alpha, beta, K, c = (float(_rounded(number, rng, 1)[0]) for number in printed)
        if name == "early":
            moved = [value + rng.normal(0, paper.TABLE_11["Std"][key].value) for key, value in (("alpha", alpha), ("beta", beta))]
            if min(moved) <= 0:
                continue
            E += floor(*moved, K, c) - floor(alpha, beta, K, c)
            alpha, beta = moved
        if 0 < E < K * LEVEL_AT**c:
            law = surface(E, alpha, beta, K, c)
            found.append([getattr(law, key) for key in FIELDS])
    return surface(*centre), np.array(found)


def _rounded(number: paper.Printed, rng: np.random.Generator, n: int) -> np.ndarray:
    """Values that are printed so, evenly."""
    return rng.uniform(number.low, number.high, n)


def _reach(name: str, cost: Cost) -> Reach:
    """The largest model on the most tokens: whether that run was made is not said, so the true end may be nearer."""
    largest = list(paper.SIZES[{"sparse": "moe"}.get(name, name)].values())[-1][0].value
    tokens = paper.MOST_TOKENS[name].value
    return Reach(runs=f"the paper's {name} runs", C=float(cost.flops(largest, tokens)), N=largest, D=tokens)


@cache
def _moe_counts() -> tuple[np.ndarray, np.ndarray]:
    """Active and all parameters of the six mixtures of Table 6, recounted."""
    from nmm.studies.presets import PAPER_MOE

    counts = [preset.model.counts for preset in PAPER_MOE.values()]
    return np.array([c.n_active for c in counts], dtype=float), np.array([c.n_total for c in counts], dtype=float)


def total_parameters(active):
    """All parameters of the paper's mixture of experts (8 experts, one of them active) by its active ones [parameters].

    Memory holds all of them, a token's compute only the active. No total is printed: the ratio is interpolated between the
    six sizes, recounted, and held beyond the smallest and the largest.
    """
    known, totals = _moe_counts()
    active = np.asarray(active, dtype=float)
    return active * np.interp(np.log(active), np.log(known), totals / known)


def crossing(first: PublishedLaw, second: PublishedLaw, low: float, high: float) -> float | None:
    """The budget at which the optimal losses of two laws are equal [FLOPs], or None if they are not between low and high."""
    from scipy.optimize import brentq

    def gap(log_C: float) -> float:
        return float(first.law.optimum(np.exp(log_C)).L - second.law.optimum(np.exp(log_C)).L)

    ends = np.log(low), np.log(high)
    return float(np.exp(brentq(gap, *ends))) if gap(ends[0]) * gap(ends[1]) < 0 else None


def ahead(first: PublishedLaw, second: PublishedLaw, C: Sequence[float]) -> np.ndarray:
    """Share of draws, paired, in which the first law's optimal loss is below the second's, at each budget."""
    return np.array([np.mean(first.optima(budget).L < second.optima(budget).L) for budget in C])
