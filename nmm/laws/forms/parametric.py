"""Eq. 1, L(N, D) = E + A/N^alpha + B/D^beta: the fit, its exponents and its optimum."""

from typing import ClassVar

import numpy as np

from nmm.laws.core import solver
from nmm.laws.core.checks import columns as checked_columns
from nmm.laws.core.checks import scan
from nmm.laws.core.fitted import MANY
from nmm.laws.core.fitting import Fit, fit_law
from nmm.laws.core.law import Law, PowerSum, Term, coefficient, exponent
from nmm.laws.core.losses import Loss
from nmm.laws.core.noise import measure
from nmm.laws.core.profile import critical_value
from nmm.laws.core.starts import paper_grid, projection_grid, spread_out
from nmm.laws.forms import optimum as optima
from nmm.laws.forms.eq1 import Eq1

GRID_STARTS = 8  # of the 256 grid points, these are refined


class ParametricLaw(Law):
    """Eq. 1 of the paper, after Hoffmann et al. 2022."""

    name = "parametric"
    equation = r"L(N, D) = E + \frac{A}{N^\alpha} + \frac{B}{D^\beta}"
    source = "Shukor et al. 2025 (arXiv 2504.07951), Eq. 1; Hoffmann et al. 2022, Eq. 2"
    inputs = ("N", "D")
    parameters = (
        coefficient("E", "nats/token"),
        coefficient("A", "nats/token * parameters^alpha"),
        coefficient("B", "nats/token * tokens^beta"),
        exponent("alpha"),
        exponent("beta"),
    )

    def bind(self, columns, centre=True):
        one = np.ones(len(columns["N"]))
        terms = [
            Term((0,), one[:, None]),
            Term((1, 3), np.column_stack([one, -np.log(columns["N"])])),
            Term((2, 4), np.column_stack([one, -np.log(columns["D"])])),
        ]
        return PowerSum(terms, self.parameters, centre=centre)


class ParametricFit(Fit):
    """Eq. 1 fitted: E [nats/token], A, B (natural units), alpha, beta; a, b, d, n, dn and the optimum follow."""

    functions_of: ClassVar = {
        "b": ("a", lambda a: 1 - a),
        "d": ("a", lambda a: 1 / a.clip(0, 1) - 1),
        "n": ("a", lambda a: 1 / (1 / a.clip(0, 1) - 1)),
        "dn": ("a", lambda a: 1 - 2 * a),
    }

    at_budgets: ClassVar = ("N*", "D*", "L*")

    E = property(lambda self: self.values["E"], doc="Irreducible loss [nats/token].")
    A = property(lambda self: self.values["A"], doc="Coefficient of N [nats/token * parameters^alpha].")
    B = property(lambda self: self.values["B"], doc="Coefficient of D [nats/token * tokens^beta].")
    alpha = property(lambda self: self.values["alpha"], doc="Exponent of N.")
    beta = property(lambda self: self.values["beta"], doc="Exponent of D.")
    a = property(lambda self: float(self._exponents["a"]), doc="N* ~ C^a, a = beta/(alpha+beta).")
    b = property(lambda self: float(self._exponents["b"]), doc="D* ~ C^b, b = alpha/(alpha+beta).")
    d = property(lambda self: float(self._exponents["d"]), doc="D* ~ N*^d, d = b/a.")
    n = property(lambda self: float(self._exponents["n"]), doc="N* ~ D*^n, n = a/b.")
    dn = property(lambda self: float(self._exponents["dn"]), doc="D*/N* ~ C^dn, dn = b - a.")

    @property
    def eq1(self) -> Eq1:
        """The coefficients alone, as the planner takes them."""
        return Eq1(E=self.E, A=self.A, B=self.B, alpha=self.alpha, beta=self.beta)

    @property
    def _exponents(self) -> dict[str, np.ndarray]:
        return optima.exponents(self.alpha, self.beta)

    def predict(self, N, D) -> np.ndarray:
        """Predicted loss [nats/token] at N [parameters] and D [tokens], which broadcast."""
        N, D = np.asarray(N, dtype=float), np.asarray(D, dtype=float)
        if not (np.all(N > 0) and np.all(D > 0)):
            raise ValueError("N [parameters] and D [tokens] must be positive to predict a loss")
        return self.E + self.A / N**self.alpha + self.B / D**self.beta

    def optimum(self, C) -> optima.Optimum:
        """Compute-optimal N, D and L at C = 6 N D [FLOPs]; see `nmm.laws.forms.optimum`."""
        return optima.optimum(self.E, self.A, self.B, self.alpha, self.beta, C)

    def regression(self, C=None, D=None) -> optima.Regression:
        """The exponents by the paper's regression (App. C.2), by default at the budgets of the runs."""
        C = 6.0 * self.columns["N"] * self.columns["D"] if C is None else C
        return optima.regression(self.E, self.A, self.B, self.alpha, self.beta, C, D)

    def derived(self, theta):
        values = super().derived(theta)
        return {**values, **optima.exponents(values["alpha"], values["beta"])}

    def at_budget(self, name, theta, C):
        E, A, B, alpha, beta = self.law.natural(theta).T
        fine = (A > 0) & (B > 0) & (alpha > 0) & (beta > 0)
        result = np.full(len(E), np.nan)
        result[fine] = getattr(optima.optimum(E[fine], A[fine], B[fine], alpha[fine], beta[fine], C), name[0])
        return result


def _grid_starts(checked: dict[str, np.ndarray], loss: Loss) -> np.ndarray:
    """The most promising points of the variable-projection grid, as (ln E, ln A, ln B, alpha, beta)."""
    rows = slice(None)
    if len(checked["L"]) > MANY:
        rows = np.random.default_rng(0).choice(len(checked["L"]), MANY, replace=False)
    part = {name: column[rows] for name, column in checked.items()}
    x, y = np.log(part["N"]), np.log(part["D"])
    grid = projection_grid(x - x.mean(), y - y.mean(), part["L"])
    bound = ParametricLaw().bind(part)
    height = solver.objective_and_derivatives(bound, loss.with_delta(10 * loss.delta), part["L"], grid, None)[0]
    return grid[spread_out(height, GRID_STARTS)] @ bound.transform.T


def _given_starts(starts) -> np.ndarray:
    """Starts given as rows of E, A, B, alpha, beta, checked."""
    given = np.atleast_2d(np.asarray(starts, dtype=float))
    if given.shape[1] != 5 or not np.all(np.isfinite(given)) or np.any(given[:, :3] <= 0):
        raise ValueError(f"starts must be finite rows of E, A, B (positive), alpha, beta: got shape {given.shape}")
    return ParametricLaw().internal(given)


def fit_parametric(N, D, L, delta: float = 1e-3, loss: str = "log-huber", starts="grid") -> ParametricFit:
    """Fit Eq. 1, L = E + A/N^alpha + B/D^beta.

    Args:
        N: parameters of each run [parameters], natural units, (n,).
        D: training tokens [tokens], (n,).
        L: final loss [nats/token], (n,).
        delta: Huber threshold [log units for "log-huber", nats for "huber"].
        loss: "log-huber" (the paper's: Huber of ln L_pred - ln L, summed), "huber" (of L_pred - L, summed),
            "mse" (mean square of L_pred - L) or "log-mse".
        starts: "grid" (256 points by variable projection, the best 8 refined), "paper" (its 1764 points), or an
            array (k, 5) of E, A, B, alpha, beta.
    Returns:
        ParametricFit. `status` is "ok", "weak" or "unidentified", with `warnings` in words.
    Raises:
        ValueError: a value is not positive and finite, lengths differ, there are fewer than five distinct (N, D),
            or an option is unknown.
    Source: the paper, Eq. 1 and App. C; Hoffmann et al. 2022, Sec. 3.3. We differ in the optimiser: damped Newton
    with the exact Hessian on centred logs, to relative 1e-13, where they use L-BFGS.
    """
    checked = checked_columns(N=N, D=D, L=L)
    scaled = Loss(loss, delta, scale=1e-2 * (float(np.median(checked["L"])) if loss == "mse" else 1.0))
    unidentified, warnings = scan(checked)
    if not isinstance(starts, str):
        begin = _given_starts(starts)
    elif starts == "grid":
        begin = _grid_starts(checked, scaled)
    elif starts == "paper":
        begin = paper_grid()
    else:
        raise ValueError(f'starts must be "grid", "paper" or an array (k, 5) of E, A, B, alpha, beta: got {starts!r}')
    columns = {"N": checked["N"], "D": checked["D"]}
    fit = fit_law(
        ParametricLaw(), columns, checked["L"], scaled, begin, ParametricFit, unidentified, warnings, sample=True
    )
    return _floor_checked(fit)


def _floor_checked(fit: ParametricFit) -> ParametricFit:
    """The fit, with a warning where a floor of zero explains the runs as well (likelihood ratio, 95 %)."""
    noise = measure(fit)
    if "E" in fit.unidentified or noise.exact or noise.free < 1:
        return fit
    _, scale, free = noise.scale(np.eye(5)[0])
    without = fit.phi.copy()
    without[0] = fit.bound.lower[0]  # ln E so low that its gradient vanishes: it stays there
    found = solver.continuation(fit.bound, fit.loss, fit.observed, without[None])
    excess = fit.loss.total(found.objective[0], fit.n_runs) - fit.objective
    unit = fit.loss.total(1.0, fit.n_runs)
    if 2.0 * scale * excess / unit > critical_value(0.95, free):
        return fit
    words = "E = 0 fits these runs as well (95 %): the floor is not known; larger N and D together would show it"
    return fit.with_warnings([words])
