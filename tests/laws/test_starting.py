"""Catching up, arms cell by cell, and whether a ranking holds: known answers are found, and what cannot be told is said."""

import numpy as np
import pandas as pd
import pytest

from nmm.laws.use import catching_up, cells
from nmm.laws.use.ranking import accuracy_law, rank_correlation

BUDGETS = (1e5, 2e5, 4e5, 8e5)


def duel(crossing: float, seeds: int = 4, noise: float = 0.0) -> pd.DataFrame:
    """Runs of two arms whose losses meet at some tokens: the native one falls faster."""
    rng = np.random.default_rng(0)
    rows = []
    for seed in range(seeds):
        for budget in BUDGETS:
            away = np.log(budget / crossing)
            for arm, loss in (("native", np.exp(-0.2 * away)), ("started", np.exp(-0.1 * away))):
                rows.append({"arm": arm, "seed": seed, "budget": budget, "size": "d44", "C_exact": 1e6 * budget,
                             "C_exact_start": 3e11 if arm == "started" else np.nan, "L": 2 * loss * np.exp(noise * rng.standard_normal())})
    return pd.DataFrame(rows)


def told(table: pd.DataFrame) -> catching_up.CatchingUp:
    return catching_up.catching_up(catching_up.gaps(table, "native", "started", "L"))


def test_the_tokens_at_which_losses_meet_are_found():
    found = told(duel(3e5))
    assert found.status == "met" and found.tokens.value == pytest.approx(3e5, rel=1e-9) and found.tokens.seeds == 4
    noisy = told(duel(3e5, noise=0.003))
    assert noisy.tokens.low < 3e5 < noisy.tokens.high
    assert noisy.words("{:.0f}".format).startswith(f"{noisy.tokens.value:.0f} tokens [")


def test_the_interval_of_the_tokens_is_where_the_gap_is_not_told_from_zero():
    """At its ends, as at a budget there, the interval of the gap just leaves out zero."""
    table = duel(3e5, noise=0.003)
    found, apart = told(table), catching_up.gaps(table, "native", "started", "L")
    for at, sign in ((found.tokens.low, 1), (found.tokens.high, -1)):
        between = [cells.interval([np.interp(np.log(at * step), np.log(BUDGETS), rows.sort_values("budget")["difference"])
                                   for _, rows in apart.groupby("seed")]) for step in (1.0, 1.02**sign)]
        assert [one.resolved and sign * one.value > 0 for one in between] == [True, False]


@pytest.mark.parametrize(("crossing", "status", "words"), [
    (9e6, "behind", "not by 8e+05 tokens"), (1e4, "ahead", "ahead at 1e+05 and 2e+05 and 4e+05 and 8e+05 tokens")])
def test_what_lies_beyond_the_runs_is_not_extrapolated(crossing, status, words):
    found = told(duel(crossing))
    assert found.tokens is None and (found.status, found.words("{:.0g}".format)) == (status, words)


def test_what_the_seeds_do_not_tell_is_open():
    """The sign of the last gap decides nothing where its interval holds zero, nor do few seeds."""
    noisy = told(duel(8e5, noise=0.02))
    assert noisy.status == "open" and noisy.tokens is None
    assert noisy.words("{:.0g}".format) == "behind at 1e+05 and 2e+05 and 4e+05, not told apart at 8e+05 tokens"
    assert told(duel(4e5, noise=1.0)).words("{:.0g}".format).endswith("not told apart at 8e+05 tokens")
    few = told(duel(3e5, seeds=3))
    assert (few.status, few.words()) == ("open", "not told by 3 seeds")


def test_who_was_ahead_before_is_said():
    """A model from scratch that a start overtakes is not one that catches up, and between budgets nothing is decided."""
    table = duel(1e4)
    table.loc[table["budget"] == BUDGETS[-1], "L"] = 1 + 0.1 * np.random.default_rng(0).standard_normal(8)
    found = told(table)
    assert found.status == "open" and found.ahead_at == BUDGETS[:-1] and not found.behind_at
    assert found.words("{:.0g}".format) == "ahead at 1e+05 and 2e+05 and 4e+05, not told apart at 8e+05 tokens"
    table = duel(1e4)
    table.loc[table["budget"] == BUDGETS[0], "L"] = 1 + 0.1 * np.random.default_rng(0).standard_normal(8)
    assert told(table).words("{:.0g}".format) == "ahead at 2e+05 and 4e+05 and 8e+05 tokens", "not from some place between the first two"


def test_seeds_without_some_budget_are_left_out():
    table = duel(3e5, seeds=5)
    assert told(table[~((table["seed"] == 4) & (table["budget"] == BUDGETS[-1]))]).seeds == 4


def test_tokens_to_what_a_started_model_reached():
    """The native arm alone is followed: its loss meets the started one's at that one's largest budget."""
    table = duel(3e5)
    table = table[(table["arm"] == "native") | (table["budget"] <= 2e5)]
    found = catching_up.catching_up(catching_up.gaps_to_the_most(table, "native", "started", "L"))
    assert found.tokens.value == pytest.approx(3e5 * (2e5 / 3e5) ** 0.5, rel=1e-9) and found.last == pytest.approx(8e5)


def test_gaps_are_told_by_budget_in_per_cent():
    found = catching_up.by_budget(catching_up.gaps(duel(3e5, noise=1e-4), "native", "started", "L")).set_index("budget")
    assert found.loc[1e5, "value"] == pytest.approx(100 * ((1 / 3) ** -0.1 - 1), rel=0.01) and found.loc[1e5, "resolved"]
    assert found.loc[8e5, "value"] < 0


def test_the_compute_of_the_start_counts():
    """At equal compute in all, a start of 300k tokens' worth is compared with models from scratch on as many tokens more."""
    table = duel(3e5)
    found = catching_up.with_all_compute(table, "native", "started", "L")
    without = catching_up.with_all_compute(table.assign(C_exact_start=np.nan), "native", "started", "L")
    assert list(without) == [*reversed(BUDGETS)] and list(found) == [4e5, 2e5, 1e5], "the largest first, within the native arm's runs"
    native = -0.2 * np.log(7e5 / 3e5)
    assert found[4e5].value == pytest.approx(-0.1 * np.log(4e5 / 3e5) - native, abs=1e-6)
    assert found[4e5].value > without[4e5].value, "counted, the start is dearer"
    assert catching_up.with_all_compute(table.assign(C_exact_start=table["C_exact_start"] * 1e4), "native", "started", "L") == {}


def test_the_compute_of_the_same_loss():
    """The start costs 300k tokens; at 800k the started model has the loss that the native one has at 3e5 (8e5 / 3e5)^.5 tokens."""
    table = duel(3e5)
    found = catching_up.compute_of_the_same_loss(table, "native", "started", "L")
    assert found.seeds == 4 and found.value == pytest.approx(np.log((8e5 + 3e5) / (3e5 * (8e5 / 3e5) ** 0.5)), rel=0.01)
    better = table.assign(L=table["L"] * np.where(table["arm"] == "started", 0.1, 1.0))
    assert catching_up.compute_of_the_same_loss(better, "native", "started", "L") is None


def test_cells_are_paired_by_all_that_is_named():
    table = duel(3e5)
    found = cells.overall(cells.differences(table, "native", "started", "L", ["budget"], log=True))
    assert found.value == pytest.approx(-0.1 * np.mean(np.log(np.array(BUDGETS) / 3e5))) and found.seeds == 4
    with pytest.raises(ValueError, match="several runs of one arm have the same size, seed: name what tells them apart"):
        cells.differences(table, "native", "started", "L", ["size"])
    with pytest.raises(ValueError, match="no runs of arm 'frozen': there are native, started"):
        cells.differences(table, "frozen", "started", "L", ["budget"])
    line = cells.differences(table, "native", "started", "L", ["budget"], log=True).assign(x=lambda rows: np.log(rows["budget"]))
    assert cells.slope(line, "x").value == pytest.approx(-0.1)


def test_groups_are_compared_at_equal_compute_and_have_a_trend():
    table = duel(3e5).rename(columns={"C_exact": "C"})
    worse = table.assign(L=table["L"] * np.where(table["arm"] == "native", 1.05, 1.0))
    found = cells.across({1.0: table, 2.0: worse, 3.0: table[table["arm"] == "native"]}, "native", "started", {"mean": "L"})
    assert found["at"].tolist() == [1.0, 2.0]
    assert cells.trend({1.0: table, 2.0: worse}, "native", "started", "L").value == pytest.approx(np.log(1.05))
    assert cells.trend({1.0: table}, "native", "started", "L") is None
    assert not len(cells.across({1.0: table[:0]}, "native", "started", {"mean": "L"}))


def test_a_difference_moves_from_one_group_to_another_over_sizes_that_both_have():
    table = duel(3e5).rename(columns={"C_exact": "C"})
    sizes = pd.concat([table.assign(size="small"), table.assign(size="large")], ignore_index=True)
    factor = np.where(table["arm"] == "native", 1.03, 1.0)
    small = table.assign(size="small", L=table["L"] * factor)
    found = cells.moved(sizes.assign(L=sizes["L"] * np.where(sizes["size"] == "large", 1.5, 1.0)), small, "native", "started", "L")
    assert found.value == pytest.approx(np.log(1.03)) and found.seeds == 4, "the large size is in one group alone"
    assert cells.moved(sizes, small[small["arm"] == "native"], "native", "started", "L") is None
    assert cells.moved(sizes, small.assign(size="other"), "native", "started", "L") is None


def models(gamma: float, noise: float, n: int = 12) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(1)
    loss = np.repeat(np.linspace(1.0, 1.8, n), 3)
    accuracy = 0.2 + 0.9 * np.exp(-gamma * loss) + noise * rng.standard_normal(len(loss))
    return pd.DataFrame({"L": loss, "accuracy": accuracy, "lower": -loss}), np.repeat(np.arange(n), 3)


def test_a_ranking_that_holds_and_one_that_does_not():
    table, trunks = models(1.5, 0.005)
    found = rank_correlation(table, "lower", "accuracy", trunks, n=200)
    assert found.value > 0.95 and found.low > 0.8 and found.resolved and (found.runs, found.clusters) == (36, 12)
    shuffled = table.assign(accuracy=np.random.default_rng(0).permutation(table["accuracy"]))
    assert not rank_correlation(shuffled, "lower", "accuracy", trunks, n=200).resolved
    with pytest.raises(ValueError, match="3 runs with 3 values: at least 5"):
        rank_correlation(table.iloc[[0, 9, 30]], "lower", "accuracy", np.arange(3), n=10)
    few = rank_correlation(table[:6].assign(lower=range(6)), "lower", "accuracy", np.zeros(6), n=10)
    assert (few.low, few.high) == (-np.inf, np.inf), "one trunk tells nothing of the scatter"


def test_a_ranking_within_sizes_is_not_that_of_compute():
    """More of everything answers better; among equals nothing is told, until it is."""
    rng = np.random.default_rng(2)
    cell = np.repeat(np.arange(4), 9)
    table = pd.DataFrame({"size": cell, "lower": cell + 0.1 * rng.standard_normal(36), "accuracy": cell + 0.1 * rng.standard_normal(36)})
    trunks = np.arange(36)
    assert rank_correlation(table, "lower", "accuracy", trunks, n=200).low > 0.8
    assert not rank_correlation(table, "lower", "accuracy", trunks, n=200, within=["size"]).resolved
    table["accuracy"] = -cell + table["lower"]
    assert rank_correlation(table, "lower", "accuracy", trunks, n=200, within=["size"]).value > 0.99


def test_the_law_from_loss_to_accuracy_is_recovered():
    table, trunks = models(1.5, 0.0)
    law = accuracy_law(table, "L", "accuracy", 0.2, trunks, n=50)
    assert law.gamma.value == pytest.approx(1.5, rel=1e-4) and law.k == pytest.approx(0.9, rel=1e-4) and law.worst < 1e-6
    assert law.status == "fitted" and law.accuracy(1.2) == pytest.approx(0.2 + 0.9 * np.exp(-1.8), rel=1e-5)
    noisy = accuracy_law(models(1.5, 0.005)[0], "L", "accuracy", 0.2, trunks, n=200)
    assert noisy.gamma.low < 1.5 < noisy.gamma.high
    guesses = 0.2 + 0.01 * np.random.default_rng(0).standard_normal(36)
    flat = accuracy_law(table.assign(accuracy=guesses), "L", "accuracy", 0.2, trunks, n=200)
    assert flat.status == "no accuracy above chance"
    with pytest.raises(ValueError, match="the law needs 5"):
        accuracy_law(table[:4], "L", "accuracy", 0.2, trunks[:4], n=10)
