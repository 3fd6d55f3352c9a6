"""Laws by position: exponents and differences that are put in come out, with intervals that hold them."""

import numpy as np
import pandas as pd
import pytest

from nmm.laws.use.positions import MEAN, PFLOPS_DAY, beside, comparable, differences, laws, mean_over_types, on_frontier

SIZES, BUDGETS, BINS = (1e4, 2e4, 4e4, 8e4, 1.6e5), (1e6, 2e6, 4e6, 8e6), ("0-8", "8-16")
TRUTH = {"full": {"0-8": (0.5, -0.10), "8-16": (0.4, -0.14)}, "sparse": {"0-8": (0.5, -0.10), "8-16": (0.42, -0.15)}}


def study(noise: float = 0.0, seeds: int = 2, rng: np.random.Generator | None = None) -> pd.DataFrame:
    """Losses as `nmm.runs.by_position` has them: on the best cells the law of their bin, above it elsewhere."""
    rows = []
    for arm, law in TRUTH.items():
        for N in SIZES:
            for seed in range(seeds):
                luck = rng.normal() * noise if rng else 0.0
                for D in BUDGETS:
                    C, off = 6 * N * D, np.log(D / (100 * N)) ** 2
                    for name, (K, c) in law.items():
                        scatter = luck + (rng.normal() * noise / 3 if rng else 0.0)
                        L = K * (C / PFLOPS_DAY) ** c * np.exp(0.02 * off + scatter)
                        for data, times in (("text", 1.1), ("interleaved", 0.9)):
                            first, end = map(int, name.split("-"))
                            rows.append({"run": f"{arm} {N} {D} {seed}", "arm": arm, "size": f"d{N:g}", "budget": D, "seed": seed,
                                         "cluster": f"{arm} {N} {seed}", "C": C, "C_exact": C * (0.7 if arm == "sparse" else 1.0),
                                         "data": data, "bin": name, "first": first, "end": end, "L": times * L})
    return pd.DataFrame(rows)


def test_data_types_and_bins_have_their_mean():
    bins = mean_over_types(study())
    run = bins[bins["run"] == bins["run"].iloc[0]].set_index("bin")["L"]
    assert set(run.index) == {*BINS, MEAN} and run[MEAN] == pytest.approx(run[list(BINS)].mean())


def test_the_frontier_is_one_for_all_arms_and_bins():
    rows = on_frontier(mean_over_types(study()))
    cells = rows.groupby(["arm", "bin"])[["size", "budget"]].apply(lambda own: frozenset(map(tuple, own.to_numpy())))
    assert len(set(cells)) == 1
    assert all(budget == 100 * float(size[1:]) or size in ("d10000", "d160000") for size, budget in next(iter(cells)))


def test_laws_without_noise_come_back():
    table = study()
    table = table[np.isclose(table["budget"], 100 * table["size"].str[1:].astype(float))]
    found = laws(on_frontier(mean_over_types(table))).set_index(["arm", "bin"])
    for arm, law in TRUTH.items():
        for name, (K, c) in law.items():
            assert found.loc[(arm, name), ["K", "c"]].tolist() == pytest.approx([K, c], rel=1e-4)
    exact = laws(on_frontier(mean_over_types(table)), "C_exact").set_index(["arm", "bin"])
    assert exact.loc[("sparse", "8-16"), "c"] == pytest.approx(-0.15, rel=1e-4)
    assert exact.loc[("sparse", "8-16"), "K"] == pytest.approx(0.42 * 0.7**0.15, rel=1e-4), "fewer FLOPs, the same loss"


def test_differences_are_the_differences_of_the_exponents():
    rows = on_frontier(mean_over_types(study(noise=0.004, rng=np.random.default_rng(0))))
    found = differences(rows, "sparse", "full").set_index("bin")
    for name in BINS:
        (K_full, c_full), (K, c) = TRUTH["full"][name], TRUTH["sparse"][name]
        largest = rows["C"].max() / PFLOPS_DAY
        ratio = K / K_full * largest ** (c - c_full)
        assert found.loc[name, "c_low"] <= c - c_full <= found.loc[name, "c_high"], found.loc[name]
        assert found.loc[name, "ratio_low"] <= ratio <= found.loc[name, "ratio_high"], found.loc[name]
        assert found.loc[name, "c_high"] - found.loc[name, "c_low"] < 0.03, "and not by being wide"
    assert found["trunks"].max() <= 10 and found["pairs"].min() >= 6


def test_what_cannot_be_compared_is_named():
    rows = on_frontier(mean_over_types(study()))
    with pytest.raises(ValueError, match="no runs of arm 'hybrid': there are full, sparse"):
        differences(rows, "hybrid", "full")
    alone = rows[(rows["arm"] == "full") | (rows["seed"] == 1)]
    with pytest.raises(ValueError, match="no run of 'sparse' has the size, budget and seed of one of 'full'"):
        differences(alone[(alone["arm"] == "sparse") | (alone["seed"] == 0)], "sparse", "full")
    few = study()
    with pytest.raises(ValueError, match="only 2 of 2 cells .* lie on the frontier: a law needs 3"):
        on_frontier(mean_over_types(few[(few["size"] == "d10000") & (few["budget"] <= 2e6)]))


def test_what_is_missing_for_a_comparison_is_said():
    table = study()
    rows, reason = comparable(table, "sparse", "full")
    assert not reason and set(rows["arm"]) == {"sparse", "full"}
    assert comparable(table[table["arm"] == "full"], "sparse", "full") == (None, "there are no records of the arm sparse")
    assert comparable(table.iloc[:0], "sparse", "full")[1] == "there are no records of the arms sparse and full"
    apart = table[(table["arm"] == "full") == (table["seed"] == 0)]
    assert comparable(apart, "sparse", "full") == (None, "no run of sparse has the size, budget and seed of one of full")
    few = table[table["size"] == "d10000"]
    assert "only" in comparable(few[few["budget"] == 1e6], "sparse", "full")[1]


def test_the_gap_at_the_least_compute_is_told_beside_that_at_the_most():
    table = study()
    table = table[np.isclose(table["budget"], 100 * table["size"].str[1:].astype(float))]
    rows = on_frontier(mean_over_types(table))
    found = differences(rows, "sparse", "full").set_index("bin").loc["8-16"]
    for name, C in (("start", rows["C"].min()), ("ratio", rows["C"].max())):
        assert found[name] == pytest.approx(0.42 / 0.4 * (C / PFLOPS_DAY) ** -0.01, rel=1e-4)
        assert found[f"{name}_low"] <= found[name] <= found[f"{name}_high"]


def test_arms_stand_beside_each_other_at_equal_tokens_and_at_equal_actual_flops():
    bins = mean_over_types(study(seeds=4))
    tokens = beside(bins, ["sparse", "hybrid"], "full").set_index("bin")
    assert set(tokens["arm"]) == {"sparse"} and tokens["seeds"].eq(4).all() and not tokens.loc["0-8", "resolved"]
    C = np.array([6 * N * D for N in SIZES for D in BUDGETS]) / PFLOPS_DAY
    assert tokens.loc["8-16", "value"] == pytest.approx(np.log(0.42 / 0.4 * C**-0.01).mean())
    flops = beside(bins, ["sparse"], "full", equal_flops=True).set_index("bin")
    # On a trunk losses fall by budget, so that who needs .7 of the FLOPs is as far ahead as full attention falls in a factor 1 / .7
    assert -0.05 < flops.loc["0-8", "value"] < 0 and tokens.loc["0-8", "value"] == pytest.approx(0)
    plain = beside(bins, ["sparse"], "full", log=False).set_index("bin").loc["8-16", "value"]
    cells = bins[bins["bin"] == "8-16"].groupby("arm")["L"].mean()
    assert plain == pytest.approx(cells["sparse"] - cells["full"])


def test_what_cannot_stand_beside_is_named():
    bins = mean_over_types(study())
    with pytest.raises(ValueError, match="no runs of arm 'hybrid': there are full, sparse"):
        beside(bins, ["sparse"], "hybrid")
    with pytest.raises(ValueError, match="at equal FLOPs losses are compared as logarithms"):
        beside(bins, ["sparse"], "full", equal_flops=True, log=False)
    assert beside(bins, ["hybrid"], "full").empty
