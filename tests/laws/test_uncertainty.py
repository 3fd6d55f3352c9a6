"""Intervals: every refit at its optimum, coverage, limits that the runs do not set, bad input."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import huber

from nmm.laws import fit_parametric
from nmm.laws.core.uncertainty import METHODS
from tests.laws.conftest import grid, loss_of, surface


def test_every_refit_is_at_its_own_optimum(noisy):
    _, N, D, L = noisy
    boot = fit_parametric(N, D, L).bootstrap(40, seed=3)
    weights = np.random.default_rng(3).multinomial(48, np.full(48, 1 / 48), size=40)
    for k in range(0, 40, 20):

        def objective(theta, weights=weights[k]):
            z = np.exp(theta[0]) + np.exp(theta[1] - theta[3] * np.log(N)) + np.exp(theta[2] - theta[4] * np.log(D))
            return np.sum(weights * huber(1e-3, np.log(z) - np.log(L)))

        assert objective(boot.theta[k]) == pytest.approx(boot.objective[k], rel=1e-9)
        again = fit_parametric(N.repeat(weights[k]), D.repeat(weights[k]), L.repeat(weights[k]), starts="paper")
        assert boot.objective[k] <= again.objective * (1 + 1e-9)
        found = minimize(objective, boot.theta[k], method="Nelder-Mead", options={"maxiter": 2000})
        assert found.fun >= boot.objective[k] * (1 - 1e-9)


def test_same_seed_same_draws(noisy):
    fit = fit_parametric(*noisy[1:])
    assert fit.bootstrap(20, seed=5).samples.equals(fit.bootstrap(20, seed=5).samples)
    assert not fit.bootstrap(20, seed=5).samples.equals(fit.bootstrap(20, seed=6).samples)


def test_profile_intervals_cover():
    """A small version of benchmarks/laws_coverage.py; the bounds are three standard errors of 40 studies."""
    values, names = surface(1.904, 0.301, 0.335), ("E", "alpha", "beta")
    N, D = grid(6, 9)
    covered = []
    for seed in range(40):
        noise = np.random.default_rng(seed).normal(0, 0.0113, len(N))
        boot = fit_parametric(N, D, loss_of(values, N, D) * np.exp(noise)).bootstrap(1, starts=1)
        intervals = [boot.interval(name) for name in names]
        covered.append([low <= truth <= high for (low, high), truth in zip(intervals, (values[0], *values[3:]))])
    share = np.mean(covered, axis=0)
    assert np.all(share > 0.84), dict(zip(names, share))


def test_intervals_of_one_quantity_follow_from_those_of_another(noisy):
    boot = fit_parametric(*noisy[1:]).bootstrap(50, starts=1)
    low, high = boot.interval("a")
    assert boot.interval("b") == pytest.approx((1 - high, 1 - low), rel=5e-3)
    assert boot.interval("dn") == pytest.approx((1 - 2 * high, 1 - 2 * low), abs=5e-3)
    n_low, n_high = boot.interval("N*", C=1e22)
    assert boot.interval("D*", C=1e22) == pytest.approx((1e22 / 6 / n_high, 1e22 / 6 / n_low), rel=2e-2)
    assert boot.interval(lambda table: table["alpha"]) == pytest.approx(boot.interval("alpha"), rel=5e-3)


@pytest.mark.parametrize("method", METHODS)
def test_all_methods_hold_the_estimate_for_every_quantity(noisy, method):
    boot = fit_parametric(*noisy[1:]).bootstrap(200, starts=1)
    table = boot.intervals(method=method)
    assert list(table.index) == ["E", "A", "B", "alpha", "beta", "a", "b", "d", "n", "dn"]
    assert ((table["low"] <= table["value"]) & (table["value"] <= table["high"])).all(), table
    low, high = boot.interval("L*", C=1e22, method=method)
    assert low <= boot.fit.optimum(1e22).L <= high


def test_sides_that_the_runs_do_not_limit_are_open():
    N, D = grid()
    values = (1e-9, *surface(1.0, 0.1, 0.1)[1:])
    fit = fit_parametric(N, D, loss_of(values, N, D) * np.exp(np.random.default_rng(2).normal(0, 0.01, len(N))))
    assert fit.bootstrap(1, starts=1).interval("E")[0] < 1e-6


def test_noise_free_data_rules_out_everything_else():
    N, D = grid()
    boot = fit_parametric(N, D, loss_of(surface(1.9, 0.3, 0.34), N, D)).bootstrap(2)
    assert boot.interval("alpha") == pytest.approx((0.3, 0.3), rel=1e-8)


def test_bad_requests(noisy):
    fit = fit_parametric(*noisy[1:])
    boot = fit.bootstrap(2, starts=1)
    for arguments, word in ((("alpha", 1.5), "level"), (("gamma",), "no quantity"), (("N*",), "budget")):
        with pytest.raises(ValueError, match=word):
            boot.interval(*arguments)
    with pytest.raises(ValueError, match="method"):
        boot.interval("alpha", method="magic")
    with pytest.raises(ValueError, match="at least one"):
        fit.bootstrap(0)
