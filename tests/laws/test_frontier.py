"""The frontier on the lower convex hull."""

import numpy as np
import pytest

from nmm.laws import fit_frontier, local_slope, lower_hull, optimum
from tests.laws.conftest import surface


def test_hull_lies_below_all_runs_and_falls():
    rng = np.random.default_rng(0)
    C = np.exp(rng.uniform(40, 50, 200))
    L = 30 * C**-0.05 * np.exp(rng.exponential(0.1, 200))
    hull = lower_hull(C, L)
    below = np.interp(np.log(C), np.log(C[hull]), np.log(L[hull]))
    inside = C <= C[hull].max()
    assert np.all(np.log(L)[inside] >= below[inside] - 1e-12)
    assert np.all(np.diff(L[hull]) < 0)


def test_recovers_a_power_law_above_the_cut():
    C = np.geomspace(1e19, 1e22, 20)
    fit = fit_frontier(np.r_[C, C], np.r_[30 * C**-0.049, 31 * C**-0.049], C_min=3e19)
    assert fit.c == pytest.approx(-0.049, rel=1e-9)
    assert fit.K == pytest.approx(30, rel=1e-7)
    assert fit.n_below == 2 * np.sum(C <= 3e19)
    np.testing.assert_allclose(fit.predict(C), 30 * C**-0.049, rtol=1e-9)


def test_interval_covers_and_local_slope_is_the_derivative():
    rng = np.random.default_rng(0)
    C = np.repeat(np.geomspace(1e19, 1e22, 20), 4)
    fit = fit_frontier(C, 30 * C**-0.05 * np.exp(rng.exponential(0.02, len(C))))
    low, high = fit.bootstrap(200, seed=0).interval("c")
    assert low < -0.05 < high
    values = surface(1.9, 0.3, 0.34)
    step = 1e-5
    numeric = np.log(optimum(*values, 1e21 * (1 + step)).L / optimum(*values, 1e21 * (1 - step)).L) / (2 * step)
    assert local_slope(*values, 1e21) == pytest.approx(numeric, rel=1e-6)


def test_too_few_runs():
    with pytest.raises(ValueError, match="lower hull"):
        fit_frontier([1e19, 1e20, 1e21], [2.0, 2.5, 3.0])
    with pytest.raises(ValueError, match="above C_min"):
        fit_frontier([1e19, 1e20, 1e21], [3.0, 2.5, 2.2], C_min=1e20)
    with pytest.raises(ValueError, match='"c" and "K"'):
        fit_frontier([1e19, 1e20, 1e21], [3.0, 2.5, 2.2]).bootstrap(2).interval("x")
