"""Comparing: architectures by compute multiplier, laws by cross-validation, and Chinchilla's three approaches."""

import numpy as np
import pytest

from nmm.laws import fit_parametric
from nmm.laws.forms.compression import compression_score, fit_compression
from nmm.laws.use.approaches import approach_1, approach_2, approach_2_bias, approach_3, isoflop_groups
from nmm.laws.use.compare import compare_architectures
from nmm.laws.use.selection import compare_laws, held_out_errors
from tests.laws.conftest import grid, loss_of, surface


def architectures(scales, noise=0.005, exponents=None, seed=0):
    """N, D, L, arch: each architecture's N and D are worth `scales` times the first's."""
    N, D = grid(5, 7)
    rng = np.random.default_rng(seed)
    values = surface(1.9, 0.3, 0.34)
    L = [
        loss_of(values if exponents is None else surface(*exponents[g]), N * s, D * t)
        * np.exp(rng.normal(0, noise, len(N)))
        for g, (s, t) in enumerate(scales)
    ]
    k = len(scales)
    return np.tile(N, k), np.tile(D, k), np.concatenate(L), np.repeat(["early", "late", "moe"][:k], len(N))


def test_compute_multiplier_is_found_with_an_interval():
    """Of 40 such studies 95 % hold either truth. The first has an end at 1.19993 for 1.2, so several are asked."""
    held, truth = [], {"late": 1.2, "moe": 2.4}
    for seed in range(8):
        comparison = compare_architectures(*architectures([(1, 1), (1.2, 1.0), (2.0, 1.2)], seed=seed))
        for name, value in truth.items():
            found, low, high = comparison.multiplier(name)
            assert low < found < high < 1.5 * low, (seed, name)
            held.append(low < value < high)
    assert sum(held) >= 14, f"{sum(held)} of 16 intervals of 95 % hold the truth"


def test_different_exponents_are_detected():
    runs = architectures([(1, 1), (1, 1)], exponents=[(1.9, 0.3, 0.34), (1.9, 0.6, 0.34)])
    assert compare_architectures(*runs).p_value < 1e-3


def test_multiplier_of_separate_fits_at_a_budget():
    comparison = compare_architectures(*architectures([(1, 1), (2.0, 1.2)], noise=0.0))
    np.testing.assert_allclose(comparison.multiplier_at("late", np.array([1e20, 1e22])), 2.4, rtol=1e-5)


def test_architectures_bad_input():
    N, D, L, arch = architectures([(1, 1), (2, 1)])
    with pytest.raises(ValueError, match="at least two"):
        compare_architectures(N, D, L, np.repeat("early", len(N)))
    with pytest.raises(ValueError, match="no architecture 'dense'"):
        compare_architectures(N, D, L, arch, reference="dense")


def test_the_law_that_made_the_runs_wins():
    rng = np.random.default_rng(0)
    T, P = np.exp(rng.uniform(20, 26, (60, 2))), np.exp(rng.uniform(18, 22, 60))
    tokens = np.sum(T / [4.0, 600.0], axis=1)
    for truth, loss in (
        ("compression", 2.5 - 0.03 * compression_score(T, [4.0, 600.0], P)),
        ("Eq. 1", loss_of(surface(0.9, 0.3, 0.34), P, tokens)),
    ):
        observed = loss * np.exp(rng.normal(0, 0.003, 60))
        fits = {
            "compression": fit_compression(T, [4.0, 600.0], P, observed),
            "Eq. 1": fit_parametric(P, tokens, observed),
        }
        table = compare_laws(fits)
        assert table["AICc"].idxmin() == truth
        assert table["held-out error [%]"].idxmin() == truth


def test_held_out_errors_come_from_the_other_groups(noisy):
    _, N, D, L = noisy
    fit = fit_parametric(N, D, L)
    errors = held_out_errors(fit, N)
    out = N == N.max()
    other = fit_parametric(N[~out], D[~out], L[~out])
    np.testing.assert_allclose(errors[out], np.log(other.predict(N[out], D[out]) / L[out]), atol=1e-6)
    with pytest.raises(ValueError, match="groups"):
        held_out_errors(fit, N[:3])
    with pytest.raises(ValueError, match="same observed"):
        compare_laws({"a": fit, "b": other})
    with pytest.raises(ValueError, match="folds"):
        compare_laws({"a": fit}, folds=1)


def isoflop_runs(values, width=8.0, points=9):
    C = np.repeat(np.geomspace(1e19, 1e22, 7), points)
    from nmm.laws import optimum

    N = optimum(*values, C).N * np.tile(np.geomspace(1 / width, width, points), 7)
    return N, C / 6 / N, loss_of(values, N, C / 6 / N)


def test_three_approaches_agree_on_a_symmetric_surface():
    runs = isoflop_runs(surface(1.9, 0.3, 0.3))
    for approach in (approach_1, approach_2, approach_3):
        assert approach(*runs).a == pytest.approx(0.5, abs=0.03), approach.__name__
    assert approach_3(*runs).a == pytest.approx(0.5, rel=1e-6)
    assert len(np.unique(isoflop_groups(*runs[:2]))) == 7


def test_approach_2_misses_on_the_sparse_surface_and_the_parametric_fit_does_not():
    sparse = (2.158, 381773.0, 4659.0, 0.710, 0.372)
    C = np.geomspace(1e19, 1e22, 7)
    even = approach_2_bias(sparse, C, width=8.0)
    assert even["ratio"].min() > 1.1, "the parabola overestimates N* on this surface"
    assert even.attrs["a approach 2"] == pytest.approx(even.attrs["a true"], rel=1e-6)
    drifting = approach_2_bias(sparse, C, width=8.0, centre=np.geomspace(1, 3, 7))
    assert abs(drifting.attrs["a approach 2"] - drifting.attrs["a true"]) > 0.005
    narrow = approach_2_bias(sparse, C, width=1.5)
    assert abs(narrow["ratio"].mean() - 1) < abs(even["ratio"].mean() - 1)
    assert approach_3(*isoflop_runs(sparse)).a == pytest.approx(even.attrs["a true"], rel=1e-6)


def test_approaches_bad_input():
    N, D, L = isoflop_runs(surface(1.9, 0.3, 0.3))
    with pytest.raises(ValueError, match="approach 2 needs"):
        approach_2(N[:9], D[:9], L[:9])
    with pytest.raises(ValueError, match="approach 1 needs"):
        approach_1(N[:9], D[:9], L[:9])
    with pytest.raises(ValueError, match="width"):
        approach_2_bias((1.9, 1, 1, 0.3, 0.3), [1e20], width=1.0)


def test_no_single_multiplier_where_exponents_differ():
    runs = architectures([(1, 1), (1, 1)], exponents=[(1.9, 0.3, 0.34), (1.9, 0.6, 0.34)])
    comparison = compare_architectures(*runs)
    assert not comparison.single
    with pytest.raises(ValueError, match="curve over C"):
        comparison.multiplier("late")
    C = np.geomspace(1e20, 1e22, 3)
    curve = comparison.curve("late", C, n=60)
    assert curve["multiplier"].to_numpy() == pytest.approx(comparison.multiplier_at("late", C), nan_ok=True)
    known = curve.dropna()
    assert (known["low"] <= known["multiplier"]).all() and (known["multiplier"] <= known["high"]).all()


def test_equal_loss_agrees_with_the_optimum():
    comparison = compare_architectures(*architectures([(1, 1), (2.0, 1.2)], noise=0.0))
    reference, other = comparison.separate["early"], comparison.separate["late"]
    budget = 1e21 * float(comparison.multiplier_at("late", 1e21))
    assert reference.optimum(budget).L == pytest.approx(other.optimum(1e21).L, rel=1e-10)


def test_identical_arms_with_trunks_are_seldom_called_different():
    """Without labels the same arms are called different in most of such studies."""
    rejected = {"labels": 0, "none": 0}
    N, D = grid(6, 6)
    values, size = surface(1.904, 0.301, 0.335), np.arange(6).repeat(6)
    for seed in range(6):
        rng = np.random.default_rng(seed)
        trunk = np.concatenate([size + 6 * k for k in range(4)])  # two arms of two seeds each
        noise = np.sqrt(0.8) * rng.normal(size=24)[trunk] + np.sqrt(0.2) * rng.normal(size=144)
        N4, D4 = np.tile(N, 4), np.tile(D, 4)
        runs = N4, D4, loss_of(values, N4, D4) * np.exp(0.0113 * noise), np.repeat(["early", "late"], 72)
        rejected["labels"] += compare_architectures(*runs, cluster=trunk).p_value < 0.05
        rejected["none"] += compare_architectures(*runs).p_value < 0.05
    assert rejected["labels"] <= 1 and rejected["labels"] <= rejected["none"], rejected
