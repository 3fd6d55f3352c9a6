"""Normalised training curves: which runs are chosen, when curves fall on one another, and what is refused; noise between seeds."""

import numpy as np
import pandas as pd
import pytest

from nmm.runs.collapse import along, normalised, spread
from nmm.runs.noise import between_seeds, of_cells, within_trunks


def grid(sizes=(1e5, 2e5, 4e5), budgets=(1e6, 2e6, 4e6, 8e6), seeds=(0, 1)) -> pd.DataFrame:
    return pd.DataFrame([{"run": f"{N:.0f}-{D:.0f}-{seed}", "N": N, "D": D, "budget": D, "seed": seed}
                         for N in sizes for D in budgets for seed in seeds])


def test_budgets_along_a_path():
    """With D ~ N^1.5 the budgets that grow by 2^1.5 are 2 and 4 apart in turn; each size and seed has one, none far away."""
    chosen = along(grid(), slope=1.5)
    assert chosen.groupby(["N", "seed"]).size().eq(1).all() and chosen["N"].nunique() == 3
    ratio = chosen.groupby("N")["D"].first().to_numpy() / np.array([1e5, 2e5, 4e5]) ** 1.5
    assert ratio.max() / ratio.min() <= 2**1.01
    steep = along(grid(sizes=(1e5, 1e6)), slope=3.0)
    assert steep["N"].nunique() == 1, "no budget of the other size is near the path"
    with pytest.raises(ValueError, match="no runs"):
        along(grid().iloc[:0], slope=1.0)


def curve(run: str, D: float, exponent: float, floor: float, scale: float = 1.0) -> pd.DataFrame:
    tokens = np.geomspace(0.02, 1.0, 60) * D
    return pd.DataFrame({"run": run, "N": 1e5, "D": D, "tokens": tokens, "loss": floor + scale * (tokens / D) ** -exponent})


def test_curves_of_one_shape_fall_on_one_another_and_others_do_not():
    same = normalised(pd.concat([curve("a", 1e6, 0.3, 0.5), curve("b", 4e6, 0.3, 0.5, scale=0.6)]), floor=0.5)
    assert spread(same)["deviation"].max() < 1e-3
    assert same.groupby("run")["reducible"].last().between(0.95, 1.0).all()
    apart = spread(normalised(pd.concat([curve("a", 1e6, 0.3, 0.5), curve("b", 4e6, 0.6, 0.5)]), floor=0.5))
    assert apart["deviation"].iloc[0] > 0.1 > apart["deviation"].iloc[-1]
    assert apart["share"].iloc[[0, -1]].tolist() == [0.25, 0.9]


def test_a_floor_above_a_run_and_a_single_run_are_refused():
    with pytest.raises(ValueError, match="run a ends at .* not above the floor 2"):
        normalised(curve("a", 1e6, 0.3, 0.5), floor=2.0)
    with pytest.raises(ValueError, match="1 run: a spread needs two or more"):
        spread(normalised(curve("a", 1e6, 0.3, 0.5), floor=0.5))


def test_noise_between_seeds_is_found_again():
    """Forty seeds of two sizes with 2 % of noise at one budget and .5 % at another, and a cell with one seed, which tells nothing."""
    rng = np.random.default_rng(0)
    table = grid(sizes=(1e5, 2e5), budgets=(1e6, 2e6), seeds=range(40))
    table["L"] = np.exp(rng.normal(0, np.where(table["budget"] == 1e6, 0.02, 0.005)))
    noise = between_seeds(pd.concat([table, pd.DataFrame([{"N": 9e9, "budget": 1e6, "seed": 0, "L": 50.0}])]), ["L"])
    assert noise["cells"].tolist() == [2, 2]
    assert noise["L"].tolist() == pytest.approx([0.02, 0.005], rel=0.25)
    assert between_seeds(table[table["seed"] == 0], ["L"]).empty


def test_the_noise_of_cells_and_what_trunks_share_are_found_again():
    rng = np.random.default_rng(1)
    table = grid(seeds=range(40))
    table["cluster"] = table["N"].astype(str) + " " + table["seed"].astype(str)
    luck = dict(zip(table["cluster"].unique(), rng.normal(size=table["cluster"].nunique())))
    spread_of = {1e5: 0.02, 2e5: 0.01, 4e5: 0.005}
    own = 0.8 * table["cluster"].map(luck) + 0.6 * rng.normal(size=len(table))      # variance one, correlation .64 in a trunk
    table["L"] = 2 * np.exp(table["N"].map(spread_of) * own)
    found = of_cells(table)
    pooled = (found["noise"] ** 2).groupby(found["N"]).mean() ** 0.5
    assert len(found) == 12 and pooled.to_dict() == pytest.approx(spread_of, rel=0.25) and found["seeds"].eq(40).all()
    assert within_trunks(table) == pytest.approx(0.64, abs=0.15)
    assert within_trunks(table) == pytest.approx(within_trunks(table.sample(frac=1, random_state=0)))
    one = table[table["seed"] == 0]
    assert of_cells(one).empty and np.isnan(within_trunks(one)) and np.isnan(within_trunks(table[table["budget"] == 1e6]))
