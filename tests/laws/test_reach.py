"""How far a fit reaches: a true law predicts any distance, a law that bends is caught where it bends, few runs are refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nmm import runs
from nmm.laws import fit_parametric
from nmm.laws.use import reach
from nmm.laws.use.selection import hold_out


def grid(bend=0.0, noise=0.0, seeds=1, rng=None):
    rows = []
    for N in np.geomspace(5e4, 5e5, 6):
        for seed in range(seeds):
            for D in 6e5 * 2.0 ** (np.arange(6) / 2):
                L = 0.7 + 1200 / N**0.75 + 350 / D**0.5
                L *= np.exp(bend * max(np.log(6 * N * D / 8e11), 0.0) + (noise * rng.standard_normal() if noise else 0.0))
                rows.append((N, D, L, f"{N:.0f} {seed}"))
    return map(np.array, zip(*rows))


def test_a_true_law_predicts_every_run_that_it_has_not_seen():
    N, D, L, cluster = grid()
    found = reach.beyond(N, D, L, cluster, n=5)
    assert found["error"].abs().max() < 1e-4 and found["reach"].max() > 8
    assert (found["C"] > found["cut"]).all() and found["cut"].nunique() == 6


def test_errors_grow_with_reach_where_the_law_bends_and_trust_ends_there():
    N, D, L, cluster = grid(bend=0.04, noise=0.002, seeds=3, rng=np.random.default_rng(0))
    table = reach.by_reach(reach.beyond(N, D, L, cluster, n=10).assign(noise=0.002))
    fine = table[table["status"] == "fine"]
    assert fine["error"].iloc[-1] > 3 * 0.2, fine
    assert (fine["low"] <= fine["error"]).all() and (fine["error"] <= fine["high"]).all()
    assert table["noise"].to_numpy() == pytest.approx(0.2)
    good, bad = reach.trusted(table)
    assert good <= bad < fine["to"].iloc[-1]
    decided = fine[fine["trunks"] >= reach.TRUNKS]
    assert reach.trusted(table.assign(noise=50.0)) == (decided["to"].iloc[-1], np.inf)
    assert reach.trusted(table.assign(noise=50.0, trunks=reach.TRUNKS - 1)) == (1.0, np.inf), "few trunks call nothing good"
    assert reach.trusted(table.assign(noise=0.0, trunks=reach.TRUNKS - 1)) == (1.0, np.inf), "and nothing bad"
    mean, low, high = reach.side(reach.beyond(N, D, L, cluster, n=2))
    assert low < mean < high < 0, "losses lie above what a law promises that does not bend"


def test_errors_and_spreads_are_those_of_the_tables():
    N, D, L, cluster = grid(noise=0.01, seeds=2, rng=np.random.default_rng(1))
    fit = fit_parametric(N, D, L)
    told = reach.errors(fit, fit.observed, fit.residuals)
    assert told["R2"] == pytest.approx(fit.r2) and told["MSE"] == pytest.approx(np.mean((fit.predicted - L) ** 2))
    assert told["MAE [%]"] == pytest.approx(0.8, abs=0.3)      # 1 % of normal noise has a mean size of 0.8 %
    alone = reach.spreads(fit, None, n=20)
    assert set(alone) == {"E", "alpha", "beta", "a", "b", "d"} and alone["a"] == pytest.approx(alone["b"])
    assert np.isnan(reach.spreads(fit, N > N.mean(), n=20)["E"]), "two trunks tell no spread"


def test_the_order_of_the_rows_does_not_matter():
    N, D, L, cluster = grid(noise=0.005, seeds=2, rng=np.random.default_rng(2))
    tables = []
    for order in (np.arange(len(N)), np.random.default_rng(3).permutation(len(N))):
        found = reach.beyond(N[order], D[order], L[order], cluster[order], cuts=3, n=5).assign(noise=0.005)
        tables.append((found.drop(columns="error"), found["error"], reach.by_reach(found)))
    pd.testing.assert_frame_equal(tables[0][0], tables[1][0])
    np.testing.assert_allclose(tables[0][1], tables[1][1], atol=1e-7)
    pd.testing.assert_frame_equal(tables[0][2], tables[1][2], rtol=1e-5)


def test_minima_that_are_as_good_and_predict_otherwise_are_no_fit():
    """Three sizes of published runs leave E, A and alpha free: the loss has a valley with a flat floor, and the fit ends anywhere in it."""
    folder = Path(__file__).parents[2] / "runs"
    rows = runs.with_others(*(runs.load(folder / name) for name in ("laptop", "seeds", "architectures")))
    rows = rows[rows["arm"] == "early fusion"]
    N, D, L = (rows[name].to_numpy() for name in "NDL")
    for cut, flat in ((8.22e11, True), (1.79e12, False)):
        known = 6 * N * D <= cut
        for order in (np.arange(known.sum()), np.random.default_rng(0).permutation(known.sum())):
            fit = fit_parametric(*(column[known][order] for column in (N, D, L)))
            assert fit.status in reach.FINE and reach._flat(fit, {"N": N[~known], "D": D[~known]}) == flat, (cut, fit.alpha)
    assert len(set(N[6 * N * D <= 8.22e11])) < reach.SIZES, "which is why fewer sizes are not fitted at all"


def test_the_noise_is_that_of_the_nearest_cell():
    cells = pd.DataFrame({"N": [1e5, 1e5, 4e5], "D": [1e6, 4e6, 1e6], "noise": [0.01, 0.005, 0.004]})
    at = [1e5, 1.2e5, 5e5], [1e6, 3.5e6, 8e5]
    assert reach.noise_near(*at, cells).tolist() == reach.noise_near(*at, cells[::-1]).tolist() == [0.01, 0.005, 0.004]
    with pytest.raises(ValueError, match="not known"):
        reach.noise_near(*at, cells.iloc[:0])


def test_runs_left_out_are_predicted_from_the_rest():
    N, D, L, cluster = grid(noise=0.004, seeds=2, rng=np.random.default_rng(5))
    fit = fit_parametric(N, D, L)
    found = hold_out(fit, "the largest token budget", D == D.max(), cluster, n=20)
    assert len(found.rows) == 12 and np.abs(found.errors).mean() < 0.02 and found.inside >= 6
    assert set(found.rows) == set(np.flatnonzero(D == D.max()))
    with pytest.raises(ValueError, match="nothing is left out as none"):
        hold_out(fit, "none", D > 2 * D.max())


def test_too_few_runs_are_refused():
    N, D, L, cluster = grid()
    with pytest.raises(ValueError, match="10 runs"):
        reach.beyond(N[:9], D[:9], L[:9], cluster[:9])
    assert len(reach.by_reach(pd.DataFrame({"status": [], "reach": []}))) == 0
