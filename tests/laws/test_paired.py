"""Arms at equal compute: a known difference is found, no difference is no finding, and few seeds decide nothing."""

import numpy as np
import pandas as pd
import pytest

from nmm.laws.use import paired
from nmm.laws.use.paired import MIN_SEEDS, at_equal_compute, by_cell, compare, interval, overall, percent, trend, words

LAW = {"E": 0.4, "A": 60.0, "B": 150.0, "alpha": 0.5, "beta": 0.42}


def loss(N, D):
    return LAW["E"] + LAW["A"] / N ** LAW["alpha"] + LAW["B"] / D ** LAW["beta"]


def study(arms, *, seeds=4, noise=0.0, sizes=(8e4, 1.3e5, 2.3e5), budgets=(2.5e5, 5e5, 1e6), rng=None):
    """A table of runs; `arms`: name -> (factor on the loss, factor on the compute)."""
    rows = []
    for arm, (factor, cost) in arms.items():
        for N in sizes:
            for D in budgets:
                for seed in range(seeds):
                    scatter = np.exp(noise * rng.standard_normal()) if noise else 1.0
                    tokens = D + 40 * seed      # seeds do not read exactly as much
                    rows.append({"arm": arm, "size": f"{N:.0f}", "seed": seed, "C": cost * 6 * N * tokens,
                                 "L": factor * loss(N, tokens) * scatter})
    return pd.DataFrame(rows)


def test_a_known_difference_at_equal_compute_is_found_without_noise():
    """The dearer arm reaches the same loss only at 1.4 times the compute, and its loss is 2 % higher there."""
    table = study({"late": (1.02, 1.4), "early": (1.0, 1.0)}, budgets=(2.5e5, 5e5, 1e6, 2e6))
    found = at_equal_compute(table, "late", "early")
    for row in found.itertuples():
        N = float(row.size)
        expected = np.log(1.02 * loss(N, row.C / (1.4 * 6 * N)) / loss(N, row.C / (6 * N)))
        assert row.difference == pytest.approx(expected, abs=2e-4), row
    assert overall(found).verdict == "higher"


def test_equal_runs_differ_by_nothing_although_they_are_interpolated():
    """One law, runs at other budgets: what is left over is the error of interpolation, and it must be small."""
    table = study({"a": (1.0, 1.0)})
    other = study({"b": (1.0, 1.0)}, budgets=(2.8e5, 4.2e5, 7e5))
    found = at_equal_compute(pd.concat([table, other]), "b", "a")
    assert len(found) > 0
    assert found["difference"].abs().max() < 5e-4


def test_nothing_is_compared_beyond_the_runs():
    table = study({"late": (1.0, 1.4), "early": (1.0, 1.0)})
    found = at_equal_compute(table, "late", "early")
    for size, cells in found.groupby("size"):
        both = [table[(table["size"] == size) & (table["arm"] == arm)]["C"] for arm in ("late", "early")]
        assert cells["C"].min() >= 0.99 * max(C.min() for C in both)
        assert cells["C"].max() <= 1.01 * min(C.max() for C in both)


def test_equal_budgets_need_no_interpolation_and_are_one_cell():
    table = study({"moe": (0.99, 1.0), "dense": (1.0, 1.0)}, budgets=(5e5,))
    found = at_equal_compute(table, "moe", "dense")
    assert found.groupby("size")["C"].nunique().tolist() == [1, 1, 1]
    assert found["difference"].to_numpy() == pytest.approx(np.log(0.99))


def test_across_sizes_each_arm_takes_its_best_size():
    """A large size that is worse than the small ones at every budget changes nothing."""
    table = study({"a": (1.0, 1.0), "b": (1.01, 1.0)})
    useless = table[table["arm"] == "b"].assign(size="useless", L=lambda rows: 2 * rows["L"])
    found = at_equal_compute(pd.concat([table, useless]), "b", "a", across_sizes=True)
    assert set(found["size"]) == {"all"}
    assert found["difference"].to_numpy() == pytest.approx(np.log(1.01), abs=1e-9)


def test_a_seed_that_one_arm_lacks_is_left_out_and_a_missing_run_leaves_its_cell_out():
    table = study({"a": (1.0, 1.0), "b": (1.01, 1.0)})
    without = table[~((table["arm"] == "b") & (table["seed"] == 3))]
    assert set(at_equal_compute(without, "b", "a")["seed"]) == {0, 1, 2}
    largest = table["C"] > 0.99 * table["C"].max()
    gone = table[~(largest & (table["arm"] == "b") & (table["seed"] == 0))]
    found = at_equal_compute(gone, "b", "a")
    assert found["C"].max() < 0.9 * table["C"].max()
    assert (found.groupby(["size", "C"])["seed"].nunique() == 4).all()


def test_intervals_cover_as_they_say():
    rng = np.random.default_rng(0)
    truth, hits, resolved = np.log(1.02), 0, 0
    for _ in range(100):
        table = study({"a": (1.0, 1.0), "b": (1.02, 1.0)}, noise=0.01, rng=rng, sizes=(1.3e5,), budgets=(2.5e5, 1e6))
        found = overall(at_equal_compute(table, "b", "a"))
        hits += found.low <= truth <= found.high
        resolved += found.verdict == "higher"
        assert found.verdict != "lower" or found.high < 0
    assert 0.88 <= hits / 100 <= 0.99, f"{hits} of 100 intervals hold the truth"
    assert resolved > 10


def test_few_seeds_decide_nothing():
    three, four = interval(np.array([0.1, 0.1001, 0.1002])), interval(np.array([0.1, 0.1001, 0.1002, 0.1001]))
    assert three.low > 0
    assert (three.verdict, four.verdict) == ("unresolved", "higher")
    assert MIN_SEEDS == 4


def test_the_interval_is_students():
    from scipy.stats import ttest_1samp

    values = np.array([0.3, -0.1, 0.25, 0.4, 0.0])
    expected = ttest_1samp(values, 0).confidence_interval(0.9)
    found = interval(values, 0.9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_cells_come_with_their_own_intervals():
    rng = np.random.default_rng(1)
    found = at_equal_compute(study({"a": (1.0, 1.0), "b": (1.1, 1.0)}, noise=0.005, rng=rng), "b", "a")
    cells = by_cell(found)
    assert len(cells) == 9
    assert (cells["verdict"] == "higher").all()
    assert ((cells["low"] < cells["value"]) & (cells["value"] < cells["high"])).all()


@pytest.mark.parametrize(("change", "words"), [
    (lambda table: table.drop(columns="seed"), "no column seed"),
    (lambda table: table[table["arm"] == "a"], "no runs of arm 'b': there are a"),
    (lambda table: table.assign(L=np.nan), "no row has usable C, L"),
])
def test_bad_tables_are_named(change, words):
    with pytest.raises(ValueError, match=words):
        at_equal_compute(change(study({"a": (1.0, 1.0), "b": (1.0, 1.0)})), "b", "a")


def test_one_seed_has_no_interval():
    found = overall(at_equal_compute(study({"a": (1.0, 1.0), "b": (1.1, 1.0)}, seeds=1), "b", "a"))
    assert (found.low, found.high, found.verdict) == (-np.inf, np.inf, "unresolved")
    assert found.value == pytest.approx(np.log(1.1))


def test_per_cent_keeps_missing_ends():
    assert percent(np.array([np.log(1.1), -np.inf, np.inf])) == pytest.approx([10.0, -np.inf, np.inf])


def test_no_common_compute_is_said():
    table = study({"a": (1.0, 1.0), "b": (1.0, 100.0)})
    found = at_equal_compute(table, "b", "a")
    assert found.empty
    with pytest.raises(ValueError, match="no C lies within the runs of both"):
        overall(found)
    assert compare(table, "b", "a", {"mean": "L"}).empty


def test_measures_are_compared_side_by_side_and_missing_ones_left_out():
    table = study({"a": (1.0, 1.0), "b": (1.02, 1.0)}, noise=0.002, rng=np.random.default_rng(2))
    table = table.assign(seconds=table["C"] * np.where(table["arm"] == "b", 2.0, 1.0) * 1e-9, memory=np.nan)
    found = compare(table, "b", "a", {"loss": "L", "time": "seconds", "memory": "memory"}).set_index("kind")
    assert list(found.index) == ["loss", "time"]
    assert found.loc["time", "value"] == pytest.approx(100)
    assert found.loc["loss", "low"] < 2 < found.loc["loss", "high"]
    assert (found["cells"] == 9).all()
    assert compare(table, "c", "a", {"loss": "L"}).empty


@pytest.mark.parametrize(("values", "said"), [
    ([0.01, 0.0101, 0.0099, 0.01], "1.0 % higher [1.0, 1.0]"),
    ([-0.2, -0.21, -0.19, -0.2], "18.1 % lower [17.1, 19.2]"),
    ([0.1, -0.1, 0.1, -0.1], "unresolved, +0.0 % [-16.8, +20.2]"),
    ([0.1, 0.1, 0.1001], "unresolved (3 seeds), +10.5 % [+10.5, +10.5]"),
    ([0.1], "unresolved (1 seed), +10.5 % without an interval"),
])
def test_a_finding_in_words(values, said):
    assert words(interval(np.array(values))) == said


def test_a_trend_from_the_smallest_size_to_the_largest():
    rows = [{"size": size, "C": C, "seed": seed, "difference": value + 0.001 * seed * (-1) ** n}
            for n, (size, value) in enumerate({"s": 0.10, "m": 0.3, "l": 0.02}.items()) for C in (1.0, 2.0) for seed in range(4)]
    found = trend(pd.DataFrame(rows), ["s", "m", "l", "not there"])
    assert found.startswith("from s to l the difference moves by -8.0 points [-8.0, -8.0]")
    shifted = pd.DataFrame([{**row, "difference": row["difference"] + (row["size"] == "l") * 0.05 * row["seed"]} for row in rows])
    assert "which is unresolved" in trend(shifted, ["s", "m", "l"])
    assert trend(pd.DataFrame(rows), ["s"]) == "there is one size only, and so no trend"


def test_bad_values_have_no_interval():
    with pytest.raises(ValueError, match="finite values, one a seed: got"):
        interval(np.array([0.1, np.nan]))


def test_how_a_difference_moves_with_size_and_with_tokens():
    rows = [{"size": size, "C": C, "seed": seed, "difference": 0.01 * seed + {"s": 0.0, "l": 0.1}[size] + 0.02 * (C > 1)}
            for size in "sl" for C in (1.0, 2.0) for seed in range(4)]
    differences = pd.DataFrame(rows)
    by_size, by_tokens = paired.change_with_size(differences, ["s", "m", "l"]), paired.change_with_tokens(differences)
    assert by_size.value == pytest.approx(0.1) and by_tokens.value == pytest.approx(0.02) and by_tokens.seeds == 4
    assert paired.change_with_size(differences[differences["size"] == "s"], ["s"]) is None
    assert paired.change_with_tokens(differences[differences["C"] == 1]) is None
