"""What to train for a budget: the optimum, the price of choosing otherwise, and models that will be used a lot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nmm.laws.forms.eq1 import Eq1
from nmm.training.devices import peak_flops

if TYPE_CHECKING:
    import pandas as pd

REACH = 100.0  # a law is carried to at most this many times its largest run


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
    if not 0 <= inference_tokens < np.inf:
        raise ValueError(f"inference_tokens must be finite and not negative: got {inference_tokens}")
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
