"""One law for several arms: planted truth comes out, tests have their size with trunks, bad input is refused, derivatives hold."""

import numpy as np
import pandas as pd
import pytest

from nmm.laws.forms.joint import OneMultiplier, SharedExponents
from nmm.laws.use import joint, paired
from nmm.laws.use.families import LOSS
from tests.laws.conftest import derivatives_are_those_by_differences

FLOOR = 0.65
ARMS = ("early", "late", "sparse")


def studied(worth=(1.0, 0.8, 1.4), alphas=(0.6, 0.6, 0.6), noise=0.0, trunk=0.0, sizes=3, budgets=2, seeds=4, rng=None, floor=FLOOR):
    """Runs of three arms: a parameter of each is worth `worth`, and trunks and runs scatter by so much of ln L."""
    rows = []
    for arm, s, alpha in zip(ARMS, worth, alphas):
        for N in np.geomspace(5e4, 3e5, sizes):
            for seed in range(seeds):
                luck = trunk * rng.standard_normal() if trunk else 0.0
                for D in 6e5 * 2.0 ** np.arange(budgets):
                    L = floor + 300 / (s * N) ** alpha + 310 / D**0.48
                    rows.append({"arm": arm, "d_model": round(N), "seed": seed, "budget": D, "cluster": f"{arm} {N:.0f} {seed}", "N": N,
                                 "D": D, "C": 6 * N * D, "L": L * np.exp(luck + (noise * rng.standard_normal() if noise else 0.0))})
    return pd.DataFrame(rows)


def family(table, floor=FLOOR):
    return joint.PowerFamily(table["N"], table["D"], table["L"], table["arm"], "early", floor)


def test_a_planted_law_and_what_a_parameter_is_worth_come_out():
    made = studied()
    found = family(made)
    assert found.identified
    law = found.shared[joint.PARAMETERS]
    assert law.values["alpha"] == pytest.approx(0.6, rel=1e-4) and law.values["beta"] == pytest.approx(0.48, rel=1e-4)
    drawn = found.drawn(joint.PARAMETERS, made["cluster"], n=2)
    # worth s times the parameters, the arm reaches a loss with 1/s of the compute, whatever the split: the reference needs s times as much
    assert found.at_optimum(1e12, drawn)["value"].tolist() == pytest.approx([0.8, 1.4], rel=1e-3)


def test_a_free_floor_is_fitted_on_a_wide_grid_and_not_known_on_a_narrow_one():
    rng = np.random.default_rng(0)
    wide = family(studied(noise=0.002, sizes=6, budgets=6, seeds=2, rng=rng), None)
    assert wide.shared[joint.FLOOR].values["E"] == pytest.approx(FLOOR, abs=0.15)
    assert [pair for pair in wide.pairs if joint.FLOOR in pair] == [
        (joint.EXPONENTS, joint.FLOOR), (joint.FLOOR, joint.PARAMETERS), (joint.FLOOR, joint.MULTIPLIER)]


@pytest.mark.parametrize("law", [
    OneMultiplier(ARMS, FLOOR), OneMultiplier(ARMS), SharedExponents(ARMS, own_floor=True), SharedExponents(ARMS, FLOOR, own_tokens=False)])
def test_derivatives_of_the_joint_laws_are_those_by_differences(law):
    made = studied(noise=0.01, rng=np.random.default_rng(1))
    columns = {"N": made["N"].to_numpy(), "D": made["D"].to_numpy(), "group": made["arm"].map(ARMS.index).to_numpy()}
    full = np.array([[[-0.5, 4.0 + g, 5.0, 0.4, 0.5] for g in range(3)]])
    bound, L = law.bind(columns), made["L"].to_numpy()
    phi = np.linalg.solve(bound.transform, law.nearest(full)[0])
    derivatives_are_those_by_differences(bound, LOSS, L, phi)
    # what is shared survives the way to all numbers of each group and back
    theta = law.nearest(full)
    assert law.nearest(law.full(theta)) == pytest.approx(theta, abs=1e-9)


def test_the_test_has_its_size_with_trunks_where_the_plain_one_has_not():
    rng, plain, trunks = np.random.default_rng(2), [], []
    for number in range(120):
        made = studied(noise=0.004, trunk=0.012, rng=rng)
        line = joint.LinearFamily(made["N"], made["D"], np.exp(
            -0.1 * np.log(made["N"]) - 0.15 * np.log(made["D"]) + np.log(made["L"]) - np.log(studied()["L"])), made["arm"], "early")
        found = joint.tests(line, made["cluster"], seeds=4, n=79, seed=number)[1]
        plain.append(found.p_plain < 0.05)
        trunks.append(found.p_trunks <= 0.05)
    assert np.mean(trunks) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 120), f"{np.mean(trunks):.3f} rejected by chance"
    assert np.mean(plain) > 0.10, f"{np.mean(plain):.3f}: trunks are no matter here, and the test tests nothing"


def test_exponents_that_differ_are_rejected_and_few_seeds_decide_nothing():
    made = studied(alphas=(0.45, 0.6, 0.6), worth=(0.12, 1.0, 1.0), noise=0.001, trunk=0.002, rng=np.random.default_rng(3))
    found = {(test.wide, test.narrow): test for test in joint.tests(family(made), made["cluster"], seeds=4, n=99)}
    assert found[joint.NOTHING, joint.EXPONENTS].verdict == "rejected"
    few = joint.tests(family(made), made["cluster"], seeds=2, n=99)[0]
    assert few.p_trunks < 0.05 and few.verdict == "unresolved"


def test_what_is_unresolved_neither_stands_nor_falls():
    def one(wide, narrow, p, seeds=4):
        return joint.Tested(narrow=narrow, wide=wide, freed=1, F=1.0, p_plain=p, p_trunks=p, seeds=seeds, draws=999)

    chain = [one(joint.NOTHING, joint.EXPONENTS, 0.5), one(joint.EXPONENTS, joint.PARAMETERS, 0.4),
             one(joint.EXPONENTS, joint.MULTIPLIER, 0.001), one(joint.PARAMETERS, joint.EVERYTHING, 0.001)]
    assert joint.standing(chain) == [joint.NOTHING, joint.EXPONENTS, joint.PARAMETERS] and joint.undecided(chain) == []
    few = [one(test.wide, test.narrow, test.p_trunks, seeds=3) for test in chain]
    assert joint.standing(few)[-1] == joint.PARAMETERS and joint.undecided(few) == [joint.MULTIPLIER, joint.EVERYTHING]
    near = [one(joint.NOTHING, joint.EXPONENTS, 0.055), *chain[1:]]
    assert joint.standing(near) == [joint.NOTHING] and joint.undecided(near) == [joint.EXPONENTS]


def test_runs_of_other_cells_are_left_out_and_bad_input_is_refused():
    made = studied()
    kept = joint.same_cells(made[~((made["arm"] == "late") & (made["seed"] == 3))])
    assert kept["seed"].max() == 2 and kept.groupby("arm").size().nunique() == 1
    for bad, words in ((made[made["arm"] == "late"], "compared"), (pd.concat([made, made.head(1)]), "several runs"),
                       (made[(made["arm"] == "late") != (made["seed"] == 0)], "no d_model")):
        with pytest.raises(ValueError, match=words):
            joint.same_cells(bad)
    for floor, reference, words in ((FLOOR, "none", "no runs of arm"), (5.0, "early", "below every loss"), (-1.0, "early", "not negative")):
        with pytest.raises(ValueError, match=words):
            _ = joint.PowerFamily(made["N"], made["D"], made["L"], made["arm"], reference, floor).own
    with pytest.raises(ValueError, match="19 or more"):
        joint.tests(family(made), made["cluster"], 4, n=5)


def test_a_p_value_that_no_study_reaches_is_a_bound():
    def one(p):
        return joint.Tested(narrow=joint.EXPONENTS, wide=joint.NOTHING, freed=1, F=1.0, p_plain=p, p_trunks=p, seeds=4, draws=399)

    assert one(1 / 400).words == "p ≤ 0.0025, none of 399" and one(0.11).words == "p = 0.110"


def test_the_set_that_identifies_the_law_leads_though_its_seeds_are_fewer():
    rng = np.random.default_rng(6)
    sets = {"narrow": studied(noise=0.002, rng=rng), "wide": studied(noise=0.002, sizes=6, budgets=6, seeds=1, rng=rng),
            "few": studied(sizes=2, budgets=2, seeds=1)}
    forms = {name: joint.families(rows.assign(E_true=FLOOR), "early") for name, rows in sets.items()}
    assert joint.leading(sets, forms) == "wide"
    assert joint.leading({name: sets[name] for name in ("few", "narrow")}, forms) == "narrow"


def test_luck_that_arms_share_is_seen():
    rng = np.random.default_rng(7)
    made = studied(noise=0.001, seeds=6, rng=rng)
    common = {key: 0.01 * rng.standard_normal() for key in set(zip(made["d_model"], made["seed"]))}
    late = made["arm"].isin(["early", "late"])
    luck = [common[key] if both else 0.0 for key, both in zip(zip(made["d_model"], made["seed"]), late)]
    together = made.assign(L=made["L"] * np.exp(luck))
    found = joint.shared_luck(together, "early")
    assert found.loc["late", "correlation"] > 0.9 and abs(found.loc["sparse", "correlation"]) < 0.7 and found["trunks"].eq(18).all()
    pd.testing.assert_frame_equal(found, joint.shared_luck(together.sample(frac=1, random_state=0), "early"))
    one = joint.tests(family(made), made["cluster"], 4, n=19, pairs=[(joint.NOTHING, joint.EXPONENTS)])
    assert [test.narrow for test in one] == [joint.EXPONENTS]


def test_compute_at_equal_loss_is_that_of_the_planted_cost():
    """An arm whose runs cost 1.3 times as much for the same loss: the reference needs 1 / 1.3 of its compute."""
    made = studied(worth=(1.0, 1.0, 1.0), budgets=4)
    made.loc[made["arm"] == "late", "C"] *= 1.3
    found = paired.at_equal_loss(made.assign(size=made["d_model"]), "late", "early")
    assert len(found) and np.exp(found["difference"]).to_numpy() == pytest.approx(1 / 1.3, rel=2e-2)
    with pytest.raises(ValueError, match="no runs of arm"):
        paired.at_equal_loss(made.assign(size=made["d_model"]), "moe", "early")
