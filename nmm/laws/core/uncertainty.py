"""How far the answer can move: intervals by profile likelihood or bootstrap, for anything the parameters determine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from nmm.laws.core.fitted import Fitted
from nmm.laws.core.noise import Noise, checked_labels, measure
from nmm.laws.core.profile import Profile, Tested

if TYPE_CHECKING:
    import pandas as pd

METHODS = ("profile", "bc", "percentile", "basic")
RESAMPLED_AT_ONCE = 1 << 23  # counts in memory: resamples times runs


@dataclass(frozen=True)
class Intervals:
    """Profile intervals of a fit. With `cluster`, labels (n,), they hold for runs that share what the labels name."""

    fit: Fitted
    cluster: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.cluster is not None:
            checked_labels(self.cluster, self.fit.n_runs)

    @cached_property
    def noise(self) -> Noise:
        """The noise of the runs around the law."""
        return measure(self.fit, self.cluster)

    @cached_property
    def _profiled(self) -> dict[tuple[str | Callable, float, float | None], tuple[float, float]]:
        """Profile intervals by quantity, level and budget, each found once."""
        return {}

    @cached_property
    def _profiles(self) -> dict[tuple[str | Callable, float | None], tuple[Profile, bool]]:
        """Profiles by quantity and budget."""
        return {}

    @cached_property
    def estimate(self) -> dict[str, float]:
        """Parameters and derived quantities of the fit itself."""
        return {name: float(np.asarray(value)[0]) for name, value in self.fit.derived(self.fit.theta[None]).items()}

    def interval(self, name: str | Callable, level: float = 0.95, C: float | np.ndarray | None = None) -> tuple[float, float]:
        """Confidence interval of one quantity, by profile likelihood (see `nmm.laws.core.profile`).

        It covers as it says on synthetic studies, where bootstrap percentiles cover too much and basic intervals too
        little: benchmarks/laws_coverage.py.

        Args:
            name: one of `estimate`; "N*", "D*" or "L*" at the budget C; or a smooth function of a table of
                parameters (columns as `estimate`) that returns one value a row.
            level: coverage, between 0 and 1.
            C: budget for N*, D*, L* [FLOPs]; an array gives arrays of ends.
        Returns:
            low, high. A side that the runs do not limit is 0 or infinite.
        Raises:
            ValueError: an unknown name or level, or a missing budget.
        """
        self._check(name, level, C)
        if np.ndim(C):
            ends = np.array([self.interval(name, level, each) for each in np.ravel(C)])
            return ends[:, 0].reshape(np.shape(C)), ends[:, 1].reshape(np.shape(C))
        key = (name, level, C)
        if key not in self._profiled:
            self._profiled[key] = self._found(name, level, C)
        return self._profiled[key]

    def intervals(self, level: float = 0.95, names: Sequence[str] | None = None, **options) -> pd.DataFrame:
        """Estimate and interval of the named quantities (None: all), one row each: columns value, low, high."""
        import pandas as pd

        names = list(self.estimate) if names is None else names
        rows = {name: (self.estimate[name], *self.interval(name, level, **options)) for name in names}
        return pd.DataFrame.from_dict(rows, orient="index", columns=["value", "low", "high"])

    def _check(self, name: str | Callable, level: float, C) -> None:
        at_budgets = self.fit.at_budgets
        if not 0 < level < 1:
            raise ValueError(f"level must be between 0 and 1: got {level}")
        if name in at_budgets and C is None:
            raise ValueError(f"{name} needs a compute budget: pass C [FLOPs]")
        if not callable(name) and name not in self.estimate and name not in at_budgets:
            raise ValueError(f"no quantity {name!r}: there are {', '.join([*self.estimate, *at_budgets])}")

    def _quantity(self, name: str | Callable, C: float | None) -> Callable:
        """The quantity as a function of theta (R, p) to (R,)."""

        def quantity(theta: np.ndarray) -> np.ndarray:
            if name in self.fit.at_budgets:
                return self.fit.at_budget(name, theta, C)
            values = self.fit.derived(theta)
            if not callable(name):
                return values[name]
            import pandas as pd

            return np.asarray(name(pd.DataFrame(values)), dtype=float)

        return quantity

    def test(self, name: str | Callable, value: float, C: float | None = None) -> Tested:
        """A hypothesis: its `p_value` is the probability of runs that speak at least as much against `value` as these do.

        Args:
            name, C: as in `interval`, whose 95 % interval holds the values with a p-value above 5 %.
            value: the hypothesis, in natural units.
        Raises:
            ValueError: an unknown name, a missing budget, or a value that the quantity cannot take.
        """
        self._check(name, 0.95, C)
        profile, logarithmic = self.profile_of(name, C)
        if not np.isfinite(value) or (logarithmic and not value > 0):
            raise ValueError(f"{name} must be {'positive and ' * logarithmic}finite to be tested: got {value}")
        return profile.test(np.log(value) if logarithmic else value)

    def profile_of(self, name: str | Callable, C: float | None) -> tuple[Profile, bool]:
        """Profile of a quantity, and whether it is of the logarithm: of what is positive by nature, whose steps are then
        even across its scales."""
        key = (name, C)
        if key not in self._profiles:
            quantity = self._quantity(name, C)
            logs = {q.name for q in self.fit.law.parameters if q.log} | {*self.fit.at_budgets}
            logarithmic = not callable(name) and name in logs

            def logarithm(theta: np.ndarray) -> np.ndarray:
                return np.log(quantity(theta))

            profile = Profile(self.fit, self.noise, logarithm if logarithmic else quantity)
            self._profiles[key] = profile, logarithmic
        return self._profiles[key]

    def _found(self, name: str | Callable, level: float, C: float | None) -> tuple[float, float]:
        """Profile interval of a quantity, in natural units."""
        if name in self.fit.functions_of:
            # The likelihood does not care how a quantity is written: the ends are those of the other, transformed.
            other, function = self.fit.functions_of[name]
            with np.errstate(divide="ignore"):
                low, high = np.sort(function(np.array(Intervals.interval(self, other, level))))
            return float(low), float(high)
        profile, logarithmic = self.profile_of(name, C)
        low, high = profile.interval(level)
        with np.errstate(over="ignore"):
            return (float(np.exp(low)), float(np.exp(high))) if logarithmic else (low, high)


@dataclass(frozen=True, kw_only=True)
class Bootstrap(Intervals):
    """Refits of resampled runs. `samples` is one row a refit, natural parameters and what derives from them."""

    theta: np.ndarray  # (n, p) logs of coefficients and exponents
    objective: np.ndarray  # (n,) of each refit on its own resample

    @cached_property
    def samples(self) -> pd.DataFrame:
        """Natural parameters and derived exponents, one row a refit."""
        import pandas as pd

        return pd.DataFrame(self.fit.derived(self.theta))

    def optimum(self, C: float) -> pd.DataFrame:
        """N*, D* and L* of each refit at budget C [FLOPs]; refits without an inner minimum give NaN."""
        import pandas as pd

        return pd.DataFrame({name: self.fit.at_budget(name, self.theta, C) for name in self.fit.at_budgets})

    def prediction_interval(self, columns: dict[str, np.ndarray], level: float = 0.95, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Where a new run's value lies: the refits' spread and the noise of one run together.

        Args:
            columns: inputs of the law at the new runs, (m,) each.
            level: coverage for each run alone.
        Returns:
            low, high (m,).
        """
        if not 0 < level < 1:
            raise ValueError(f"level must be between 0 and 1: got {level}")
        law, noise, rng = self.fit.law, self.noise, np.random.default_rng(seed)
        predicted = law.predict(law.natural(self.theta), columns)
        # Refits use up degrees of freedom: residuals are smaller than the noise.
        residual = rng.choice(noise.standard * np.sqrt(self.fit.n_runs / max(noise.free, 1)), predicted.shape)
        new = predicted * np.exp(residual) if self.fit.loss.logarithmic else predicted + residual
        low, high = np.quantile(new, [(1 - level) / 2, (1 + level) / 2], axis=0)
        return low, high

    def interval(
        self, name: str | Callable, level: float = 0.95, C: float | np.ndarray | None = None, method: str = "profile"
    ) -> tuple[float, float]:
        """As `Intervals.interval`, with a choice of method.

        Args:
            method: "profile" (likelihood, no use is made of the refits), "bc" (the bias-corrected percentile, Efron
                1987), "percentile" or "basic".
        Raises:
            ValueError: an unknown name, level or method, or a missing budget.
        """
        if method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}: got {method!r}")
        if method == "profile" or np.ndim(C):
            return super().interval(name, level, C)
        self._check(name, level, C)
        quantity = self._quantity(name, C)
        draws = quantity(self.theta)
        return interval(draws[np.isfinite(draws)], float(quantity(self.fit.theta[None])[0]), level, method)


def interval(draws: np.ndarray, value: float, level: float, method: str) -> tuple[float, float]:
    """Interval from bootstrap draws around the estimate `value`."""
    from scipy.special import ndtr, ndtri  # here: half a second that `import nmm.laws` need not pay

    tail = np.array([(1 - level) / 2, (1 + level) / 2])
    if method == "bc":
        # Share of draws below the estimate: a half if the estimator is unbiased on some scale.
        below = np.mean(draws < value) + 0.5 * np.mean(draws == value)
        shift = ndtri(np.clip(below, 0.5 / len(draws), 1 - 0.5 / len(draws)))
        tail = ndtr(2 * shift + ndtri(tail))
    low, high = np.quantile(draws, tail)
    return (float(low), float(high)) if method != "basic" else (float(2 * value - high), float(2 * value - low))


def bootstrap(fit: Fitted, n: int = 1000, seed: int = 0, starts: int = 5, cluster: np.ndarray | None = None) -> Bootstrap:
    """Refit `n` resamples of the runs (drawn with replacement), each from `starts` starts.

    Args:
        cluster: labels (n,): clusters are drawn instead of runs, with all their runs.
    Raises:
        ValueError: n or starts is below 1, or the labels are not one a run.
    """
    if n < 1 or starts < 1:
        raise ValueError(f"a bootstrap needs at least one resample and one start: got n={n}, starts={starts}")
    labels = np.arange(fit.n_runs) if cluster is None else checked_labels(cluster, fit.n_runs)
    rng = np.random.default_rng(seed)
    share = np.full(labels.max() + 1, 1 / (labels.max() + 1))
    batch = max(1, RESAMPLED_AT_ONCE // fit.n_runs)
    parts = []
    for done in range(0, n, batch):
        drawn = rng.multinomial(len(share), share, size=min(batch, n - done)).astype(float)
        parts.append(fit.refit(drawn[:, labels], starts))
    theta, objective = (np.concatenate(part) for part in zip(*parts))
    return Bootstrap(fit, cluster, theta=theta, objective=objective)
