"""The sparse law of Table 12, L(N, D, S) = A/N^alpha + B/D^beta + C (1-S)^lambda + d (1-S)^delta / N^gamma + E, and simpler ones."""

import numpy as np

from nmm.laws.core.checks import columns as checked_columns
from nmm.laws.core.checks import constant
from nmm.laws.core.fitting import Fit, fit_law
from nmm.laws.core.law import Law, PowerSum, Term, coefficient, exponent
from nmm.laws.core.losses import Loss
from nmm.laws.core.starts import sampled

TABLE_12, ONE_FLOOR, TOKENS, WORTH, NONE = (
    "the law of Table 12", "the same with one floor", "parameters and tokens count for more", "parameters count for more",
    "no effect of experts")
# From the law of Table 12 to one without sparsity: form -> its numbers besides a floor E that is not known
FORMS: dict[str, tuple[str, ...]] = {
    TABLE_12: ("A", "B", "C", "d", "alpha", "beta", "gamma", "lambda", "delta"),
    ONE_FLOOR: ("A", "B", "d", "alpha", "beta", "gamma", "delta"),      # C = 0
    TOKENS: ("B", "d", "beta", "gamma", "delta", "kappa"),              # A = C = 0, and a factor (1-S)^kappa of the term in D; ours
    WORTH: ("B", "d", "beta", "gamma", "delta"),                        # A = C = 0
    NONE: ("B", "d", "beta", "gamma"),                                  # delta = 0 too: Eq. 1, its A and alpha named d and gamma
}
_NUMBERS = {parameter.name: parameter for parameter in (
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
    exponent("kappa", positive=False),
)}
_RANGES = {"alpha": (0.05, 1.0), "beta": (0.05, 1.0), "gamma": (0.05, 1.0), "lambda": (0.05, 2.0), "delta": (-1.0, 1.0),
           "kappa": (-1.0, 1.0)}       # of the exponents' starts
_GONE = 1e-4        # share of the term in N that a term has where a narrower law has none


class SparseForm(Law):
    """The law of Table 12 or a simpler one (`FORMS`), of a mixture of experts with sparsity S, the share of inactive experts.

    Each holds the next but for `TOKENS`, which holds `WORTH` and is not held itself. Where parameters count for more, mixtures of
    sparsity S have the loss of dense models with (1-S)^(-delta/gamma) times the parameters.

    Args:
        form: of `FORMS`.
        floor: E where it is known [nats/token]; None: fitted.
    Raises:
        ValueError: an unknown form, or a floor that is not finite or is negative.
    """

    name = "sparse form"
    equation = (
        r"L(N, D, S) = \frac{A}{N^\alpha} + \frac{B}{D^\beta} + C (1-S)^\lambda + \frac{d (1-S)^\delta}{N^\gamma} + E"
    )
    source = "Shukor et al. 2025 (arXiv 2504.07951), Table 12; Abnar et al. 2025 (arXiv 2501.12370)"
    inputs = ("N", "D", "S")

    def __init__(self, form: str, floor: float | None = None):
        if form not in FORMS:
            raise ValueError(f"unknown form {form!r}: there are {', '.join(FORMS)}")
        if floor is not None and not (np.isfinite(floor) and floor >= 0):
            raise ValueError(f"a known floor must be finite and not negative [nats/token]: got {floor}")
        self.form, self.floor = form, floor
        self.parameters = tuple(_NUMBERS[name] for name in (*(["E"] if floor is None else []), *FORMS[form]))

    def bind(self, columns, centre=True):
        N, D, active = np.log(columns["N"]), np.log(columns["D"]), np.log1p(-columns["S"])
        one, at = np.ones(len(N)), {name: place for place, name in enumerate(self.names)}
        shapes = {"E": {"E": one}, "A": {"A": one, "alpha": -N}, "B": {"B": one, "beta": -D, "kappa": active},
                  "C": {"C": one, "lambda": active}, "d": {"d": one, "delta": active, "gamma": -N}}
        terms = []
        for head, shape in shapes.items():
            if head in at:
                here = [name for name in shape if name in at]
                terms.append(Term(tuple(at[name] for name in here), np.column_stack([shape[name] for name in here])))
        offset = None if self.floor is None else np.full(len(N), self.floor)
        return PowerSum(terms, self.parameters, offset=offset, centre=centre)

    def widened(self, theta: np.ndarray, wider: "SparseForm", N: float) -> np.ndarray:
        """theta (p,) of this law as one of a wider form, the same but for terms that this law has not: those are next to nothing.

        Args:
            N: a size in the middle of the runs [parameters].
        """
        mine = dict(zip(self.names, np.asarray(theta).tolist()))
        gone = mine["d"] - mine["gamma"] * np.log(N) + np.log(_GONE)        # log of such a term
        new = {"delta": 0.0, "kappa": 0.0, "lambda": 0.2, "alpha": mine["gamma"], "A": gone + mine["gamma"] * np.log(N), "C": gone}
        return np.array([mine.get(name, new.get(name)) for name in wider.names])


class SparseLaw(SparseForm):
    """The law of Table 12 with all of its ten numbers."""

    name = "sparse"

    def __init__(self):
        super().__init__(TABLE_12)


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
    return _fit(SparseLaw(), N, D, S, L, Loss(loss, delta))


def fit_form(N, D, S, L, form: str, floor: float | None = None, loss: Loss | None = None) -> Fit:
    """Fit the law of Table 12 or a simpler one, with the floor known or not.

    Args:
        N, D, S, L: as for `fit_sparse`.
        form, floor: as for `SparseForm`.
        loss: None: the paper's, Huber of log residuals.
    Raises:
        ValueError: as `fit_sparse` and `SparseForm`; or a floor that a loss does not exceed.
    """
    return _fit(SparseForm(form, floor), N, D, S, L, loss or Loss())


def _fit(law: SparseForm, N, D, S, L, loss: Loss) -> Fit:
    checked = checked_columns(N=N, D=D, L=L)
    S = np.asarray(S, dtype=float)
    if S.shape != checked["N"].shape or not np.all((S >= 0) & (S < 1)):
        raise ValueError(
            f"S, the sparsity, must be one value in [0, 1) a run: got shape {S.shape}" + (f", {S.min()} to {S.max()}" if S.size else "")
        )
    columns, L = {"N": checked["N"], "D": checked["D"], "S": S}, checked["L"]
    if law.floor is not None and not law.floor < L.min():
        raise ValueError(f"a known floor must lie below every loss: got {law.floor:g}, and the lowest loss is {L.min():g}")
    distinct, needed = len(np.unique(np.column_stack(list(columns.values())), axis=0)), len(law.names)
    if distinct < needed:
        raise ValueError(f"the sparse law has {'ten' if needed == 10 else needed} unknowns and needs at least "
                         f"{'ten' if needed == 10 else needed} distinct (N, D, S): got {distinct}")
    unidentified, warnings = constant(columns, {"N": ["A", "alpha", "d", "gamma", "E"], "D": ["B", "beta", "E"]})
    levels = np.unique(S)
    if len(levels) == 1 and law.form != NONE:
        unidentified += ["lambda", "delta", "kappa", "C", "E", "A", "alpha", "d", "gamma"]
        warnings.append(
            f"all runs have S = {levels[0]:g}: lambda and delta are unknown, of E and C only E + C (1-S)^lambda is "
            "known, and the two terms in N can swap; Eq. 1 holds all that these runs can say"
        )
    elif len(levels) == 2 and law.form == TABLE_12:
        unidentified += ["lambda", "C", "E"]
        warnings.append("two sparsities determine two levels, not the three numbers E, C and lambda: add a third")
    bound = law.bind(columns)
    starts = sampled(bound, L, {place: _RANGES[name] for place, name in enumerate(law.names) if name in _RANGES})
    return fit_law(law, columns, L, loss, starts, Fit, [name for name in unidentified if name in law.names], warnings)
