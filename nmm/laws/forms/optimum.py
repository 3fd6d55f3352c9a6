"""Compute-optimal N, D and L of Eq. 1: in closed form, by the paper's regression, and for late fusion."""

from dataclasses import dataclass

import numpy as np

FLOPS_PER_PARAMETER_TOKEN = 6.0  # forward and backward: C = 6 N D, Kaplan et al. 2020, Sec. 2.1


@dataclass(frozen=True)
class Optimum:
    """The best split of a compute budget: N [parameters], D [tokens], L [nats/token], each shaped like C."""

    C: np.ndarray | float
    N: np.ndarray | float
    D: np.ndarray | float
    L: np.ndarray | float


def exponents(alpha, beta) -> dict[str, np.ndarray]:
    """Exponents of the optimum under C = 6 N D, from Eq. 1.

    Returns:
        a (N* ~ C^a) = beta/(alpha+beta); b (D* ~ C^b) = alpha/(alpha+beta); d (D* ~ N*^d) = b/a;
        n (N* ~ D*^n) = a/b; dn (D*/N* ~ C^dn) = b - a.
    Source: the paper, Sec. 2.2 and App. C.2; derived with sympy in the tests and in the chapter on exponents.
    """
    alpha, beta = np.asarray(alpha, dtype=float), np.asarray(beta, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        a, b = beta / (alpha + beta), alpha / (alpha + beta)
        return {"a": a, "b": b, "d": b / a, "n": a / b, "dn": b - a}


def optimum(E, A, B, alpha, beta, C) -> Optimum:
    """Minimise Eq. 1 over N and D at C = 6 N D, in closed form; arguments broadcast.

    Args:
        E, A, B, alpha, beta: parameters of Eq. 1, natural units.
        C: training compute [FLOPs].
    Raises:
        ValueError: a budget is not positive and finite, or an exponent or coefficient is not positive, so that
            the loss has no inner minimum.
    Source: Hoffmann et al. 2022, Eq. 4: N* = G (C/6)^a, D* = (C/6)^b / G, G = (alpha A / (beta B))^(1/(alpha+beta)).
    """
    E, A, B, alpha, beta, C = (np.asarray(v, dtype=float) for v in (E, A, B, alpha, beta, C))
    if not np.all(np.isfinite(C) & (C > 0)):
        raise ValueError(f"C, the compute budget in FLOPs, must be positive and finite: got {C}")
    for name, value in (("A", A), ("B", B), ("alpha", alpha), ("beta", beta)):
        if not np.all(value > 0):
            raise ValueError(f"{name} must be positive for an optimum to exist: got {np.min(value):g}")
    total = alpha + beta
    log_g = (np.log(alpha) + np.log(A) - np.log(beta) - np.log(B)) / total
    work = np.log(C / FLOPS_PER_PARAMETER_TOKEN)
    N, D = np.exp(log_g + beta / total * work), np.exp(-log_g + alpha / total * work)
    L = E + A / N**alpha + B / D**beta
    return Optimum(*(v[()] if v.ndim == 0 else v for v in (np.broadcast_to(C, L.shape), N, D, L)))


def budgets_within(E, A, B, alpha, beta, N: np.ndarray, D: np.ndarray) -> tuple[float, float]:
    """The budgets whose optimum lies among the runs: N* between their smallest and largest N, and D* between those of D.

    Args:
        E, A, B, alpha, beta: parameters of Eq. 1, natural units; N, D: of the runs [parameters], [tokens].
    Returns:
        Lowest and highest C [FLOPs]; the lowest is above the highest where the path of optima misses the runs.
    """
    one, power = optimum(E, A, B, alpha, beta, 1.0), exponents(alpha, beta)
    # N* = N*(1) C^a and D* = D*(1) C^b, solved for C at each end of the runs
    ends = np.array([
        [(edge(values) / best) ** (1 / power[key]) for edge in (np.min, np.max)]
        for values, best, key in ((N, one.N, "a"), (D, one.D, "b"))
    ])
    return float(ends[:, 0].max()), float(ends[:, 1].min())


@dataclass(frozen=True)
class Regression:
    """Power laws fitted through numerically found optima: exponents and constants, with K in `X = K Y^exponent`.

    a: N* = K_a C^a; b: D* = K_b C^b; d: D* = K_d N*^d; n: N* = K_n D*^n; dn: D*/N* = K_dn C^dn.
    """

    a: float
    b: float
    d: float
    n: float
    dn: float
    K_a: float
    K_b: float
    K_d: float
    K_n: float
    K_dn: float


def power_law(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Exponent and constant of `y = K x^k` by least squares on logs."""
    slope, intercept = np.polyfit(np.log(x), np.log(y), 1)
    return float(slope), float(np.exp(intercept))


def regress(C: np.ndarray, N: np.ndarray, D: np.ndarray) -> Regression:
    """The five power laws through optima (C, N*, D*). Source: the paper, App. C.2."""
    pairs = {"a": (C, N), "b": (C, D), "d": (N, D), "n": (D, N), "dn": (C, D / N)}
    fitted = {name: power_law(*pair) for name, pair in pairs.items()}
    return Regression(**{k: v[0] for k, v in fitted.items()}, **{f"K_{k}": v[1] for k, v in fitted.items()})


def grid_search(E, A, B, alpha, beta, C: np.ndarray, D: np.ndarray, encoder=(0.0, 0.0), shift: float = 0.0) -> Optimum:
    """The best of given D at each budget: the paper's search, with all that a grid does to its answer.

    Args:
        C: budgets [FLOPs], (k,); D: the grid [tokens], (m,).
        encoder: slope and intercept of the vision encoder's size N_v against N, see `encoder_line`.
        shift: s in N = C/6D + s N_v, the part of the encoder that a token does not pass; 0 without an encoder.
    Returns:
        Optimum of shape (k,), unrefined: D is a point of the grid, and its ends where the best D is beyond.
    Source: the paper, App. C.2.
    """
    C, D = np.asarray(C, dtype=float), np.asarray(D, dtype=float)
    slope, intercept = encoder
    N = (C[:, None] / (FLOPS_PER_PARAMETER_TOKEN * D) + shift * intercept) / (1 - shift * slope)
    loss = np.full(N.shape, np.inf)
    np.copyto(loss, E + A / np.abs(N) ** alpha + B / D**beta, where=N > 0)
    rows, best = np.arange(len(C)), np.argmin(loss, axis=1)
    return Optimum(C, N[rows, best], D[best], loss[rows, best])


def regression(
    E, A, B, alpha, beta, C: np.ndarray, D: np.ndarray | None = None, encoder=(0.0, 0.0), shift: float = 0.0
) -> Regression:
    """The exponents of the optimum as the paper finds them: numerically, then regressed on logs.

    Args:
        C: at least two budgets [FLOPs].
        D: the grid that `grid_search` tries [tokens]; `nmm.laws.use.procedure` has the paper's, whose ends and steps
            bend the exponents. None finds each optimum to the last digit, wherever it is.
        encoder, shift: as in `grid_search`.
    Raises:
        ValueError: fewer than two budgets, or every best D is one and the same point of the grid.
    Source: the paper, App. C.2 ("very close results" to the closed form, Table 9).
    """
    C = np.asarray(C, dtype=float)
    if C.ndim != 1 or len(np.unique(C)) < 2:
        raise ValueError(f"a regression needs at least two different budgets: got C of shape {C.shape}")
    if D is None:
        best = late_fusion_optimum(E, A, B, alpha, beta, C, encoder=encoder, vision_share=1 - shift)
    else:
        best = grid_search(E, A, B, alpha, beta, C, D, encoder, shift)
    if np.ptp(best.D) == 0:
        raise ValueError(f"the best D is {best.D[0]:g} tokens at every budget: widen the grid or the range of budgets")
    return regress(C, best.N, best.D)


def late_fusion_optimum(
    E,
    A,
    B,
    alpha,
    beta,
    C: np.ndarray,
    encoder: tuple[float, float],
    vision_share: float,
    N_counts: str = "total",
    points: int = 4000,
) -> Optimum:
    """Compute-optimal late fusion, C = 6 (N_v D_v + N_t D), found numerically: the encoder's size follows N.

    Args:
        E, A, B, alpha, beta: of Eq. 1, natural units; numbers, or one a budget (k,).
        C: budgets [FLOPs], (k,).
        encoder: slope and intercept of N_v = slope N + intercept [parameters], see `encoder_line`.
        vision_share: D_v / D, the share of tokens that the vision encoder sees, from the data.
        N_counts: what N of Eq. 1 is: "total" (encoder and decoder) or "decoder".
        points: size of the grid of D.
    Returns:
        Optimum whose N is counted as `N_counts` says. Encoder and decoder are both larger than nothing there.
    Raises:
        ValueError: `vision_share` is not in [0, 1], `N_counts` is unknown, or at a budget the best split would leave no
            encoder or no decoder: the line does not hold at that size.
    Source: the paper, App. C.2. There N_i = C/6D + 0.483 N_v; with D_v = 0.544 D, as stated, it is 1 - 0.544 = 0.456.
    """
    if not 0 <= vision_share <= 1:
        raise ValueError(f"vision_share must be in [0, 1]: got {vision_share}")
    if N_counts not in ("total", "decoder"):
        raise ValueError(f'N_counts must be "total" or "decoder": got {N_counts!r}')
    slope, intercept = encoder
    E, A, B, alpha, beta = (np.asarray(v, dtype=float) for v in (E, A, B, alpha, beta))
    C = np.atleast_1d(np.asarray(C, dtype=float))
    # Of each parameter of N, how much works on each token; the encoder's part works on `vision_share` of them.
    per_N = 1 - slope * (1 - vision_share) if N_counts == "total" else 1 + slope * vision_share
    constant = -intercept * (1 - vision_share) if N_counts == "total" else intercept * vision_share
    D = np.sqrt(C / FLOPS_PER_PARAMETER_TOKEN)[:, None] * np.geomspace(1e-5, 1e5, points)
    N = (C[:, None] / (FLOPS_PER_PARAMETER_TOKEN * D) - constant) / per_N
    encoder_size = slope * N + intercept
    decoder_size = N - encoder_size if N_counts == "total" else N
    possible = (N > 0) & (decoder_size > 0) & ((encoder_size > 0) | (slope == intercept == 0))
    loss = np.full(N.shape, np.inf)
    each = (E[..., None], A[..., None], B[..., None], alpha[..., None], beta[..., None])
    np.copyto(loss, each[0] + each[1] / np.abs(N) ** each[3] + each[2] / D ** each[4], where=possible)
    rows, best = np.arange(len(C)), np.argmin(loss, axis=1)
    inner = (best > 0) & (best < points - 1)
    best = np.clip(best, 1, points - 2)
    bad = np.flatnonzero(~(inner & possible[rows, best - 1] & possible[rows, best + 1]))
    if len(bad):
        raise ValueError(
            f"at {C[bad[0]]:.3g} FLOPs the best split would leave no decoder or no encoder: the encoder's line "
            f"N_v = {slope:g} N + {intercept:g} does not hold for models so small; raise C or give another line"
        )
    # The vertex of the parabola through the three lowest points removes the grid's rounding.
    low, mid, high = (loss[rows, best + k] for k in (-1, 0, 1))
    curve = low - 2 * mid + high
    usable = np.isfinite(curve) & (curve > 0)
    shift = np.where(usable, 0.5 * (low - high) / np.where(usable, curve, 1.0), 0.0)
    D_best = D[rows, best] * (D[:, 1] / D[:, 0]) ** shift
    N_best = (C / (FLOPS_PER_PARAMETER_TOKEN * D_best) - constant) / per_N
    return Optimum(C, N_best, D_best, E + A / N_best**alpha + B / D_best**beta)


def encoder_line(N: np.ndarray, N_v: np.ndarray) -> tuple[float, float]:
    """Slope and intercept of the vision encoder's size N_v against N [parameters]. Source: the paper, App. C.2."""
    slope, intercept = np.polyfit(np.asarray(N, dtype=float), np.asarray(N_v, dtype=float), 1)
    return float(slope), float(intercept)
