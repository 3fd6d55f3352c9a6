"""The planner, fits of whole tables, and the two commands over them."""

import json

import numpy as np
import pandas as pd
import pytest

from nmm import paper
from nmm.cli import main
from nmm.laws.forms.eq1 import Cost, Eq1
from nmm.laws.use.planner import Reach, budget, isoloss, with_inference
from nmm.laws.use.published import ahead, crossing, published_law, total_parameters
from nmm.laws.use.table import fit_table, select
from tests.laws.conftest import grid, loss_of, surface

LAW = Eq1(**dict(zip(("E", "A", "B", "alpha", "beta"), surface(1.9, 0.3, 0.34))))


@pytest.fixture
def runs(tmp_path):
    """A CSV of two architectures, one run of which has no loss."""
    N, D = grid()
    rng = np.random.default_rng(0)
    tables = [
        pd.DataFrame({"params": N, "tokens": D, "loss": loss_of(surface(1.9, alpha, 0.34), N, D), "arch": arch})
        for arch, alpha in (("early", 0.3), ("late", 0.35))
    ]
    table = pd.concat(tables, ignore_index=True)
    table["loss"] *= np.exp(rng.normal(0, 0.008, len(table)))
    table.loc[3, "loss"] = np.nan
    table.to_csv(tmp_path / "runs.csv", index=False)
    return tmp_path / "runs.csv"


def test_isoloss_is_cheapest_at_the_optimum():
    table = isoloss(LAW, 1e22)
    assert table["C ratio"].min() == pytest.approx(1.0, rel=1e-9)
    assert table.loc[table["C ratio"].idxmin(), "N / N*"] == pytest.approx(1.0)
    reached = table[np.isfinite(table["D"])]
    np.testing.assert_allclose(LAW.loss(reached["N"], reached["D"]), LAW.optimum(1e22).L, rtol=1e-9)
    assert (table["L at C"] >= LAW.optimum(1e22).L - 1e-12).all()


def test_use_makes_the_best_model_smaller():
    best = LAW.optimum(1e22)
    idle, used = with_inference(LAW, best.L, 0.0), with_inference(LAW, best.L, 1e13)
    assert idle.N == pytest.approx(best.N, rel=1e-3)
    assert used.N < idle.N
    assert LAW.loss(used.N, used.D) == pytest.approx(best.L, rel=1e-9)
    for N in used.N * np.array([0.97, 1.03]):
        assert 6 * N * LAW.tokens_for(N, best.L) + 2 * N * 1e13 > used.total


def test_budgets_and_published_laws():
    assert budget(1000, "H100", 0.5) == pytest.approx(1000 * 3600 * 989.5e12 * 0.5)
    early = published_law("early", tokens_per_parameter=30.0)
    best = early.law.optimum(1e21)
    assert best.D / best.N == pytest.approx(30.0)
    assert best.L == pytest.approx(29.574 * 1e21**-0.0492)
    assert "assumed" in early.note
    assert published_law("sparse", 20.0).law.A == 381773


def test_late_fusion_pays_for_its_encoder_apart():
    late = published_law("late", tokens_per_parameter=25.0, draws=20)
    cost, best = late.law.cost, late.law.optimum(1e21)
    encoder = cost.slope * best.N + cost.intercept
    assert 6 * (0.544 * encoder + best.N - encoder) * best.D == pytest.approx(1e21, rel=1e-9)
    assert best.D / best.N == pytest.approx(25.0, rel=1e-3)
    assert best.L == pytest.approx(29.923 * 1e21**-0.0494, rel=1e-9)
    table = isoloss(late.law, 1e21)
    assert table["C ratio"].min() == pytest.approx(1.0, rel=1e-6)
    assert (table["L at C"] >= best.L - 1e-9).all()
    plan = with_inference(late.law, float(best.L), 1e13)
    assert plan.C_inference == pytest.approx(cost.flops(plan.N, 1e13) / 3)
    assert plan.total < 1e21 + float(cost.flops_in_use(best.N, 1e13))
    assert Cost().plain
    assert not cost.plain


def test_bands_cover_what_they_say_and_open_beyond_the_runs():
    early, sparse = published_law("early", 20.0), published_law("sparse", 20.0)
    assert early.spread
    assert not sparse.spread
    std = paper.TABLE_11["Std"]
    assert early.draws[:, 3].std() == pytest.approx(std["alpha"].value, rel=0.1)
    assert early.draws[:, 4].std() == pytest.approx(std["beta"].value, rel=0.1)
    # E is not drawn: it follows, and its spread comes out near the one that is printed
    assert 0.5 < early.draws[:, 0].std() / std["E"].value < 1.5
    widths = [np.diff(early.band("L", C))[0] for C in (1e21, 1e22, 1e23, 1e24)]
    assert widths == sorted(widths)
    for law in (early, sparse):
        low, high = law.band("L", 1e23)
        assert low < law.law.optimum(1e23).L < high
    np.testing.assert_array_equal(early.draws, published_law("early", 20.0).draws)
    with pytest.raises(ValueError, match="level must be between"):
        early.band("L", 1e22, 3)


def test_sparse_loses_by_its_floor_beyond_the_runs():
    early, sparse = published_law("early", 20.0), published_law("sparse", 20.0)
    C = crossing(early, sparse, 1e20, 1e25)
    assert early.law.optimum(C).L == pytest.approx(sparse.law.optimum(C).L, rel=1e-9)
    assert C > sparse.reach.C, "the laws cross where neither has been seen"
    assert crossing(early, sparse, 1e20, 1e21) is None
    shares = ahead(early, sparse, [1e20, 1e22, 1e24])
    assert shares[0] == 0
    assert 0.5 < shares[2] < 1


def test_reach_and_the_total_of_a_mixture():
    reach = Reach(runs="some runs", C=1e20, N=1e9, D=2e10)
    assert reach.beyond(1e20, 1e9, 2e10) == ()
    assert [words[0] for words in reach.beyond(3e20, 5e8, 1e11)] == ["C", "D"]
    with pytest.raises(ValueError, match="1e\\+03 times the largest of some runs"):
        reach.check(1e23, 100)
    sizes = {name: total_parameters(row[0].value) for name, row in paper.SIZES["moe"].items()}
    assert sizes["275M"] == pytest.approx(1.20e9, rel=0.01)
    assert sizes["3.35B"] == pytest.approx(17.53e9, rel=0.01)
    assert 5 < total_parameters(1e10) / 1e10 < 5.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: budget(1, "Z80", 0.5), "unknown GPU 'Z80'"),
        (lambda: budget(0, "H100", 0.5), "gpu_hours"),
        (lambda: budget(1, "H100", 40), "mfu"),
        (lambda: published_law("dense", 20), "no published law"),
        (lambda: published_law("early", 0.0), "above 0"),
        (lambda: Eq1.through(E=3.0, alpha=0.3, beta=0.3, C=1e21, excess=-0.1, tokens_per_parameter=20), "above E"),
        (lambda: Eq1(E=-1, A=1, B=1, alpha=0.3, beta=0.3), "must not be negative: got -1"),
        (lambda: select(pd.DataFrame({"arch": ["early"]}), {"arch": "none"}), "arch = 'none' leaves no row: arch has early"),
        (lambda: with_inference(LAW, 1.0, 1e12), "cannot be reached"),
        (lambda: with_inference(LAW, 2.5, -1), "negative"),
    ],
)
def test_planner_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_groups_of_a_table(runs):
    fits, dropped = fit_table(pd.read_csv(runs), "params", "tokens", "loss", by=("arch",), bootstrap=50)
    assert [group.name for group in fits] == ["early", "late"]
    assert list(dropped["reason"]) == ["loss is missing or not a number"]
    assert fits[1].fit.n_runs == 48
    assert {"E", "alpha", "a", "c"} <= set(fits[0].table().index)
    best = fits[0].optimum_table([1e21])
    assert (best["N* low"] < best["N*"]).all()
    with pytest.raises(ValueError, match="to group by"):
        fit_table(pd.read_csv(runs), "params", "tokens", "loss", by=("mixture",))
    table = pd.read_csv(runs)
    few = table[(table["arch"] == "early") | (table.index > 92)]
    fits, dropped = fit_table(few, "params", "tokens", "loss", by=("arch",), bootstrap=5)
    assert [group.name for group in fits] == ["early"]
    assert dropped["reason"].str.startswith("group late (3 runs)").sum() == 3
    with pytest.raises(ValueError, match=r"group late \(3 runs\)"):
        fit_table(few[few["arch"] == "late"], "params", "tokens", "loss", by=("arch",))


def test_fit_command(runs, tmp_path, capsys):
    columns = ["--N", "params", "--D", "tokens", "--L", "loss", "--bootstrap", "20"]
    target = tmp_path / "fit.json"
    assert main(["fit", str(runs), *columns, "--by", "arch", "--budget", "1e21", "--json", str(target)]) == 0
    printed = capsys.readouterr().out
    assert "early: L = E" in printed
    assert "1  loss is missing" in printed
    record = json.loads(target.read_text())
    assert [fit["group"] for fit in record["fits"]] == ["early", "late"]
    values = record["fits"][0]["values"]
    assert values["alpha"]["low"] < values["alpha"]["value"] < values["alpha"]["high"]
    assert record["left_out"] == [{"row": 3, "reason": "loss is missing or not a number"}]


def test_rows_are_chosen_by_numbers_as_numbers():
    table = pd.DataFrame({"g": [1.0, 2.0, 1.0], "name": ["1", "01", "x"], "L": [3.0, 2.0, 1.0]})
    assert select(table, {"g": "1"})["L"].tolist() == [3.0, 1.0] == select(table, {"g": "1.0"})["L"].tolist()
    assert select(table, {"name": "1"})["L"].tolist() == [3.0], "text is compared as text"


def test_plan_command(runs, tmp_path, capsys):
    target = tmp_path / "plan.json"
    assert (
        main(["plan", "--law", "sparse", "--flops", "1e22", "--inference-tokens", "1e12", "--json", str(target)]) == 0
    )
    record = json.loads(target.read_text())
    assert 6 * record["N"] * record["D"] == pytest.approx(1e22)
    assert record["with_inference"]["total"] < 1e22 + 2 * record["N"] * 1e12
    assert record["N_total"] > 4 * record["N"]
    printed = capsys.readouterr().out
    assert "EXTRAPOLATION: D is" in printed
    assert "rounding alone" in printed
    own = ["--runs", str(runs), "--N", "params", "--D", "tokens", "--L", "loss", "--where", "arch=late"]
    assert main(["plan", *own, "--gpu-hours", "1000", "--json", str(target)]) == 0
    record = json.loads(target.read_text())
    assert record["intervals"]["N"][0] < record["N"] < record["intervals"]["N"][1]
    printed = capsys.readouterr().out
    assert "48 runs" in printed
    assert main(["plan", *own, "--flops", "1e26"]) == 2
    assert "not carried beyond 100 times" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "absent.csv"], "no such file"),
        (["fit", "RUNS"], "no column N, D, L"),
        (["fit", "RUNS", "--N", "params", "--D", "tokens", "--L", "loss", "--budget", "big"], "--budget must be"),
        (["plan", "--law", "early"], "give the budget once"),
        (["plan", "--flops", "1e21"], "give one law"),
        (["plan", "--flops", "1e21", "--runs", "RUNS", "--where", "x=1"], "no column 'x'"),
        (["plan", "--flops", "1e21", "--runs", "RUNS", "--where", "arch=none"], "leaves no row: arch has early, late"),
        (["plan", "--flops", "1e21", "--runs", "RUNS", "--where", "params=7"], "leaves no row"),
        (["plan", "--flops", "1e21", "--runs", "RUNS", "--where", "arch"], "--where takes COLUMN=VALUE"),
        (["plan", "--flops", "-1", "--law", "sparse"], "must be positive"),
        (["plan", "--flops", "1e21", "--law", "sparse", "--level", "3"], "between 0 and 1: got 3"),
        (["plan", "--flops", "1e25", "--law", "early"], "not carried beyond 100 times"),
        (["plan", "--flops", "1e21", "--coefficients", "-1", "300", "1500", ".3", ".33"], "must not be negative"),
    ],
)
def test_commands_bad_input(runs, capsys, arguments, message):
    assert main([str(runs) if part == "RUNS" else part for part in arguments]) == 2
    assert message in capsys.readouterr().err
