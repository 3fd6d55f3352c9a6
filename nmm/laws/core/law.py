"""The law interface: what a scaling law predicts, its parameters, and the form the solver works on.

Nearly every law of the study is a sum of power-law terms, `L = sum_k exp(z_k)`, where each `z_k` is linear in
the unknowns (the logs of the coefficients and the exponents). `PowerSum` turns such a law into numbers; a law
of another shape overrides `evaluate` and `curvature`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One unknown of a law. `lower` and `upper` hold for the coordinate the solver uses: the log when `log`."""

    name: str  # the field's symbol, spelled out: E, A, alpha
    unit: str  # unit of the natural value
    log: bool = False  # positive coefficient, solved for in logs
    lower: float = -np.inf
    upper: float = np.inf
    positive: bool = False  # expected to be: a fit in which it is not gets a warning


def exponent(name: str, lower: float = -2.0, upper: float = 20.0, positive: bool = True) -> Parameter:
    """A power-law exponent. The bounds are far outside any sensible value: a fit that reaches one is flagged."""
    return Parameter(name=name, unit="1", lower=lower, upper=upper, positive=positive)


def coefficient(name: str, unit: str) -> Parameter:
    """A positive coefficient, solved for in logs; it is bounded after centring, see `PowerSum`."""
    return Parameter(name=name, unit=unit, log=True)


@dataclass(frozen=True)
class Term:
    """`exp(design @ theta[columns])`; the first `intercepts` columns are log coefficients, the rest slopes."""

    columns: tuple[int, ...]
    design: np.ndarray  # (n, len(columns))
    intercepts: int = 1


class Law(ABC):
    """A scaling law in natural units.

    Attributes: `name`; `equation` (LaTeX); `source`; `inputs`, the columns it reads; `parameters`.
    """

    name: str
    equation: str
    source: str
    inputs: tuple[str, ...]
    parameters: tuple[Parameter, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters, in the order of every array of them."""
        return tuple(parameter.name for parameter in self.parameters)

    @abstractmethod
    def bind(self, columns: dict[str, np.ndarray], centre: bool = True) -> "Bound":
        """The law on given rows, in the solver's coordinates."""

    def internal(self, values: np.ndarray) -> np.ndarray:
        """Natural values (R, p) to logs where the law is solved in logs."""
        log = np.array([parameter.log for parameter in self.parameters])
        values = np.atleast_2d(np.asarray(values, dtype=float))
        return np.where(log, np.log(np.where(log, np.maximum(values, 1e-300), 1.0)), values)

    def natural(self, theta: np.ndarray) -> np.ndarray:
        """The inverse of `internal`."""
        log = np.array([parameter.log for parameter in self.parameters])
        return np.where(log, np.exp(np.where(log, np.clip(theta, -690, 690), 0.0)), theta)

    def predict(self, values: np.ndarray, columns: dict[str, np.ndarray]) -> np.ndarray:
        """Predicted value at each row [the unit of the loss]; `values` (p,) or (R, p) gives (n,) or (R, n)."""
        prediction = self.bind(columns, centre=False).evaluate(self.internal(values))[0]
        return prediction[0] if np.ndim(values) == 1 else prediction

    def gradient(self, values: np.ndarray, columns: dict[str, np.ndarray]) -> np.ndarray:
        """Derivative of the prediction by each natural parameter, (n, p)."""
        jacobian = self.bind(columns, centre=False).evaluate(self.internal(values))[1][0].T
        log = np.array([parameter.log for parameter in self.parameters])
        return jacobian / np.where(log, np.asarray(values, dtype=float), 1.0)


class Bound(ABC):
    """A law on n rows, in solver coordinates phi; `theta = phi @ transform.T` are its logs and exponents."""

    n: int
    transform: np.ndarray  # (p, p)
    lower: np.ndarray  # (p,) bounds on phi
    upper: np.ndarray
    levels: bool = False  # True where logs are sizes of terms at the middle of the runs, so they can be judged

    @abstractmethod
    def evaluate(self, phi: np.ndarray, rows: slice = slice(None)) -> tuple[np.ndarray, np.ndarray, object]:
        """Prediction (R, m), its derivative (R, p, m), and whatever `curvature` re-uses."""

    @abstractmethod
    def curvature(self, parts: object, weights: np.ndarray, rows: slice = slice(None)) -> np.ndarray:
        """Sum over rows of `weights` (R, m) times the second derivative of the prediction, (R, p, p)."""


class PowerSum(Bound):
    """`offset + linear @ theta + sum_k exp(z_k)` on given rows, with the regressors centred.

    Centring replaces the log coefficient by the log of the term at the mean regressor; the condition number of
    the Hessian falls from 1e7 to 1e4 on Chinchilla's data, and coefficients get bounds that mean something.
    """

    def __init__(
        self,
        terms: list[Term],
        parameters: tuple[Parameter, ...],
        offset: np.ndarray | None = None,
        linear: tuple[tuple[int, ...], np.ndarray] | None = None,
        centre: bool = True,
    ):
        p = len(parameters)
        first = terms[0].design if terms else linear[1]
        self.n = len(first)
        self.offset = offset
        self.linear = linear
        self.transform = np.eye(p)
        self.terms = []
        for term in terms:
            design = np.array(term.design, dtype=float)
            if centre:
                means = design[:, term.intercepts :].mean(axis=0)
                design[:, term.intercepts :] -= means
                for column in term.columns[: term.intercepts]:
                    self.transform[column, list(term.columns[term.intercepts :])] = -means
            # Pairs of columns, once: the curvature is a matrix product with them.
            outer = (design[:, :, None] * design[:, None, :]).reshape(self.n, -1) if self.n <= 100_000 else None
            self.terms.append((list(term.columns), np.ascontiguousarray(design.T), outer))
        # Far enough that a term at its lower bound is zero to double precision wherever it is evaluated.
        self.lower = np.array([-80.0 if q.log else q.lower for q in parameters])
        self.upper = np.array([40.0 if q.log else q.upper for q in parameters])
        self.levels = centre
        if not centre:
            self.lower, self.upper = np.full(p, -np.inf), np.full(p, np.inf)

    def evaluate(self, phi, rows=slice(None)):
        replicas, p = phi.shape
        m = len(range(*rows.indices(self.n)))
        prediction = np.zeros((replicas, m))
        jacobian = np.zeros((replicas, p, m))
        if self.offset is not None:
            prediction += self.offset[rows]
        if self.linear is not None:
            columns, design = self.linear
            prediction += phi[:, list(columns)] @ design[rows].T
            jacobian[:, list(columns)] += design[rows].T
        parts = []
        for columns, design, _ in self.terms:
            value = np.exp(np.clip(phi[:, columns] @ design[:, rows], -700, 200))
            prediction += value
            for column, regressor in zip(columns, design):
                jacobian[:, column] += value * regressor[rows]
            parts.append(value)
        return prediction, jacobian, parts

    def curvature(self, parts, weights, rows=slice(None)):
        p = len(self.transform)
        total = np.zeros((len(weights), p, p))
        for (columns, design, outer), value in zip(self.terms, parts):
            block = design[:, rows].T
            pairs = (block[:, :, None] * block[:, None, :]).reshape(len(block), -1) if outer is None else outer[rows]
            total[:, np.array(columns)[:, None], columns] += ((weights * value) @ pairs).reshape(
                -1, len(columns), len(columns)
            )
        return total
