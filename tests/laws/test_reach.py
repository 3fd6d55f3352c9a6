"""How far a fit reaches: a true law predicts any distance, a law that bends is caught where it bends, few runs are refused."""

import numpy as np
import pandas as pd
import pytest

from nmm.laws import fit_parametric
from nmm.laws.use import reach


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
    table = reach.by_reach(reach.beyond(N, D, L, cluster, n=10))
    fine = table[table["status"] == "fine"]
    assert fine["error"].iloc[-1] > 3 * 0.2, fine
    assert (fine["low"] <= fine["error"]).all() and (fine["error"] <= fine["high"]).all()
    good, bad = reach.trusted(table, noise=0.2)
    assert good <= bad < fine["to"].iloc[-1]
    assert reach.trusted(table, noise=50.0) == (fine["to"].iloc[-1], np.inf)
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


def test_too_few_runs_are_refused():
    N, D, L, cluster = grid()
    with pytest.raises(ValueError, match="10 runs"):
        reach.beyond(N[:9], D[:9], L[:9], cluster[:9])
    assert len(reach.by_reach(pd.DataFrame({"status": [], "reach": []}))) == 0
