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
    N, D, cost = designer._candidates()
    gain, spread, _ = designer._told(N, D)
    every = [designer._after(gain, spread, np.array([k])) for k in np.flatnonzero(cost <= budget)]
    assert plan.shrinks == pytest.approx(min(every) / designer.width, rel=1e-9)
    assert designer.plan(budget, runs=3).shrinks < designer.plan(budget, runs=2).shrinks < plan.shrinks


def test_a_plan_trains_the_ends(fit):
    """An exponent is a slope: what tells most about one is far from the middle of the runs."""
    runs = Designer(fit, "alpha").plan(1e23, runs=2).runs
    middle = np.sqrt(fit.columns["N"].min() * fit.columns["N"].max())
    assert (np.abs(np.log(runs["N"] / middle)) > 0.5 * np.log(np.sqrt(10))).all() and runs["beyond"].any()
    assert not Designer(fit, "alpha", reach=1.0).plan(1e23, runs=2).runs["beyond"].any()


def test_bad_questions_are_one_line(fit):
    for arguments, words in (
        (("b",), "no goal 'b'"), (("N*",), "needs a compute budget"), (("a", None, 0.95, 0.5), "at least 1"), (("a", None, 1.5), "between 0 and 1"),
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
