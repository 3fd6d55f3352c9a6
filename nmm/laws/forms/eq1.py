"""Eq. 1 as numbers alone, without the runs it was fitted to, and what a token costs: what planning and made-up studies take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nmm.laws.forms.optimum import FLOPS_PER_PARAMETER_TOKEN, Optimum, late_fusion_optimum, optimum

INFERENCE_FLOPS_PER_PARAMETER_TOKEN = 2.0  # forward pass only


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a token costs: C = 6 D (N - (1 - vision_share) N_v), with N_v = slope N + intercept the vision encoder's size.

    The default is a model without an encoder, C = 6 N D. Source: the paper, Table 1 and App. C.2, C = 6 (N_v D_v + N_t D).
    """

    slope: float = 0.0
    intercept: float = 0.0     # [parameters]
    vision_share: float = 1.0  # D_v / D

    @property
    def plain(self) -> bool:
        """Whether this is 6 N D."""
        return self.slope == self.intercept == 0 or self.vision_share == 1

    def worked(self, N):
        """Parameters that work on the average token [parameters]."""
        N = np.asarray(N, dtype=float)
        return N - (1 - self.vision_share) * (self.slope * N + self.intercept)

    def flops(self, N, D):
        """Training compute [FLOPs]."""
        return FLOPS_PER_PARAMETER_TOKEN * self.worked(N) * np.asarray(D, dtype=float)

    def tokens(self, N, C):
        """Tokens that C FLOPs pay for [tokens]."""
        return C / FLOPS_PER_PARAMETER_TOKEN / self.worked(N)

    def flops_in_use(self, N, T):
        """Compute of T tokens processed after training, forward only [FLOPs]."""
        return INFERENCE_FLOPS_PER_PARAMETER_TOKEN * self.worked(N) * T


@dataclass(frozen=True, kw_only=True)
class Eq1:
    """Coefficients of Eq. 1 in natural units: E [nats/token], A, B, alpha, beta; and what a token costs.

    Raises:
        ValueError: E is negative, or a coefficient is no finite number.
    """

    E: float
    A: float
    B: float
    alpha: float
    beta: float
    cost: Cost = Cost()

    def __post_init__(self) -> None:
        for name in ("E", "A", "B", "alpha", "beta"):
            if not np.isfinite(getattr(self, name)):
                raise ValueError(f"{name} of Eq. 1 must be a finite number: got {getattr(self, name)}")
        if not self.E >= 0:
            raise ValueError(f"E, the lowest loss that the law allows, must not be negative: got {self.E:g}")

    @classmethod
    def through(
        cls, *, E: float, alpha: float, beta: float, C: float, excess: float, tokens_per_parameter: float, cost: Cost = Cost()
    ) -> Eq1:
        """The law whose optimum at C has the loss E + excess and a given D*/N*: these two fix A and B.

        Raises:
            ValueError: the excess or the ratio is not positive.
        """
        if not (excess > 0 and tokens_per_parameter > 0):
            raise ValueError(
                f"the loss at {C:g} FLOPs must lie above E = {E:g}, and D*/N* above 0: "
                f"got {E + excess:.4g} and {tokens_per_parameter:g}"
            )
        # 6 r N (per N + constant) = C is a quadratic in N
        per, constant = cost.worked(1.0) - cost.worked(0.0), cost.worked(0.0)
        work = C / FLOPS_PER_PARAMETER_TOKEN / tokens_per_parameter
        N = float((np.sqrt(constant**2 + 4 * per * work) - constant) / (2 * per))
        D = tokens_per_parameter * N
        # At the optimum alpha A/N^alpha = share beta B/D^beta, share = d ln(worked)/d ln N, and the terms add up to the excess.
        share = float(per * N / cost.worked(N))
        of_N = excess * beta * share / (alpha + beta * share)
        return cls(E=E, A=of_N * N**alpha, B=(excess - of_N) * D**beta, alpha=alpha, beta=beta, cost=cost)

    def loss(self, N, D) -> np.ndarray:
        """L(N, D) [nats/token]."""
        return (
            self.E
            + self.A / np.asarray(N, dtype=float) ** self.alpha
            + self.B / np.asarray(D, dtype=float) ** self.beta
        )

    def optimum(self, C) -> Optimum:
        """Compute-optimal N, D and L at C [FLOPs]."""
        if self.cost.plain:
            return optimum(self.E, self.A, self.B, self.alpha, self.beta, C)
        if not np.all(np.isfinite(C) & (np.asarray(C) > 0)):
            raise ValueError(f"C, the compute budget in FLOPs, must be positive and finite: got {C}")
        encoder = (self.cost.slope, self.cost.intercept)
        best = late_fusion_optimum(self.E, self.A, self.B, self.alpha, self.beta, np.ravel(C), encoder, self.cost.vision_share)
        return Optimum(*(value.reshape(np.shape(C))[()] for value in (best.C, best.N, best.D, best.L)))

    def anchor(self, C: float) -> dict[str, float]:
        """The law as seen from one optimum, as the planner in the page computes with it: see `nmm.charts.planning.planner`."""
        best, constant = self.optimum(C), float(self.cost.worked(0.0))
        return {
            "E": self.E, "alpha": self.alpha, "beta": self.beta, "C0": C, "excess": float(best.L) - self.E,
            "ratio": float(best.D / best.N), "per_parameter": float(self.cost.worked(1.0)) - constant, "constant": constant,
        }  # fmt: skip

    def tokens_for(self, N, L) -> np.ndarray:
        """Tokens at which a model of N parameters reaches loss L; infinite where none do."""
        room = L - self.E - self.A / np.asarray(N, dtype=float) ** self.alpha
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(room > 0, (self.B / np.where(room > 0, room, 1.0)) ** (1 / self.beta), np.inf)
