"""Charts of runs and fits: valid Vega-Lite with the data and the titles they promise."""

import json

import altair as alt
import numpy as np
import pandas as pd
import pytest

from nmm import laws
from nmm.charts import fits, runs
from nmm.charts.parts import BEYOND, WITHIN

LAW = {"E": 0.5, "A": 30.0, "B": 200.0, "alpha": 0.4, "beta": 0.45}


@pytest.fixture(scope="module")
def table():
    N, D = (values.ravel() for values in np.meshgrid([2e4, 5e4, 1e5, 2e5], [2e5, 5e5, 1e6, 2e6], indexing="ij"))
    L = LAW["E"] + LAW["A"] / N ** LAW["alpha"] + LAW["B"] / D ** LAW["beta"]
    rows = pd.DataFrame({"run": [f"r{i}" for i in range(len(N))], "size": "d", "N": N, "D": D, "C": 6 * N * D, "L": L, "wall_seconds": 1.0,
                         "tokens_per_second": 1e4})
    return rows.assign(L_caption=L * 0.5, L_interleaved=L, L_text=L * 1.5, predicted=L * 1.01, residual=np.log(1.01))


def titles(spec) -> set[str]:
    if isinstance(spec, dict):
        own = {spec["title"]} if isinstance(spec.get("title"), str) else set()
        return own.union(*map(titles, spec.values()))
    return set().union(*map(titles, spec)) if isinstance(spec, list) else set()


@pytest.mark.parametrize(
    ("draw", "axes"),
    [
        (runs.grid, {"parameters N", "training tokens D"}),
        (runs.against_compute, {"training compute C [FLOPs]", "loss [nats/token]"}),
        (lambda t: runs.by_data_type(t, {"caption": 0.0, "text": 1.1}), {"training compute C [FLOPs]", "loss [nats/token]"}),
        (runs.speed, {"training compute C [FLOPs]", "wall time of a run [s]"}),
        (fits.observed_predicted, {"predicted loss [nats/token]", "observed loss [nats/token]"}),
        (fits.residuals, {"parameters N", "training tokens D", "predicted - observed [%]"}),
    ],
)
def test_axes_have_titles_with_units(table, draw, axes):
    chart = draw(table)
    assert axes <= titles(chart.to_dict())
    assert isinstance(chart, alt.TopLevelMixin)


def test_a_frontier_is_drawn_over_the_runs(table):
    edge = pd.DataFrame({"C": [1e10, 1e12], "L": [2.0, 1.0]})
    assert len(runs.against_compute(table, edge).to_dict()["layer"]) == len(runs.against_compute(table).to_dict()["layer"]) + 1


def test_lines_of_equal_loss_have_that_loss(table):
    fit = laws.fit_parametric(table["N"], table["D"], table["L"])
    spec = fits.contour(table, fit).to_dict()
    lines = [row for rows in spec["datasets"].values() for row in rows if "level" in row]
    assert len(lines) > 50
    for row in lines:
        assert float(fit.predict(row["N"], row["D"])) == pytest.approx(float(row["level"]), abs=0.0051)


def test_slices_are_lowest_at_their_optimum(table):
    fit = laws.fit_parametric(table["N"], table["D"], table["L"])
    budgets = [1e10, 1e11]
    best = fit.optimum(np.array(budgets))
    spec = fits.isoflop(table, fit, budgets).to_dict()
    rows = [row for data in spec["datasets"].values() for row in data]
    for budget, lowest in zip(budgets, best.L, strict=True):
        drawn = [row["L"] for row in rows if row.get("label") == f"{budget:.1e}" and "range" in row]
        assert min(drawn) >= lowest - 1e-12


def test_differences_hold_both_records():
    pairs = pd.DataFrame({"run": ["a", "b"], "L": [1.0, 2.0], "L_other": [1.0, 2.1]})
    assert {"loss here [nats/token]", "loss there [nats/token]"} <= titles(runs.differences(pairs).to_dict())


def test_training_curves_have_a_line_a_run():
    curves = pd.DataFrame({"run": ["a", "a", "b", "b"], "size": "d", "N": [1e4, 1e4, 2e4, 2e4], "D": 1e5, "tokens": [1e4, 1e5] * 2,
                           "loss": [3.0, 2.0, 2.5, 1.5]})
    lines, ends = runs.training_curves(curves).to_dict()["layer"]
    assert lines["encoding"]["detail"]["field"] == "run"
    assert "detail" not in ends["encoding"]


def drawn_of(chart, column: str) -> pd.DataFrame:
    return next(rows for rows in map(pd.DataFrame, chart.to_dict()["datasets"].values()) if column in rows)


def test_a_law_is_drawn_otherwise_where_its_runs_end(table):
    fit = laws.fit_parametric(table["N"], table["D"], table["L"])
    for chart in (fits.contour(table, fit), fits.isoflop(table, fit, [1e10, 1e11])):
        lines = drawn_of(chart, "range")
        among = lines["N"].between(2e4 * 0.999, 2e5 * 1.001) & lines["D"].between(2e5 * 0.999, 2e6 * 1.001)
        assert among[lines["range"] == WITHIN].all()
        assert not lines.loc[~among, "range"].eq(WITHIN).any()
        assert set(lines["range"]) == {WITHIN, BEYOND}
    C = np.array([1e9, 1e13])
    band = laws.fit_frontier(table["C"], table["L"])
    edge = drawn_of(runs.against_compute(table, pd.DataFrame({"C": runs.spread(1e9, 1e13), "L": band.predict(runs.spread(*C))})), "range")
    solid = edge[edge["range"] == WITHIN]["C"]
    assert solid.between(table["C"].min(), table["C"].max()).all()


def test_the_band_of_the_optimum_holds_the_level_that_is_asked_for(table):
    noisy = table["L"] * np.exp(np.random.default_rng(0).normal(0, 0.01, len(table)))
    fit = laws.fit_parametric(table["N"], table["D"], noisy)
    boot, C = fit.bootstrap(30, starts=1), np.array([1e11, 1e12])
    wide, narrow = (drawn_of(fits.optimal_allocation(fit, boot, C, table, level), "low") for level in (0.95, 0.5))
    assert (np.log(wide["high"] / wide["low"]) > np.log(narrow["high"] / narrow["low"])).all()
    refits = boot.optimum(1e11)["N*"].quantile([0.25, 0.75])
    row = narrow[(narrow["quantity"] == "N*") & (narrow["C"] == 1e11)].iloc[0]
    assert [row["low"], row["high"]] == pytest.approx(refits.tolist())


def test_exponents_carry_what_is_drawn_alone():
    """A column of something else, with a value that JSON has no word for, does not reach the page."""
    rows = pd.DataFrame({"row": ["alpha"], "value": [0.3], "low": [0.2], "high": [0.4], "source": "here",
                         "inside": np.array([np.inf], dtype=object)})
    assert "inside" not in json.dumps(fits.exponent_rows(rows).to_dict(), allow_nan=False)


def test_exponents_without_a_limit_draw_a_point_alone():
    rows = pd.DataFrame({"row": ["alpha", "beta"], "value": [0.3, 0.4], "low": [0.2, -np.inf], "high": [0.4, np.inf], "source": "here"})
    spec = fits.exponent_rows(rows).to_dict()
    bars, points = (spec["datasets"][layer["data"]["name"]] for layer in spec["layer"])
    assert [row["row"] for row in bars] == ["alpha"]
    assert len(points) == 2
