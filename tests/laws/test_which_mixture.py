"""Mixtures side by side: what was put into made runs comes back, pairs are named rightly, and laws refuse too few mixtures."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from nmm.claims import CONFIRMED, REFUTED, UNRESOLVED, verdict
from nmm.data.batches.mixture import MIXTURES
from nmm.laws.forms.worth import WorthLaw, fit_worth
from nmm.laws.use import mixture_claims, mixture_runs, paired, which_mixture
from nmm.laws.use.which_mixture import ADDITIVE, BEYOND, INSIDE, JOINT, POOLED, UNTOLD, WORTH

KINDS = ("caption", "interleaved", "text")
COLUMNS = {"mean": "L", **{kind: f"L_{kind}" for kind in KINDS}}
TYPES = {kind: f"L_{kind}" for kind in KINDS}
# tokens of the row's type that a token of the column's is worth to it
WORTHS = {"caption": (1, -0.15, 0.05), "interleaved": (-0.1, 1, 0.4), "text": (0.05, 0.5, 1)}


WIDTHS, BUDGETS = (24, 34, 48, 68, 96), (600_000, 1_200_000, 2_400_000, 4_800_000)


def planned(seeds=(0, 1), widths=WIDTHS):
    return {(mixture, seed): set(product(widths, BUDGETS)) for mixture in MIXTURES for seed in seeds}


def runs(noise: float = 0.0, mixtures=tuple(MIXTURES), seeds=(0, 1), seed: int = 0) -> pd.DataFrame:
    """A grid of runs whose losses follow `WORTHS`, with noise that the runs of a trunk share in part."""
    rng, rows = np.random.default_rng(seed), []
    for mixture, number, width in product(mixtures, seeds, (24, 34, 48, 68, 96)):
        luck = noise * rng.normal()
        for budget in (6e5, 1.2e6, 2.4e6, 4.8e6):
            N, h = 60.0 * width**2, np.array([MIXTURES[mixture][kind] for kind in KINDS])
            losses = {
                f"L_{kind}": (floor + 40 / N**0.5 + 60 / (budget * (h @ WORTHS[kind])) ** 0.4) * np.exp(luck + noise * rng.normal() / 2)
                for kind, floor in zip(KINDS, (0.5, 0.6, 1.2))
            }
            rows.append({"mixture": mixture, "seed": number, "d_model": width, "size": f"d{width}", "budget": int(budget), "N": N,
                         "D": budget, "C": 6 * N * budget, "cluster": f"d{width} seed {number} of {mixture}", **losses,
                         "L": np.mean(list(losses.values()))})
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def exact():
    table = runs()
    return table, which_mixture.fit_all(table, MIXTURES, COLUMNS, joint_of=())


def test_worth_comes_back_and_intervals_hold_it(exact):
    for kind, fit in exact[1].fits[WORTH].items():
        for other, worth in zip(KINDS, WORTHS[kind]):
            if other != kind:
                assert fit.values[f"w[{other}]"] == pytest.approx(worth, abs=1e-4), (kind, other)
    table = runs(noise=0.003)
    h = mixture_runs.weights(table, MIXTURES, KINDS)
    fits = {kind: fit_worth(table["N"], table["D"], h, table[column], kind, KINDS) for kind, column in TYPES.items()}
    held = []
    for kind, fit in fits.items():
        ends = fit.bootstrap(60, starts=1, cluster=table["cluster"].to_numpy()).samples.quantile([0.025, 0.975])
        low, high = ends.to_dict("records")
        held += [low[f"w[{other}]"] <= worth <= high[f"w[{other}]"] for other, worth in zip(KINDS, WORTHS[kind]) if other != kind]
    assert sum(held) >= 5, held


def test_the_derivatives_of_the_worth_law_agree_with_differences():
    table = runs().iloc[::7]
    columns = {"N": table["N"].to_numpy(), "D": table["D"].to_numpy(), "h": mixture_runs.weights(table, MIXTURES, KINDS)}
    bound, phi = WorthLaw("text", KINDS).bind(columns), np.array([[0.1, -1.0, -1.2, 0.5, 0.4, 0.2, -0.1]])
    push = np.random.default_rng(0).normal(size=(1, len(table)))
    _, jacobian, parts = bound.evaluate(phi)
    curvature = bound.curvature(parts, push)
    for place, step in enumerate(1e-5 * np.eye(7)):
        (up, slope_up, _), (down, slope_down, _) = bound.evaluate(phi + step), bound.evaluate(phi - step)
        np.testing.assert_allclose((up - down) / 2e-5, jacobian[:, place], atol=1e-7)
        np.testing.assert_allclose(((slope_up - slope_down) / 2e-5 * push[:, None]).sum(axis=-1), curvature[:, place], atol=1e-6)


def test_laws_refuse_too_few_mixtures_in_one_sentence():
    table = runs(mixtures=("30-30-40", "20-40-40"))
    found = which_mixture.fit_all(table, MIXTURES, COLUMNS)
    assert set(found.fits) == {POOLED} and set(found.refused) == {ADDITIVE, JOINT, WORTH}
    assert "2 mixtures are whole" in found.refused[ADDITIVE] and "7 of its numbers" in found.refused[ADDITIVE]
    line = which_mixture.refusal(WORTH, np.array([[0.4, 0.2, 0.4], [0.3, 0.3, 0.4], [0.2, 0.4, 0.4]]))
    assert "on no line" in line, "three mixtures with one share of text do not tell what text is worth"
    h = mixture_runs.weights(table, MIXTURES, KINDS)
    with pytest.raises(ValueError, match="always move together"):
        fit_worth(table["N"], table["D"], h, table["L_text"], "text", KINDS)
    with pytest.raises(ValueError, match="sum to 1"):
        fit_worth(table["N"], table["D"], 2 * h, table["L_text"], "text", KINDS)
    with pytest.raises(ValueError, match="one of the domains"):
        WorthLaw("image", KINDS)


def test_a_mixture_left_out_lies_among_the_others_beyond_them_or_off_their_plane(exact):
    where = which_mixture.held_out(exact[1]).drop_duplicates("mixture").set_index("mixture")["where"]
    assert where.to_dict() == {"45-45-10": UNTOLD, "40-20-40": BEYOND, "30-30-40": INSIDE, "20-40-40": BEYOND}
    out = which_mixture.held_out(exact[1]).set_index(["law", "loss", "mixture"])["error [%]"]
    assert out[WORTH, "mean", "30-30-40"] < 1e-4 < out[POOLED, "caption", "30-30-40"]
    assert np.isnan(out[WORTH, "text", "45-45-10"]), "the others have one share of text: they say nothing of another"
    assert (which_mixture.compared(exact[1]).groupby("loss")["AICc difference"].min() == 0).all()


def true_best(targets, points, table):
    """The best of some shares by the law that made the runs, at its largest size and budget."""
    D = table["D"].max()
    counted = {kind: np.maximum(points @ WORTHS[kind], 1e-12) for kind in KINDS}
    return points[np.argmin(sum(targets[kind] * 60 / (D * counted[kind]) ** 0.4 for kind in KINDS))]


@pytest.mark.parametrize(("targets", "beyond"), [(dict.fromkeys(KINDS, 1), False), ({"caption": 0, "interleaved": 0, "text": 1}, True)])
def test_the_best_mixture_is_the_true_one_and_says_where_it_lies(exact, targets, beyond):
    table, laws = exact
    largest = table["N"].max(), table["D"].max()
    found = which_mixture.best(laws.fits[WORTH], targets, laws.trained, *largest, table["cluster"].to_numpy(), n=5)
    points = which_mixture.simplex()
    np.testing.assert_allclose(found.anywhere, true_best(targets, points, table), atol=0.011)
    np.testing.assert_allclose(found.h, true_best(targets, points[found.inside], table), atol=0.011)
    assert found.corner == (found.anywhere.max() > 0.99)
    assert found.edge == beyond, "all three alike is best among the trained, text alone beyond them"
    assert np.allclose(found.h, found.anywhere) != beyond
    assert np.all(found.low <= found.h) and np.all(found.h <= found.high)
    assert found.excess[found.inside].min() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("targets", [
    {"caption": 1.0}, {"caption": -1, "interleaved": 1, "text": 1}, dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, np.nan)])
def test_target_weights_that_are_none_are_refused(targets):
    with pytest.raises(ValueError, match="target weights must"):
        which_mixture.checked_targets(targets, KINDS)


def test_pairs_name_what_stays_and_compare_at_equal_total_and_equal_own_tokens(exact):
    table, _ = exact
    pairs = mixture_runs.swaps(list(MIXTURES), MIXTURES)
    assert [swap.fixed for swap in pairs] == [["text"]] * 3 + [[]] * 3
    assert {(swap.first, swap.second): swap.nearly for swap in pairs[3:]} == {
        ("45-45-10", "40-20-40"): ["caption"], ("45-45-10", "20-40-40"): ["interleaved"], ("45-45-10", "30-30-40"): []}
    found = mixture_runs.changes(table, MIXTURES, TYPES).set_index(["first", "second", "kind", "equal"]).sort_index()
    swapped = found.loc[("40-20-40", "20-40-40", "text", "total")]
    assert swapped["value"] < 0 and swapped["fixed"], "interleaved documents are worth more to text than captions are"
    assert ("40-20-40", "20-40-40", "text", "own") not in found.index, "equal total tokens are equal text tokens there"
    captions = found.loc[("40-20-40", "20-40-40", "caption")]
    assert captions.loc["total", "value"] > 0 and captions.loc["own", "times"] == pytest.approx(2)
    assert (found["verdict"] == "unresolved").all(), "two seeds decide nothing"


def test_only_whole_mixtures_count(exact):
    table = exact[0].iloc[:-1]
    assert mixture_runs.whole_seeds(table, planned()) == {**dict.fromkeys(MIXTURES, [0, 1]), "20-40-40": [0]}
    kept = mixture_runs.of_whole(table, planned(), [True] * len(table))
    assert len(kept) == 4 * 20 and set(kept["seed"]) == {0}, "a seed that one mixture lacks is compared with nothing"
    with pytest.raises(ValueError, match="unknown mixture"):
        mixture_runs.weights(table.assign(mixture="1-1-1"), MIXTURES, KINDS)


def test_cells_in_which_a_model_is_blind_are_left_out_of_every_mixture(exact):
    table = exact[0]
    blind = (table["mixture"] == "30-30-40") & (table["d_model"] == 24) & (table["budget"] == 600_000) & (table["seed"] == 1)
    kept = mixture_runs.of_whole(table, planned(), ~blind)
    assert len(table) - len(kept) == 4 and "sees" not in kept
    assert kept.groupby(["d_model", "budget", "seed"])["mixture"].nunique().eq(4).all()
    mixed = table.sample(frac=1, random_state=0)
    again = mixture_runs.of_whole(mixed, planned(), ~blind[mixed.index])
    assert len(again.merge(kept, how="inner")) == len(kept), "the order of the rows does not matter"


def test_a_seed_that_is_planned_at_fewer_sizes_is_whole_with_those(exact):
    few = planned() | {(mixture, 1): set(product((24, 96), BUDGETS)) for mixture in MIXTURES}
    table = exact[0][(exact[0]["seed"] == 0) | exact[0]["d_model"].isin((24, 96))]
    kept = mixture_runs.of_whole(table, few, [True] * len(table))
    assert len(kept) == len(table) == 4 * (20 + 8)
    assert mixture_runs.whole_seeds(table, planned())["45-45-10"] == [0]
    assert mixture_runs.of_whole(table.assign(seed=9), few, [True] * len(table)).empty, "nobody plans that seed"


def test_exponents_are_told_apart_on_the_same_resamples():
    """A frontier's exponent moves with the luck of the sizes, which two mixtures have in common; their difference hardly does."""
    table = runs(mixtures=("40-20-40", "20-40-40"), seeds=(0,))
    luck = table["d_model"].map(dict(zip(WIDTHS, 0.02 * np.random.default_rng(0).normal(size=5))))
    found = mixture_runs.laws(table.assign(L_text=table["L_text"] * np.exp(luck)), {"text": "L_text"}, {}, n=60)
    own = found.estimate("c", "40-20-40", "text")
    apart = found.apart("c", ("40-20-40", "text"), ("20-40-40", "text"))
    assert apart.high - apart.low < 0.5 * (own.high - own.low)
    assert all(len(draws) == 60 for draws in found.draws.values()), "a resample without a value is missing, and others keep their place"
    assert found.apart("c", ("40-20-40", "text"), ("1-1-1", "text")) is None


def test_claims_wait_for_seeds_and_mixtures_and_are_then_decided():
    def judged(table):
        plan = planned(range(paired.MIN_SEEDS))
        found = mixture_claims.of_study(table, MIXTURES, plan, [True] * len(table), COLUMNS, n=30)
        return {number: [each for each in found if each.claim == number] for number in (10, 11, 12, 13)}

    few = judged(runs(noise=0.001, mixtures=("30-30-40", "20-40-40"), seeds=(0,)))
    assert not few[11], "both have few captions: nothing to hold them against"
    assert all(each.verdict == UNRESOLVED for found in few.values() for each in found) and few[10] and few[12]
    assert not few[13], "the worth of others' tokens takes three mixtures"
    assert all("1 seed of each mixture, 2 of 4 mixtures" in each.beside for each in few[12])
    many = judged(runs(noise=0.001, seeds=range(paired.MIN_SEEDS)))
    assert all(many.values())
    assert verdict(many[13]) == REFUTED, "text helps captions here"
    assert {each.verdict for each in many[13] if "to interleaved" in each.quantity or "of interleaved" in each.quantity} == {CONFIRMED}
    assert verdict(many[12]) in (REFUTED, UNRESOLVED, CONFIRMED)
    nothing = mixture_runs.of_whole(runs().iloc[:0], planned(), [])
    assert list(nothing) == list(runs()), "a table without rows keeps its columns"
    assert mixture_claims.of_study(nothing, MIXTURES, planned(), [], COLUMNS) == []
    assert mixture_runs.laws(nothing, COLUMNS, {}).values == {} and mixture_runs.changes(nothing, MIXTURES, TYPES).empty
