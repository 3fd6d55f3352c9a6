"""Which run next: predicted widths against refitted drawn studies, and plans that are where theory puts them."""

import json

import numpy as np
import pandas as pd
import pytest

from nmm.cli import main
from nmm.laws.forms.parametric import fit_parametric
from nmm.laws.use.design import Designer
from tests.laws.conftest import loss_of, surface

VALUES = surface(1.9, 0.31, 0.34)


def study(n=5, d=6, noise=0.006, seed=3):
    """A small grid, and its losses."""
    grid = np.meshgrid(np.geomspace(2e8, 2e9, n), np.geomspace(4e9, 1e11, d), indexing="ij")
    N, D = (axis.ravel() for axis in grid)
    return N, D, loss_of(VALUES, N, D) * np.exp(np.random.default_rng(seed).normal(0, noise, len(N)))


@pytest.fixture(scope="module")
def fit():
    return fit_parametric(*study())


@pytest.mark.parametrize(("goal", "C"), [("a", None), ("N*", 1e22), ("L*", 1e22)])
def test_the_prediction_agrees_with_refitted_studies(fit, goal, C):
    designer = Designer(fit, goal, C)
    plan = designer.plan(3e22, runs=4)
    assert plan.cost <= 3e22 * (1 + 1e-9) and len(plan.runs) == 4 and plan.shrinks < 0.9
    found = designer.check(plan, studies=200)
    assert found.realised == pytest.approx(found.predicted, rel=0.2), (found, plan.runs)


def test_the_width_now_is_that_of_the_profile(fit):
    designer = Designer(fit, "a")
    low, high = designer.now
    assert 2 * designer.width == pytest.approx(high - low, rel=0.2)
    low, high = designer.expected(designer.plan(3e22, runs=2))
    assert designer.now[0] < low < fit.a < high < designer.now[1]


def test_no_other_plan_of_the_grid_is_better(fit):
    """One run: every candidate tried by brute force. Two: no single exchange helps, and two tell more than one."""
    designer, budget = Designer(fit, "a"), 1e22
    plan = designer.plan(budget, runs=1)
    there = designer._candidates()
    every = [designer._after(there, np.array([k])) for k in np.flatnonzero(there.cost <= budget)]
    assert plan.shrinks == pytest.approx(min(every) / designer.width, rel=1e-9)
    assert designer.plan(budget, runs=3).shrinks < designer.plan(budget, runs=2).shrinks < plan.shrinks


def test_a_plan_trains_the_ends(fit):
    """An exponent is a slope: what tells most about one is far from the middle of the runs."""
    runs = Designer(fit, "alpha").plan(1e23, runs=2).runs
    middle = np.sqrt(fit.columns["N"].min() * fit.columns["N"].max())
    assert (np.abs(np.log(runs["N"] / middle)) > 0.5 * np.log(np.sqrt(10))).all() and runs["beyond"].any()
    assert not Designer(fit, "alpha", reach=1.0).plan(1e23, runs=2).runs["beyond"].any()


@pytest.fixture(scope="module")
def trunks():
    """Runs whose budgets of one size and seed share most of their luck: the fit, and the trunk of each run."""
    N, D, _ = study()
    N, D, seed = np.tile(N, 2), np.tile(D, 2), np.repeat([0, 1], len(N))
    label, rng = np.unique(np.column_stack([N, seed]), axis=0, return_inverse=True)[1].ravel(), np.random.default_rng(4)
    luck = np.sqrt(0.7) * rng.normal(size=label.max() + 1)[label] + np.sqrt(0.3) * rng.normal(size=len(N))
    return fit_parametric(N, D, loss_of(VALUES, N, D) * np.exp(0.003 * luck)), label


def test_plans_for_runs_that_share_trunks(trunks):
    fit, label = trunks
    alone, designer = Designer(fit, "alpha"), Designer(fit, "alpha", cluster=label)
    assert np.diff(designer.now) > 1.2 * np.diff(alone.now), "what runs share widens the interval"
    plan = designer.plan(1e22, runs=4)
    assert not plan.runs.duplicated(["N", "D"]).any(), "a trunk has one branch of a length"
    found = designer.check(plan, studies=200)
    assert found.realised == pytest.approx(found.predicted, rel=0.25), (found, plan.runs)
    shared = designer.noise.correlation
    assert 2 / np.pi * np.arcsin(shared) - 0.02 < designer.shared < shared, "between the correlation of signs and of the noise"
    # Branches of one trunk tell less than runs of as many sizes.
    there = designer._candidates()
    middle, ends = np.flatnonzero(there.D == there.D.max())[[0, -1]], np.flatnonzero(there.N == there.N.max())[[-2, -1]]
    same = designer._scatter(there.pull[ends], there.N[ends])
    assert np.trace(same) > 1.2 * np.trace(designer._scatter(there.pull[ends], np.arange(2)))
    assert np.trace(designer._scatter(there.pull[middle], there.N[middle])) == pytest.approx(np.sum(there.pull[middle] ** 2))
    with pytest.raises(ValueError, match="pay for no 2 runs"):
        designer.plan(2.01 * there.cost.min(), runs=2)
    with pytest.raises(ValueError, match="one label a run"):
        Designer(fit, "alpha", cluster=label[:-1])


def test_bad_questions_are_one_line(fit):
    for arguments, words in (
        (("b",), "no goal 'b'"), (("N*",), "needs a compute budget"), (("a", None, 0.95, 0.5), "at least 1"),
        (("a", None, 1.5), "between 0 and 1"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            Designer(fit, *arguments)
    with pytest.raises(ValueError, match="pay for no 2 runs"):
        Designer(fit, "a").plan(1e15, runs=2)
    with pytest.raises(ValueError, match="do not determine a.*D is constant"):
        Designer(fit_parametric(*study(9, 1)), "a")
    N, D, _ = study()
    with pytest.raises(ValueError, match="no noise"):
        Designer(fit_parametric(N, D, loss_of(VALUES, N, D)), "a")


def test_the_command(tmp_path, capsys):
    N, D, L = study()
    pd.DataFrame({"params": N, "tokens": D, "loss": L}).to_csv(tmp_path / "runs.csv", index=False)
    arguments = ["design", str(tmp_path / "runs.csv"), "--N", "params", "--D", "tokens", "--L", "loss", "--budget", "2e22"]
    assert main([*arguments, "--goal", "N*", "--at", "1e23", "--runs", "2", "--studies", "60", "--json", str(tmp_path / "out.json")]) == 0
    text = capsys.readouterr().out
    assert "N* at 1.0e+23 FLOPs" in text and "drawn studies" in text
    record = json.loads((tmp_path / "out.json").read_text())
    assert record["plans"][-1]["shrinks"] < 1 and len(record["plans"][-1]["runs"]) == 2
    assert record["plans"][-1]["cost"] <= 2e22 * (1 + 1e-9) and record["check"]["studies"] == 60
    assert main([*arguments, "--goal", "N*"]) == 2
    assert "--at" in capsys.readouterr().err
    labelled = pd.DataFrame({"params": N, "tokens": D, "loss": L, "size": N, "seed": 0})
    labelled.to_csv(tmp_path / "runs.csv", index=False)
    assert main([*arguments, "--cluster", "size,seed", "--runs", "1", "--studies", "20"]) == 0
    assert f"{len(np.unique(N))} clusters" in capsys.readouterr().out
    assert main([*arguments, "--cluster", "trunk"]) == 2
    assert "no column trunk" in capsys.readouterr().err


def test_an_open_end_is_null(tmp_path, capsys):
    """Sizes that hardly differ leave alpha without a largest value: JSON has no word for infinity."""
    rng = np.random.default_rng(2)
    N, D = (axis.ravel() for axis in np.meshgrid([1e9, 1.5e9, 2.2e9], np.geomspace(4e9, 1e11, 6), indexing="ij"))
    L = loss_of(VALUES, N, D) * np.exp(rng.normal(0, 0.02, len(N)))
    pd.DataFrame({"N": N, "D": D, "L": L}).to_csv(tmp_path / "runs.csv", index=False)
    assert main(["design", str(tmp_path / "runs.csv"), "--budget", "1e21", "--goal", "alpha", "--runs", "1", "--studies", "5",
                 "--json", str(tmp_path / "out.json")]) == 0
    assert "to inf (95 %)" in capsys.readouterr().out
    low, high = json.loads((tmp_path / "out.json").read_text())["now"]
    assert low > 0 and high is None
