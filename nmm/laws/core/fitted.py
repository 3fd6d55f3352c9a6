"""A law at the parameters that a fit found: what it predicts there, and how it is refitted to other weights or values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from nmm.laws.core import solver
from nmm.laws.core.law import Bound, Law
from nmm.laws.core.losses import Loss

if TYPE_CHECKING:
    import pandas as pd


MANY = 20_000  # with more runs than this, a sample of this size answers what needs no more


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A law, the runs, and the solution."""

    law: Law
    columns: dict[str, np.ndarray]
    observed: np.ndarray
    loss: Loss
    bound: Bound
    phi: np.ndarray  # solution in the coordinates of `bound`
    alternatives: np.ndarray  # (k, p) where refits begin besides phi
    unidentified: tuple[str, ...] = ()  # parameters that the runs do not determine

    # Derived quantities that are a monotone function of one other: name -> (the other, function of an array)
    functions_of: ClassVar[dict[str, tuple[str, Callable]]] = {}
    # Quantities that need a compute budget
    at_budgets: ClassVar[tuple[str, ...]] = ()

    @cached_property
    def theta(self) -> np.ndarray:
        """Logs of coefficients and exponents (p,)."""
        return self.bound.transform @ self.phi

    @cached_property
    def values(self) -> dict[str, float]:
        """Natural values by name."""
        return dict(zip(self.law.names, self.law.natural(self.theta).tolist()))

    @property
    def n_runs(self) -> int:
        """Number of runs fitted."""
        return len(self.observed)

    @cached_property
    def predicted(self) -> np.ndarray:
        """Predicted value of each run (n,)."""
        return self.bound.evaluate(self.phi[None])[0][0]

    @property
    def residuals(self) -> np.ndarray:
        """ln(predicted) - ln(observed), the relative error of each run (n,)."""
        return np.log(self.predicted) - np.log(self.observed)

    @property
    def r2(self) -> float:
        """Share of the variance of the observed values that the law explains."""
        spread = np.sum((self.observed - self.observed.mean()) ** 2)
        return float(1 - np.sum((self.predicted - self.observed) ** 2) / spread) if spread > 0 else float("nan")

    def predict(self, **columns) -> np.ndarray:
        """The law at given inputs, one array each, named as in `law.inputs`."""
        if set(columns) != set(self.law.inputs):
            raise ValueError(f"{self.law.name} needs {', '.join(self.law.inputs)}: got {', '.join(columns)}")
        return self.law.predict(
            self.law.natural(self.theta), {k: np.asarray(v, dtype=float) for k, v in columns.items()}
        )

    def derived(self, theta: np.ndarray) -> dict[str, np.ndarray]:
        """Quantities that follow from parameters `theta` (R, p), each (R,): here the parameters themselves."""
        return dict(zip(self.law.names, self.law.natural(theta).T))

    def at_budget(self, name: str, theta: np.ndarray, C: float) -> np.ndarray:
        """One of `at_budgets` for parameters `theta` (R, p) at C [FLOPs], (R,); NaN where it does not exist."""
        raise ValueError(f"{self.law.name} has no {name}: only a law in N and D has an optimum at a budget")

    def refit(self, weights: np.ndarray, starts: int = 5) -> tuple[np.ndarray, np.ndarray]:
        """The law refitted with each row of weights (R, n): theta (R, p) and objective (R,), the best of `starts`."""
        best_phi, best = None, None
        for k, start in enumerate([self.phi, *self.alternatives[: starts - 1]]):
            begin = np.repeat(start[None], len(weights), axis=0)
            solve = solver.minimise if k == 0 and starts == 1 else solver.continuation
            found = solve(self.bound, self.loss, self.observed, begin, weights)
            if best is None:
                best_phi, best = found.phi.copy(), found.objective.copy()
            better = found.objective < best
            best_phi[better], best[better] = found.phi[better], found.objective[better]
        return best_phi @ self.bound.transform.T, self.loss.total(best, self.n_runs)

    def table(self) -> pd.DataFrame:
        """The runs with the prediction and the residual [log units]."""
        import pandas as pd

        return pd.DataFrame(
            {**self.columns, "observed": self.observed, "predicted": self.predicted, "residual": self.residuals}
        )
