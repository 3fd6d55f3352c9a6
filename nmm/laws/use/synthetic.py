"""Runs made up from a known law: what tests of a fitting method need, because the truth is known."""

import numpy as np

from nmm.laws.forms.eq1 import Eq1

# A surface with the exponents of the paper's early fusion (Table 2); A and B, not published, give each term half a
# nat at N = 1e9 and D = 5e10.
EARLY = Eq1(E=1.904, A=0.5 * 1e9**0.301, B=0.5 * 5e10**0.335, alpha=0.301, beta=0.335)
NOISE = {  # draws with mean absolute value 1
    "normal": lambda rng, n: rng.normal(0, np.sqrt(np.pi / 2), n),
    "laplace": lambda rng, n: rng.laplace(0, 1, n),
    "t4": lambda rng, n: rng.standard_t(4, n),
}


def study(
    law: Eq1 = EARLY, sizes: int = 6, budgets: int = 9, error: float = 0.009, seed: int = 0, noise: str = "normal"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A grid of runs over the paper's ranges, 0.275B to 3.35B parameters and 2.5B to 400B tokens.

    Args:
        sizes, budgets: of the grid.
        error: mean absolute error of ln L; the paper's held-in error is 0.86 % (Table 10).
        noise: a name in `NOISE`.
    Returns:
        N, D, L, (sizes * budgets,) each.
    Raises:
        ValueError: an unknown noise.
    """
    if noise not in NOISE:
        raise ValueError(f"noise must be one of {', '.join(NOISE)}: got {noise!r}")
    grid = np.meshgrid(np.geomspace(0.275e9, 3.35e9, sizes), np.geomspace(2.5e9, 4e11, budgets), indexing="ij")
    N, D = (axis.ravel() for axis in grid)
    return N, D, law.loss(N, D) * np.exp(error * NOISE[noise](np.random.default_rng(seed), len(N)))
