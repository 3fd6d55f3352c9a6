"""Laws in the number of experts: a planted law comes out, simpler laws are told from it, and few sparsities or seeds decide nothing."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from nmm.laws.forms.sparse import FORMS, SparseForm, fit_form
from nmm.laws.use import experts, joint
from nmm.laws.use.families import LOSS
from nmm.laws.use.paired import MIN_SEEDS
from tests.laws.conftest import derivatives_are_those_by_differences

FLOOR = 0.65
PLANTED = {     # form -> a law of it, above the floor
    experts.TABLE_12: {"A": 60.0, "B": 310.0, "C": 0.25, "d": 150.0, "alpha": 0.4, "beta": 0.48, "gamma": 0.62, "lambda": 0.6,
                       "delta": 0.2},
    experts.WORTH: {"B": 310.0, "d": 300.0, "beta": 0.48, "gamma": 0.6, "delta": 0.1},
    experts.NONE: {"B": 310.0, "d": 300.0, "beta": 0.48, "gamma": 0.6},
}


def studied(form=experts.WORTH, *, numbers=(1, 2, 4, 8, 16), seeds=4, noise=0.0, trunk=0.0, rng=None, sizes=4, budgets=4):
    """Runs of several numbers of experts by a planted law; trunks and runs scatter by so much of ln L."""
    values, rows = PLANTED[form], []
    law = SparseForm(form, FLOOR)
    for number in numbers:
        for N in np.geomspace(5e4, 3e5, sizes):
            for seed in range(seeds):
                luck = trunk * rng.standard_normal() if trunk else 0.0
                for D in 6e5 * 2.0 ** np.arange(budgets):
                    at = {"N": np.array([N]), "D": np.array([D]), "S": np.array([1 - 1 / number])}
                    L = law.predict(np.array([values[name] for name in law.names]), at)[0]
                    rows.append({"experts": number, "S": 1 - 1 / number, "size": f"d{N:.0f}", "N": N, "D": D, "budget": D, "seed": seed,
                                 "cluster": f"{number} {N:.0f} {seed}",
                                 "L": L * np.exp(luck + (noise * rng.standard_normal() if noise else 0.0))})
    return pd.DataFrame(rows)


def family(made, floor=FLOOR):
    return experts.SparseFamily(made["N"], made["D"], made["S"], made["L"], floor)


@pytest.mark.parametrize("form", PLANTED)
def test_a_planted_law_comes_out(form):
    made = studied(form, seeds=1)
    fit = fit_form(made["N"], made["D"], made["S"], made["L"], form, FLOOR, LOSS)
    assert fit.status == "ok", fit.warnings
    assert fit.values == pytest.approx(PLANTED[form], rel=1e-3)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("floor", [FLOOR, None])
def test_derivatives_of_the_forms_are_those_by_differences(form, floor):
    made = studied(seeds=1, sizes=2, budgets=2)
    bound = SparseForm(form, floor).bind({name: made[name].to_numpy() for name in "NDS"})
    phi = 0.1 * np.arange(1, len(bound.transform) + 1)
    derivatives_are_those_by_differences(bound, LOSS, made["L"].to_numpy(), phi)


@pytest.mark.parametrize(("narrow", "wide"), [(narrow, wide) for wide, narrow in experts.SparseFamily.pairs])
def test_a_narrower_law_is_nearly_itself_among_the_wider(narrow, wide):
    law, values = SparseForm(narrow, FLOOR), {**PLANTED[experts.TABLE_12], "kappa": 0.05}
    theta = law.internal(np.array([values[name] for name in law.names]))[0]
    made = studied(seeds=1)
    columns = {name: made[name].to_numpy() for name in "NDS"}
    wider = SparseForm(wide, FLOOR)
    again = wider.natural(law.widened(theta, wider, 1.2e5)[None])[0]
    assert wider.predict(again, columns) == pytest.approx(law.predict(law.natural(theta[None])[0], columns), rel=1e-3)


def test_the_tests_go_down_to_the_planted_law_and_no_further():
    rng = np.random.default_rng(0)
    made = studied(noise=0.002, trunk=0.003, rng=rng, sizes=3, budgets=3)
    found = joint.tests(family(made), made["cluster"], MIN_SEEDS, n=39)
    assert experts.simplest(found) == experts.WORTH, joint.as_table(found)
    by_pair = {(one.wide, one.narrow): one for one in found}
    assert by_pair[experts.WORTH, experts.NONE].verdict == "rejected" or by_pair[experts.WORTH, experts.NONE].p_trunks == 1 / 40
    assert not experts.agreed([replace(one, seeds=MIN_SEEDS - 1) for one in found]), "too few seeds decide nothing"
    floor = studied(experts.TABLE_12, noise=0.001, rng=rng, sizes=3, budgets=3)
    assert experts.simplest(joint.tests(family(floor), floor["cluster"], MIN_SEEDS, n=39)) == experts.TABLE_12


def test_worth_and_savings_are_those_planted_and_their_intervals_hold_them():
    rng = np.random.default_rng(1)
    made = studied(noise=0.002, trunk=0.003, rng=rng)
    fit = family(made).fits[experts.WORTH]
    cluster = made["cluster"].to_numpy()
    true = 8 ** (0.1 / 0.6)
    found = experts.worth(fit, 8, cluster)
    assert found["low"] < true < found["high"] and found["high"] / found["low"] < 1.2, found
    N, D = 1e5, 1e6
    at = {"N": np.full(2, N), "D": np.full(2, D), "S": np.array([0.0, 7 / 8])}
    dense, sparse = SparseForm(experts.WORTH, FLOOR).predict(np.array([PLANTED[experts.WORTH][name] for name in FORMS[experts.WORTH]]), at)
    saved = experts.saved(fit, 8, N, D, cluster)
    assert saved["low"] < 100 * (sparse / dense - 1) < saved["high"] < 0
    with pytest.raises(ValueError, match="one worth"):
        experts.worth(family(made).fits[experts.NONE], 8, cluster)


def test_a_simple_truth_leaves_numbers_of_the_full_law_unidentified():
    rng = np.random.default_rng(2)
    made = studied(noise=0.002, rng=rng, sizes=3, budgets=3, seeds=2)
    full = fit_form(made["N"], made["D"], made["S"], made["L"], experts.TABLE_12, FLOOR, LOSS)
    told = experts.numbers(full, made["cluster"].to_numpy())
    assert not told.loc["C", "identified"] and not told.loc["lambda", "identified"]
    simple = experts.numbers(fit_form(made["N"], made["D"], made["S"], made["L"], experts.WORTH, FLOOR, LOSS), made["cluster"].to_numpy())
    assert simple["identified"].all()
    assert ((simple["low"] < simple["value"]) & (simple["value"] < simple["high"])).all()


def test_a_number_left_out_is_predicted_by_the_true_law_alone():
    made = studied(noise=0.002, rng=np.random.default_rng(3))
    found = experts.held_out(family(made), made["experts"], made["seed"], (experts.WORTH, experts.NONE)).set_index(["form", "experts"])
    assert (found.loc[experts.WORTH, "error"] < 0.3).all()
    assert found.loc[(experts.NONE, 1), "bias"] < -0.5 and found.loc[(experts.NONE, 1), "resolved"]
    assert experts.noise(made) == pytest.approx(0.2, rel=0.15)


def test_losses_beside_the_dense_model_by_number_of_experts():
    made = studied()
    found = experts.beside_dense(made)
    assert set(found["size"]) == {*made["size"], "all"}
    law = SparseForm(experts.WORTH, FLOOR)
    values = np.array([PLANTED[experts.WORTH][name] for name in law.names])
    row = found[(found["experts"] == 8) & (found["size"] == made["size"].iloc[0])].iloc[0]
    D = np.unique(made["D"])
    L = [law.predict(values, {"N": np.full(4, row["N"]), "D": D, "S": np.full(4, S)}) for S in (0.0, 7 / 8)]
    assert row["value"] == pytest.approx(100 * np.expm1(np.log(L[1] / L[0]).mean()))
    slope = experts.doubling(made)
    assert slope.value < 0 and slope.seeds == 4
    assert experts.doubling(studied(numbers=(1, 8))) is None
    part = made[(made["experts"] != 2) | (made["D"] > 7e5)]     # a number without the smallest budget: no other uses it in the common mean
    assert len(experts.beside_dense(part[part["experts"] != 2])) == len(experts.beside_dense(part)) - 5


def runs_table(**changes):
    rows = [{"arm": "early fusion", "arch": "early", "routing": None, "n_experts": np.nan, "top_k": np.nan},
            {"arm": "mixture 8-top-1", "arch": "moe", "routing": "learned", "n_experts": 8.0, "top_k": 1.0},
            {"arm": "8 layers", "arch": "moe", "routing": "learned", "n_experts": 8.0, "top_k": 1.0, "n_layers": 8},
            {"arm": "experts by modality", "arch": "moe", "routing": "modality", "n_experts": 2.0, "top_k": 1.0},
            {"arm": "mixture 8-top-2", "arch": "moe", "routing": "learned", "n_experts": 8.0, "top_k": 2.0}]
    return pd.DataFrame([{"n_layers": 3, "mixture": "45-45-10", "N": 1e5, "D": 1e6, "seed": 0, **row, **changes} for row in rows])


def test_what_differs_in_more_than_experts_is_left_out():
    found = experts.of_runs(runs_table(), "early fusion")
    assert found["arm"].tolist() == ["early fusion", "mixture 8-top-1"]
    assert found["experts"].tolist() == [1, 8] and found["S"].tolist() == [0, 7 / 8]


def test_bad_input_is_refused():
    made = studied(seeds=1)
    data = [made[name] for name in "NDSL"]
    with pytest.raises(ValueError, match="no runs of arm 'late fusion'"):
        experts.of_runs(runs_table(), "late fusion")
    with pytest.raises(ValueError, match="of one depth"):
        experts.of_runs(pd.concat([runs_table(), runs_table(n_layers=8)]), "early fusion")
    with pytest.raises(ValueError, match="3 numbers of experts"):
        family(studied(numbers=(1, 8), seeds=1))
    with pytest.raises(ValueError, match="unknown form"):
        fit_form(*data, "another")
    with pytest.raises(ValueError, match="below every loss"):
        fit_form(*data, experts.WORTH, 5.0)
    with pytest.raises(ValueError, match="not negative"):
        fit_form(*data, experts.WORTH, -1.0)
    with pytest.raises(ValueError, match=r"S, the sparsity"):
        fit_form(*data[:2], made["S"] + 0.5, made["L"], experts.WORTH)
    with pytest.raises(ValueError, match="distinct"):
        fit_form(*[column[:4] for column in data], experts.WORTH)
    one = studied(numbers=(8,), seeds=1)
    assert fit_form(one["N"], one["D"], one["S"], one["L"], experts.WORTH, FLOOR).status == "unidentified"
    blank = made.iloc[:0]
    assert not len(experts.beside_dense(blank)) and np.isnan(experts.noise(blank))
