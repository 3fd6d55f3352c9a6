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


def trunks(seed: int, correlation: float = 0.8, seeds: int = 2):
    """6 sizes by 8 budgets by `seeds`; the budgets of one size and seed share most of their noise."""
    N, D = (np.tile(axis, seeds) for axis in grid(6, 8))
    labels = np.unique(np.column_stack([N, np.arange(seeds).repeat(48)]), axis=0, return_inverse=True)[1].ravel()
    rng = np.random.default_rng(seed)
    noise = np.sqrt(correlation) * rng.normal(size=6 * seeds)[labels] + np.sqrt(1 - correlation) * rng.normal(size=len(N))
    values = surface(1.904, 0.301, 0.335)
    return values, N, D, loss_of(values, N, D) * np.exp(0.0113 * noise), labels


def test_runs_that_share_trunks_say_less_than_they_seem_to():
    """The shared noise is found, and intervals of what clusters determine (alpha) widen while beta's hardly do."""
    _, N, D, L, labels = trunks(0)
    fit = fit_parametric(N, D, L)
    alone, shared = fit.profile(), fit.profile(cluster=labels)
    assert 0.5 < shared.noise.shared.correlation < 0.95
    width = {name: np.subtract(*one.interval("alpha")[::-1]) for name, one in (("alone", alone), ("shared", shared))}
    assert width["shared"] > 1.3 * width["alone"], width
    boot = fit.bootstrap(20, cluster=[f"trunk {label}" for label in labels], starts=1)
    assert boot.interval("alpha") == pytest.approx(shared.interval("alpha"))
    low, high = fit.bootstrap(100, cluster=labels, starts=1).interval("alpha", method="percentile")
    assert high - low > np.subtract(*fit.bootstrap(100, starts=1).interval("alpha", method="percentile")[::-1])


def test_the_variance_of_clusters_is_that_of_the_jackknife():
    """CR3 and its degrees of freedom, against their definition with matrices of all runs."""
    _, N, D, L, labels = trunks(0)
    noise = fit_parametric(N, D, L).profile(cluster=labels).noise
    slope, n = np.eye(5)[3], len(L)
    root = np.sqrt(noise.inside)[:, None] * noise.sensitivity / noise.unit
    residual, inverse = noise.score / np.sqrt(noise.inside), np.linalg.inv(root.T @ root)
    hat, which = root @ inverse @ root.T, np.eye(labels.max() + 1)[:, labels]
    variance, forms = 0.0, []
    for mine in which.astype(bool):
        row = np.zeros(n)
        row[mine] = np.linalg.solve(np.eye(mine.sum()) - hat[np.ix_(mine, mine)], root[mine] @ inverse @ slope)
        variance += (row @ residual) ** 2
        forms.append((np.eye(n) - hat) @ row)
    alike = noise.correlation * which.T @ which + (1 - noise.correlation) * np.eye(n)
    form = np.array(forms) @ alike @ np.array(forms).T
    curvature = slope @ inverse @ slope
    expected = curvature, curvature / variance, np.trace(form) ** 2 / np.sum(form**2)
    assert noise.scale(slope) == pytest.approx(expected, rel=1e-6)


def test_intervals_of_clusters_cover():
    """A small version of benchmarks/laws_coverage.py; half or less of such studies are covered without labels."""
    held = {"labels": 0, "none": 0}
    for seed in range(12):
        values, N, D, L, labels = trunks(100 + seed)
        fit = fit_parametric(N, D, L)
        held["labels"] += fit.profile(cluster=labels).test("alpha", values[3]).p_value > 0.05
        held["none"] += fit.profile().test("alpha", values[3]).p_value > 0.05
    assert held["labels"] >= 10 and held["labels"] >= held["none"], held


def test_independent_runs_named_one_cluster_each_keep_their_interval(noisy):
    fit = fit_parametric(*noisy[1:])
    low, high = fit.profile(cluster=np.arange(48)).interval("beta")
    assert high - low == pytest.approx(np.subtract(*fit.profile().interval("beta")[::-1]), rel=0.3)


def test_noise_that_falls_with_the_budget_is_seen():
    values = surface(1.904, 0.301, 0.335)
    N, D = grid(8, 10)
    size = (D / 5e10) ** -0.4
    L = loss_of(values, N, D) * np.exp(0.01 * size * np.random.default_rng(0).normal(size=len(N)))
    found = fit_parametric(N, D, L).profile().noise.size
    assert np.corrcoef(np.log(found), np.log(size))[0, 1] > 0.9
    assert np.ptp(np.log(found)) == pytest.approx(np.ptp(np.log(size)), rel=0.4)


@pytest.mark.parametrize("change", [1.3, 2.0])
def test_a_few_outliers_do_not_widen_intervals(noisy, change):
    _, N, D, L = noisy
    clean = np.subtract(*fit_parametric(N, D, L).profile().interval("beta")[::-1])
    bad = L.copy()
    bad[[5, 30]] *= change
    assert np.subtract(*fit_parametric(N, D, bad).profile().interval("beta")[::-1]) < 1.5 * clean


def test_bad_clusters(noisy):
    fit = fit_parametric(*noisy[1:])
    for labels, word in ((np.arange(5), "one label a run"), (np.zeros(48), "one cluster")):
        with pytest.raises(ValueError, match=word):
            fit.profile(cluster=labels)
        with pytest.raises(ValueError, match=word):
            fit.bootstrap(2, cluster=labels)


def test_intervals_at_several_budgets(noisy):
    profile = fit_parametric(*noisy[1:]).profile()
    low, high = profile.interval("N*", C=np.array([1e21, 1e22]))
    assert (low[1], high[1]) == profile.interval("N*", C=1e22)
