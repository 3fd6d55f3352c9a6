"""How far the answer can move: bootstrap over runs, with intervals for anything that follows from the parameters."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri

from nmm.laws.core.fitting import Fit
from nmm.laws.core.profile import profile_interval
from nmm.laws.use.optimum import optimum

METHODS = ("profile", "bc", "percentile", "basic")
RESAMPLED_AT_ONCE = 1 << 23  # counts in memory: resamples times runs
AT_BUDGET = {"N*": "N", "D*": "D", "L*": "L"}


@dataclass(frozen=True)
class Bootstrap:
    """Refits of resampled runs. `samples` is one row a refit, natural parameters and what derives from them."""

    fit: Fit
    theta: np.ndarray  # (n, p) logs of coefficients and exponents
    objective: np.ndarray  # (n,) of each refit on its own resample

    @cached_property
    def _profiled(self) -> dict[tuple[str | Callable, float, float | None], tuple[float, float]]:
        """Profile intervals by quantity, level and budget, each found once."""
        return {}

    @cached_property
    def samples(self) -> pd.DataFrame:
        """Natural parameters and derived exponents, one row a refit."""
        return pd.DataFrame(self.fit.derived(self.theta))

    @cached_property
    def estimate(self) -> dict[str, float]:
        """The same quantities of the fit itself."""
        return {name: float(np.asarray(value)[0]) for name, value in self.fit.derived(self.fit.theta[None]).items()}

    def optimum(self, C: float) -> pd.DataFrame:
        """N*, D* and L* of each refit at budget C [FLOPs]; refits without an inner minimum give NaN."""
        return pd.DataFrame({name: at_budget(self.fit.derived(self.theta), name, C) for name in AT_BUDGET})

    def interval(
        self, name: str | Callable, level: float = 0.95, C: float | None = None, method: str = "profile"
    ) -> tuple[float, float]:
        """Confidence interval of one quantity.

        Args:
            name: a column of `samples`; "N*", "D*" or "L*" at the budget C; or a smooth function of a table of
                parameters (such as `samples`) that returns one value a row.
            level: coverage, between 0 and 1.
            C: budget for N*, D*, L* [FLOPs].
            method: "profile" (likelihood, see `nmm.laws.core.profile`; it covers as it says on synthetic studies, where
                percentiles cover too much and basic intervals too little, see benchmarks/laws_coverage.py), "bc" (the
                bias-corrected percentile, Efron 1987), "percentile" or "basic".
        Returns:
            low, high. A side that the runs do not limit is 0 or infinite.
        Raises:
            ValueError: an unknown name, level or method, or a missing budget.
        """
        if not 0 < level < 1:
            raise ValueError(f"level must be between 0 and 1: got {level}")
        if method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}: got {method!r}")
        if name in AT_BUDGET and C is None:
            raise ValueError(f"{name} needs a compute budget: pass C [FLOPs]")
        if not callable(name) and name not in self.estimate and name not in AT_BUDGET:
            raise ValueError(f"no quantity {name!r}: there are {', '.join([*self.estimate, *AT_BUDGET])}")

        def quantity(theta: np.ndarray) -> np.ndarray:
            values = self.fit.derived(theta)
            if callable(name):
                return np.asarray(name(pd.DataFrame(values)), dtype=float)
            return at_budget(values, name, C) if name in AT_BUDGET else values[name]

        if method == "profile":
            key = (name, level, C)
            if key not in self._profiled:
                self._profiled[key] = self._profile(name, level, quantity)
            return self._profiled[key]
        draws = quantity(self.theta)
        return interval(draws[np.isfinite(draws)], float(quantity(self.fit.theta[None])[0]), level, method)

    def _profile(self, name: str | Callable, level: float, quantity: Callable) -> tuple[float, float]:
        """Profile-likelihood interval of a quantity of the parameters theta (R, p)."""
        if name in self.fit.functions_of:
            # The likelihood does not care how a quantity is written: the ends are those of the other, transformed.
            other, function = self.fit.functions_of[name]
            with np.errstate(divide="ignore"):
                low, high = np.sort(function(np.array(self.interval(other, level))))
            return float(low), float(high)
        # In logs where a quantity is positive by nature: its steps are then even across its scales.
        logs = {q.name for q in self.fit.law.parameters if q.log} | {*AT_BUDGET}
        if callable(name) or name not in logs:
            return profile_interval(self.fit, quantity, level)
        low, high = profile_interval(self.fit, lambda theta: np.log(quantity(theta)), level)
        return float(np.exp(low)), float(np.exp(high))

    def intervals(self, level: float = 0.95, method: str = "profile", names: Sequence[str] | None = None) -> pd.DataFrame:
        """Estimate and interval of the named quantities (None: all), one row each: columns value, low, high."""
        names = list(self.estimate) if names is None else names
        rows = {name: (self.estimate[name], *self.interval(name, level, method=method)) for name in names}
        return pd.DataFrame.from_dict(rows, orient="index", columns=["value", "low", "high"])


def at_budget(values: dict[str, np.ndarray], name: str, C: float) -> np.ndarray:
    """N*, D* or L* at C [FLOPs] for arrays of parameters (R,); NaN where there is no inner minimum."""
    E, A, B, alpha, beta = (np.asarray(values[key], dtype=float) for key in ("E", "A", "B", "alpha", "beta"))
    fine = (A > 0) & (B > 0) & (alpha > 0) & (beta > 0)
    result = np.full(len(E), np.nan)
    result[fine] = getattr(optimum(E[fine], A[fine], B[fine], alpha[fine], beta[fine], C), AT_BUDGET[name])
    return result


def interval(draws: np.ndarray, value: float, level: float, method: str) -> tuple[float, float]:
    """Interval from bootstrap draws around the estimate `value`."""
    tail = np.array([(1 - level) / 2, (1 + level) / 2])
    if method == "bc":
        # Share of draws below the estimate: a half if the estimator is unbiased on some scale.
        below = np.mean(draws < value) + 0.5 * np.mean(draws == value)
        shift = ndtri(np.clip(below, 0.5 / len(draws), 1 - 0.5 / len(draws)))
        tail = ndtr(2 * shift + ndtri(tail))
    low, high = np.quantile(draws, tail)
    return (float(low), float(high)) if method != "basic" else (float(2 * value - high), float(2 * value - low))


def bootstrap(fit: Fit, n: int = 1000, seed: int = 0, starts: int = 5) -> Bootstrap:
    """Refit `n` resamples of the runs (drawn with replacement), each from `starts` starts.

    Raises:
        ValueError: n or starts is below 1.
    """
    if n < 1 or starts < 1:
        raise ValueError(f"a bootstrap needs at least one resample and one start: got n={n}, starts={starts}")
    rng = np.random.default_rng(seed)
    share = np.full(fit.n_runs, 1 / fit.n_runs)
    batch = max(1, RESAMPLED_AT_ONCE // fit.n_runs)
    parts = []
    for done in range(0, n, batch):
        weights = rng.multinomial(fit.n_runs, share, size=min(batch, n - done)).astype(float)
        parts.append(fit.refit(weights, starts))
    return Bootstrap(fit, *(np.concatenate(part) for part in zip(*parts)))
