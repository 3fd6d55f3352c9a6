"""The planner, fits of whole tables, and the two commands over them."""

import json

import numpy as np
import pandas as pd
import pytest

from nmm.cli import main
from nmm.laws.use.planner import Eq1, budget, from_frontier, isoloss, published_law, with_inference
from nmm.laws.use.table import fit_table
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
    law, note = published_law("early", tokens_per_parameter=30.0)
    best = law.optimum(1e21)
    assert best.D / best.N == pytest.approx(30.0)
    assert best.L == pytest.approx(29.574 * 1e21**-0.0492)
    assert "assumed" in note
    assert published_law("sparse", 20.0)[0].A == 381773


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: budget(1, "Z80", 0.5), "unknown GPU 'Z80'"),
        (lambda: budget(0, "H100", 0.5), "gpu_hours"),
        (lambda: budget(1, "H100", 40), "mfu"),
        (lambda: published_law("dense", 20), "no published law"),
        (lambda: from_frontier(3.0, 0.3, 0.3, 29.6, -0.05, 1e21, 20), "above E"),
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
    with pytest.raises(ValueError, match=r"group late \(3 runs\)"):
        fit_table(table[(table["arch"] == "early") | (table.index > 92)], "params", "tokens", "loss", by=("arch",))


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


def test_plan_command(runs, tmp_path, capsys):
    target = tmp_path / "plan.json"
    assert (
        main(["plan", "--law", "sparse", "--flops", "1e22", "--inference-tokens", "1e12", "--json", str(target)]) == 0
    )
    record = json.loads(target.read_text())
    assert 6 * record["N"] * record["D"] == pytest.approx(1e22)
    assert record["with_inference"]["total"] < 1e22 + 2 * record["N"] * 1e12
    own = ["--runs", str(runs), "--N", "params", "--D", "tokens", "--L", "loss", "--where", "arch=late"]
    assert main(["plan", *own, "--gpu-hours", "1000", "--json", str(target)]) == 0
    record = json.loads(target.read_text())
    assert record["intervals"]["N"][0] < record["N"] < record["intervals"]["N"][1]
    assert "48 runs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "absent.csv"], "no such file"),
        (["fit", "RUNS"], "no column N, D, L"),
        (["fit", "RUNS", "--N", "params", "--D", "tokens", "--L", "loss", "--budget", "big"], "--budget must be"),
        (["plan", "--law", "early"], "give the budget once"),
        (["plan", "--flops", "1e21"], "give one law"),
        (["plan", "--flops", "1e21", "--runs", "RUNS", "--where", "x=1"], "no column 'x'"),
        (["plan", "--flops", "-1", "--law", "sparse"], "must be positive"),
    ],
)
def test_commands_bad_input(runs, capsys, arguments, message):
    assert main([str(runs) if part == "RUNS" else part for part in arguments]) == 2
    assert message in capsys.readouterr().err
