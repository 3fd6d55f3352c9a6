"""What to train for a budget: the optimum, the price of choosing otherwise, and models that will be used a lot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nmm.laws.use.optimum import FLOPS_PER_PARAMETER_TOKEN, Optimum, late_fusion_optimum, optimum
from nmm.training.devices import peak_flops

if TYPE_CHECKING:
    import pandas as pd

INFERENCE_FLOPS_PER_PARAMETER_TOKEN = 2.0  # forward pass only
REACH = 100.0  # a law is carried to at most this many times its largest run


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
        ValueError: E is negative or not a number.
    """

    E: float
    A: float
    B: float
    alpha: float
    beta: float
    cost: Cost = Cost()

    def __post_init__(self) -> None:
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


@dataclass(frozen=True, kw_only=True)
class Reach:
    """Where a law has been seen: the largest budget, size and number of tokens of the runs behind it."""

    runs: str
    C: float
    N: float
    D: float

    def beyond(self, C: float, N: float, D: float) -> tuple[str, ...]:
        """What of a plan lies beyond the runs, in words; nothing where all is within."""
        asked = {"C": (C, self.C, "FLOPs"), "N": (N, self.N, "parameters"), "D": (D, self.D, "tokens")}
        return tuple(
            f"{name} is {value / largest:.3g} times the largest of {self.runs}, {largest:.3g} {unit}"
            for name, (value, largest, unit) in asked.items()
            if value > largest * (1 + 1e-9)
        )

    def check(self, C: float, factor: float) -> None:
        """Refuse a budget more than `factor` times the largest run's.

        Raises:
            ValueError: with the budget, the largest run's and the factor.
        """
        if not C <= factor * self.C:
            raise ValueError(
                f"a budget of {C:.2g} FLOPs is {C / self.C:.2g} times the largest of {self.runs} ({self.C:.2g}): the law is not "
                f"carried beyond {factor:g} times; ask for a smaller budget, or allow a larger factor (reach)"
            )


def budget(gpu_hours: float, gpu: str, mfu: float) -> float:
    """Training compute of `gpu_hours` on GPUs of one type [FLOPs].

    Args:
        gpu_hours: hours times GPUs; gpu: its name, as `nmm.training.devices` knows it; mfu: share of the peak that training reaches.
    Raises:
        ValueError: an unknown GPU, hours not positive, or mfu not in (0, 1].
    """
    peak = peak_flops(gpu, "bf16")
    if peak is None:
        raise ValueError(f"unknown GPU {gpu!r}: known are A100, H100, H200, B200, MI300X and others of nmm.training.devices; or give the "
                         "budget in FLOPs")
    if not (np.isfinite(gpu_hours) and gpu_hours > 0):
        raise ValueError(f"gpu_hours must be positive: got {gpu_hours}")
    if not 0 < mfu <= 1:
        raise ValueError(f"mfu, the share of the peak FLOPs/s, must be in (0, 1]: got {mfu}")
    return gpu_hours * 3600.0 * peak * mfu


def isoloss(law: Eq1, C: float, factors=None) -> pd.DataFrame:
    """The cost of another size: tokens and compute to reach the optimal loss with N = factor N*, and the loss at C.

    Args:
        C: budget whose best loss is to be reached [FLOPs].
        factors: N / N*; by default from 1/8 to 8.
    Returns:
        One row a factor: N, D [tokens, infinite where out of reach], `C ratio` (compute over C), and `L at C`, the loss
        of that size when all of C is spent on it.
    """
    import pandas as pd

    best = law.optimum(C)
    factors = np.geomspace(1 / 8, 8, 49) if factors is None else np.asarray(factors, dtype=float)
    N = factors * best.N
    D = law.tokens_for(N, best.L)
    return pd.DataFrame({
        "N / N*": factors, "N": N, "D": D, "C ratio": law.cost.flops(N, D) / C,
        "L at C": law.loss(N, law.cost.tokens(N, C)),
    })  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class InferencePlan:
    """The cheapest model for a loss when its use counts too: compute in FLOPs over training and inference."""

    N: float
    D: float
    L: float
    C_train: float
    C_inference: float

    @property
    def total(self) -> float:
        """Training and inference together [FLOPs]."""
        return self.C_train + self.C_inference


def with_inference(law: Eq1, L: float, inference_tokens: float) -> InferencePlan:
    """The size and tokens that reach loss L with the least compute over training and use: 6 N D + 2 N T
    (or what the law's cost says).

    Args:
        L: loss to reach [nats/token]; inference_tokens: T, tokens processed over the life of the model.
    Raises:
        ValueError: L is not above E, or T is negative.
    Source: Sardana et al. 2023, Beyond Chinchilla-Optimal, Eq. 1 (there for two terms of tokens; here one).
    """
    from scipy.optimize import minimize_scalar

    if not L > law.E:
        raise ValueError(f"loss {L:g} cannot be reached: the law's floor is E = {law.E:g}")
    if not inference_tokens >= 0:
        raise ValueError(f"inference_tokens must not be negative: got {inference_tokens}")
    # The best size for training alone has a share beta/(alpha+beta) of the excess in its N term.
    N_train = (law.A * (law.alpha + law.beta) / (law.beta * (L - law.E))) ** (1 / law.alpha)
    N_least = (law.A / (L - law.E)) ** (1 / law.alpha)  # below it no amount of data is enough

    def log_cost(x: float) -> float:
        N = np.exp(x)
        total = law.cost.flops(N, law.tokens_for(N, L)) + law.cost.flops_in_use(N, inference_tokens)
        return float(np.log(total)) if np.isfinite(total) else 1e6

    # An encoder's fixed part moves the best size by a few per cent either way.
    ends = (np.log(N_least) + 1e-9, np.log(N_train) + (1e-3 if law.cost.plain else 0.5))
    found = minimize_scalar(log_cost, bounds=ends, method="bounded", options={"xatol": 1e-10})
    N = float(np.exp(found.x))
    D = float(law.tokens_for(N, L))
    return InferencePlan(
        N=N, D=D, L=L, C_train=float(law.cost.flops(N, D)), C_inference=float(law.cost.flops_in_use(N, inference_tokens))
    )
