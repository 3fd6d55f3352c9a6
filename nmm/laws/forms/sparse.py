"""The sparse law of Table 12, L(N, D, S) = A/N^alpha + B/D^beta + C (1-S)^lambda + d (1-S)^delta / N^gamma + E."""

import numpy as np

from nmm.laws.core.checks import columns as checked_columns
from nmm.laws.core.checks import constant
from nmm.laws.core.fitting import Fit, fit_law
from nmm.laws.core.law import Law, PowerSum, Term, coefficient, exponent
from nmm.laws.core.losses import Loss
from nmm.laws.core.starts import sampled


class SparseLaw(Law):
    """Loss of a mixture of experts with sparsity S, the share of inactive expert parameters."""

    name = "sparse"
    equation = (
        r"L(N, D, S) = \frac{A}{N^\alpha} + \frac{B}{D^\beta} + C (1-S)^\lambda + \frac{d (1-S)^\delta}{N^\gamma} + E"
    )
    source = "Shukor et al. 2025 (arXiv 2504.07951), Table 12; Abnar et al. 2025 (arXiv 2501.12370)"
    inputs = ("N", "D", "S")
    parameters = (
        coefficient("E", "nats/token"),
        coefficient("A", "nats/token * parameters^alpha"),
        coefficient("B", "nats/token * tokens^beta"),
        coefficient("C", "nats/token"),
        coefficient("d", "nats/token * parameters^gamma"),
        exponent("alpha"),
        exponent("beta"),
        exponent("gamma"),
        exponent("lambda", positive=False),
        exponent("delta", positive=False),
    )

    def bind(self, columns, centre=True):
        N, D, active = np.log(columns["N"]), np.log(columns["D"]), np.log1p(-columns["S"])
        one = np.ones(len(N))
        terms = [
            Term((0,), one[:, None]),
            Term((1, 5), np.column_stack([one, -N])),
            Term((2, 6), np.column_stack([one, -D])),
            Term((3, 8), np.column_stack([one, active])),
            Term((4, 9, 7), np.column_stack([one, active, -N])),
        ]
        return PowerSum(terms, self.parameters, centre=centre)


def fit_sparse(N, D, S, L, delta: float = 1e-3, loss: str = "log-huber") -> Fit:
    """Fit the sparse law.

    Args:
        N: active parameters [parameters]; D: tokens; L: loss [nats/token]; (n,) each.
        S: sparsity, 1 - active/total experts, in [0, 1).
        delta, loss: as in `fit_parametric`.
    Returns:
        Fit with values E, A, B, C, d, alpha, beta, gamma, lambda, delta. At a single S nearly all is unidentified,
        and the warnings say which combinations are known; then fit Eq. 1 instead.
    Raises:
        ValueError: bad values, S outside [0, 1), or fewer than ten distinct (N, D, S).
    """
    checked = checked_columns(N=N, D=D, L=L)
    S = np.asarray(S, dtype=float)
    if S.shape != checked["N"].shape or not np.all((S >= 0) & (S < 1)):
        raise ValueError(
            f"S, the sparsity, must be one value in [0, 1) a run: got shape {S.shape}, {S.min()} to {S.max()}"
        )
    columns = {"N": checked["N"], "D": checked["D"], "S": S}
    distinct = len(np.unique(np.column_stack(list(columns.values())), axis=0))
    if distinct < 10:
        raise ValueError(f"the sparse law has ten unknowns and needs at least ten distinct (N, D, S): got {distinct}")
    unidentified, warnings = constant(columns, {"N": ["A", "alpha", "d", "gamma", "E"], "D": ["B", "beta", "E"]})
    levels = np.unique(S)
    if len(levels) == 1:
        unidentified += ["lambda", "delta", "C", "E", "A", "alpha", "d", "gamma"]
        warnings.append(
            f"all runs have S = {levels[0]:g}: lambda and delta are unknown, of E and C only E + C (1-S)^lambda is "
            "known, and the two terms in N can swap; Eq. 1 holds all that these runs can say"
        )
    elif len(levels) == 2:
        unidentified += ["lambda", "C", "E"]
        warnings.append("two sparsities determine two levels, not the three numbers E, C and lambda: add a third")
    law = SparseLaw()
    ranges = {5: (0.05, 1.0), 6: (0.05, 1.0), 7: (0.05, 1.0), 8: (0.05, 2.0), 9: (-1.0, 1.0)}
    scaled = Loss(loss, delta)
    starts = sampled(law.bind(columns), checked["L"], ranges)
    return fit_law(law, columns, checked["L"], scaled, starts, Fit, unidentified, warnings)
