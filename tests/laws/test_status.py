"""What a fit says of itself: outliers by name, misfits, columns in other units, runs that leave nothing to spare."""

import numpy as np
import pandas as pd
import pytest

from nmm.laws import fit_parametric
from nmm.laws.core.judgement import STATUSES
from nmm.laws.use.selection import hold_outs
from nmm.laws.use.table import fit_table
from tests.laws.conftest import grid, loss_of, surface


def test_a_good_study_is_ok(noisy):
    fit = fit_parametric(*noisy[1:])
    assert fit.status in ("ok", "weak") and not len(fit.outliers)
    N, D = grid(8, 10)
    noise = np.random.default_rng(0).normal(0, 0.003, len(N))
    assert fit_parametric(N, D, loss_of(noisy[0], N, D) * np.exp(noise)).status == "ok"


def test_runs_far_off_are_named(noisy):
    _, N, D, L = noisy
    bad = L.copy()
    bad[[7, 31]] *= [1.3, 0.8]
    fit = fit_parametric(N, D, bad)
    assert set(fit.outliers) == {7, 31} and fit.outliers[0] == 7
    assert any("7 (+" in warning and "31 (-" in warning for warning in fit.warnings), fit.warnings
    assert fit.status in STATUSES and fit.status != "ok"


def test_diverged_runs_are_a_misfit(noisy):
    _, N, D, L = noisy
    bad = L.copy()
    bad[:4] = 11.0
    fit = fit_parametric(N, D, bad)
    assert fit.r2 < 0.5 and fit.status == "misfit"
    assert any("without the 4 runs" in warning for warning in fit.warnings), fit.warnings


def test_losses_without_a_law_are_a_misfit():
    N, D = grid()
    fit = fit_parametric(N, D, np.random.default_rng(0).uniform(2, 4, len(N)))
    assert fit.status in ("misfit", "unidentified")


def test_as_many_unknowns_as_runs_identify_nothing():
    N, D = np.array([1e8, 1e8, 1e9, 1e9, 3e9]), np.array([1e9, 1e10, 1e9, 1e10, 3e10])
    fit = fit_parametric(N, D, loss_of(surface(1.9, 0.3, 0.34), N, D) * [1.01, 0.99, 1.02, 1.0, 0.99])
    assert fit.status == "unidentified" and set(fit.unidentified) == {"E", "A", "B", "alpha", "beta"}
    assert fit.profile().interval("alpha") == (-np.inf, np.inf) and fit.profile().interval("E") == (0.0, np.inf)


def test_equal_losses_identify_nothing():
    N, D = grid()
    fit = fit_parametric(N, D, np.full(len(N), 2.5))
    assert fit.status == "unidentified" and any("nothing falls" in warning for warning in fit.warnings)
    assert fit.profile().interval("E") == (0.0, np.inf)


@pytest.mark.parametrize("scale_n, scale_d", [(1e-6, 1e-9), (1, 1e-9), (1e-6, 1), (1e-9, 1e-9), (1e-6, 1e-6), (1e-9, 1)])
def test_columns_in_other_units_are_noticed(noisy, scale_n, scale_d):
    _, N, D, L = noisy
    fit = fit_parametric(N * scale_n, D * scale_d, L)
    assert fit.status != "ok" and any("millions" in warning for warning in fit.warnings), fit.warnings


def test_perplexities_are_noticed(noisy):
    _, N, D, L = noisy
    assert any("perplexity" in warning for warning in fit_parametric(N, D, np.exp(L)).warnings)


def test_masked_values_are_refused(noisy):
    _, N, D, L = noisy
    with pytest.raises(ValueError, match="L has 1 masked"):
        fit_parametric(N, D, np.ma.masked_array(L, np.arange(len(L)) == 3))


def test_a_failed_hold_out_is_a_misfit():
    """The largest size breaks away from the law of the others."""
    values = surface(1.904, 0.301, 0.335)
    N, D = grid(6, 8)
    L = loss_of(values, N, D) * np.exp(np.random.default_rng(0).normal(0, 0.003, len(N)))
    L[N == N.max()] *= 1.06
    held = {one.what: one for one in hold_outs(fit_parametric(N, D, L))}
    assert held["the largest size"].failed and held["the largest size"].inside <= 2, held["the largest size"].words
    table = pd.DataFrame({"N": N, "D": D, "L": L})
    (group,), _ = fit_table(table, bootstrap=5)
    assert group.fit.status == "misfit" and any("the largest size held out" in warning for warning in group.fit.warnings)


def test_a_good_law_predicts_what_is_held_out():
    values = surface(1.904, 0.301, 0.335)
    N, D = grid(6, 8)
    L = loss_of(values, N, D) * np.exp(np.random.default_rng(0).normal(0, 0.005, len(N)))
    held = hold_outs(fit_parametric(N, D, L))
    assert len(held) == 2 and not any(one.failed for one in held), [one.words for one in held]
    assert np.abs(held[0].errors).mean() < 0.02


def test_prediction_intervals_cover():
    values, inside = surface(1.904, 0.301, 0.335), []
    N, D = grid(6, 8)
    for seed in range(10):
        noise = np.random.default_rng(seed).normal(0, 0.01, len(N))
        boot = fit_parametric(N, D, loss_of(values, N, D) * np.exp(noise)).bootstrap(200, starts=1)
        new = loss_of(values, N, D) * np.exp(np.random.default_rng(100 + seed).normal(0, 0.01, len(N)))
        low, high = boot.prediction_interval({"N": N, "D": D})
        inside.append(np.mean((low <= new) & (new <= high)))
    assert 0.90 < np.mean(inside) < 0.99, np.mean(inside)


def test_the_tables_own_compute_is_compared(noisy):
    _, N, D, L = noisy
    table = pd.DataFrame({"N": N, "D": D, "L": L, "C": 6e-3 * N * D})
    (group,), _ = fit_table(table, bootstrap=5)
    assert any("own C is 0.001 times" in warning for warning in group.fit.warnings), group.fit.warnings


def test_a_small_group_is_left_out_with_its_reason(noisy):
    _, N, D, L = noisy
    table = pd.DataFrame({"N": N, "D": D, "L": L, "arch": ["early"] * 45 + ["late"] * 3})
    (group,), dropped = fit_table(table, by=("arch",), bootstrap=5)
    assert group.name == "early" and len(dropped) == 3 and dropped["reason"].str.contains("group late").all()
    with pytest.raises(ValueError, match="more than one"):
        fit_table(table, N="D", bootstrap=5)
