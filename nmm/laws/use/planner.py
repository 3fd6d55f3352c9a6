"""What to train for a budget: the optimum, the price of choosing otherwise, and models that will be used a lot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nmm.laws.use.optimum import FLOPS_PER_PARAMETER_TOKEN, optimum
from nmm.training.devices import peak_flops

if TYPE_CHECKING:
    import pandas as pd

INFERENCE_FLOPS_PER_PARAMETER_TOKEN = 2.0  # forward pass only


@dataclass(frozen=True, kw_only=True)
class Eq1:
    """Coefficients of Eq. 1 in natural units: E [nats/token], A, B, alpha, beta."""

    E: float
    A: float
    B: float
    alpha: float
    beta: float

    def loss(self, N, D) -> np.ndarray:
        """L(N, D) [nats/token]."""
        return (
            self.E
            + self.A / np.asarray(N, dtype=float) ** self.alpha
            + self.B / np.asarray(D, dtype=float) ** self.beta
        )

    def optimum(self, C):
        """Compute-optimal N, D and L at C [FLOPs]."""
        return optimum(self.E, self.A, self.B, self.alpha, self.beta, C)

    def tokens_for(self, N, L) -> np.ndarray:
        """Tokens at which a model of N parameters reaches loss L; infinite where none do."""
        room = L - self.E - self.A / np.asarray(N, dtype=float) ** self.alpha
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(room > 0, (self.B / np.where(room > 0, room, 1.0)) ** (1 / self.beta), np.inf)


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


def from_frontier(
    E: float, alpha: float, beta: float, K: float, c: float, C: float, tokens_per_parameter: float
) -> Eq1:
    """A and B of a published row that gives only E, alpha, beta and a frontier K C^c.

    The loss on the frontier at C fixes one combination of A and B; D*/N* at C, which the caller assumes, the other.

    Raises:
        ValueError: the frontier at C is not above E, or the ratio is not positive.
    """
    excess = K * C**c - E
    if not (excess > 0 and tokens_per_parameter > 0):
        raise ValueError(
            f"the frontier at {C:g} FLOPs must lie above E = {E:g}, and D*/N* above 0: got {excess + E:.4g}"
        )
    N = np.sqrt(C / FLOPS_PER_PARAMETER_TOKEN / tokens_per_parameter)
    D = tokens_per_parameter * N
    # At the optimum alpha A/N^alpha = beta B/D^beta, and the two terms add up to the excess.
    return Eq1(
        E=E,
        A=excess * beta / (alpha + beta) * N**alpha,
        B=excess * alpha / (alpha + beta) * D**beta,
        alpha=alpha,
        beta=beta,
    )


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
        "N / N*": factors, "N": N, "D": D, "C ratio": FLOPS_PER_PARAMETER_TOKEN * N * D / C,
        "L at C": law.loss(N, C / FLOPS_PER_PARAMETER_TOKEN / N),
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
    """The size and tokens that reach loss L with the least compute over training and use: 6 N D + 2 N T.

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
        D = law.tokens_for(N, L)
        total = FLOPS_PER_PARAMETER_TOKEN * N * D + INFERENCE_FLOPS_PER_PARAMETER_TOKEN * N * inference_tokens
        return float(np.log(total)) if np.isfinite(total) else 1e6

    ends = (np.log(N_least) + 1e-9, np.log(N_train) + 1e-3)
    found = minimize_scalar(log_cost, bounds=ends, method="bounded", options={"xatol": 1e-10})
    N = float(np.exp(found.x))
    D = float(law.tokens_for(N, L))
    C_inference = INFERENCE_FLOPS_PER_PARAMETER_TOKEN * N * inference_tokens
    return InferencePlan(N=N, D=D, L=L, C_train=FLOPS_PER_PARAMETER_TOKEN * N * D, C_inference=C_inference)


def published_law(name: str, tokens_per_parameter: float) -> tuple[Eq1, str]:
    """A law of the paper by name, and a note on what of it is published and what is assumed.

    Args:
        name: "sparse" (all of Eq. 1 is in Table 12), "early" or "late" (A and B are not published; they follow
            from Figure 26's frontier at 1e21 FLOPs and an assumed D*/N* there).
        tokens_per_parameter: the assumed D*/N* at 1e21 FLOPs; not used for "sparse".
    Raises:
        ValueError: an unknown name.
    """
    from nmm import paper

    if name == "sparse":
        row = paper.TABLE_12_EQ_1
        values = {key: getattr(row, key).value for key in ("E", "A", "B", "alpha", "beta")}
        return Eq1(**values), "Table 12, Eq. 1; N counts active parameters"
    row = next((law for law in paper.TABLE_2 if law.name == name), None)
    frontier = next((f for f in paper.FIGURE_26 if f.name == name), None)
    if row is None or frontier is None:
        raise ValueError(f"no published law {name!r}: there are early, late and sparse")
    law = from_frontier(
        row.E.value, row.alpha.value, row.beta.value, frontier.K.value, frontier.c.value, 1e21, tokens_per_parameter
    )
    note = (
        f"Table 2 and Figure 26; A and B are not published: D*/N* = {tokens_per_parameter:g} at 1e21 FLOPs is assumed, "
        "so N* and D* hold up to that choice"
    )
    return law, note
