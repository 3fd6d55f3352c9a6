"""The planner in the page computes what the planner in Python does, and charts tell apart what is beyond the runs."""

import re

import numpy as np
import pandas as pd
import pytest
import vl_convert

from nmm import charts
from nmm.charts import auditing, planning
from nmm.charts.parts import law_line
from nmm.charts.theme import VEGA_LITE
from nmm.laws.use.procedure import LEVEL_AT
from nmm.laws.use.published import published_law

SHORT = {"k": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}


def svg(chart) -> str:
    charts.enable()
    return vl_convert.vegalite_to_svg(chart.to_dict(), vl_version=VEGA_LITE)


def number(text: str, name: str) -> float:
    digits, suffix = re.search(rf"{re.escape(name)} ([\d.]+)([kMBT]?)", text).groups()
    return float(digits) * SHORT.get(suffix, 1.0)


@pytest.mark.parametrize(("name", "C", "ratio"), [
    ("sparse", 1e21, 20.0), ("early", 1e22, 20.0), ("late", 3e20, 50.0), ("late", 1e23, 12.0),
])
def test_the_page_finds_the_optimum_that_python_finds(name, C, ratio):
    law = published_law(name, ratio, draws=1)
    best = law.law.optimum(C)
    # the anchor is of another ratio: the slider's, where it is assumed, must win
    anchor = published_law(name, 33.0, draws=1).law.anchor(LEVEL_AT)
    row = pd.DataFrame([{"law": name, "free": name != "sparse", "largest": law.reach.C, **anchor}])
    drawn = svg(planning.planner(row, (19.0, 24.0), float(np.log10(C)), ratio=ratio))
    words = re.sub(r"<[^>]+>", " ", drawn[drawn.index("N* "):])
    assert number(words, "N*") == pytest.approx(best.N, rel=6e-3)
    assert number(words, "D*") == pytest.approx(best.D, rel=6e-3)
    assert number(words, "L*") == pytest.approx(best.L, abs=6e-4)
    assert ("x the largest run" in words) == (law.reach.C < C)


def test_a_law_is_dashed_where_its_runs_end():
    table = pd.DataFrame({"law": "early", "C": [1e20, 1e21, 1e22, 1e23], "L": [3.0, 2.7, 2.5, 2.3], "low": np.nan, "high": np.nan})
    both = svg(planning.optimal_losses(table.assign(inside=table["C"] < 1e22)))
    within = svg(planning.optimal_losses(table.assign(inside=True)))
    marks = [len(re.findall(r'<path aria-label="[^"]*beyond its runs[^"]*" role="graphics-symbol"', drawn)) for drawn in (both, within)]
    assert marks == [1, 0]


def test_lines_whose_rows_alternate_are_drawn_whole():
    rows = [{"quantity": name, "tokens_used": used, "ratio": used**0.01, "inside": used < 1e12}
            for used in np.geomspace(1e10, 1e14, 9) for name in ("N", "D")]
    lengths = law_line(pd.DataFrame(rows), np.array([row["inside"] for row in rows]), by=["quantity"]).groupby("piece").size()
    assert lengths.tolist() == [4, 6, 4, 6], "4 points within and 5 beyond, and where they meet, twice"


def test_a_panel_is_shaded_once_on_any_page():
    rows = pd.DataFrame([{"ratio": ratio, "quantity": name, "low": 0.5, "high": 0.6} for name in ("a", "d") for ratio in (5.0, 20.0, 80.0)])
    drawn = auditing.assumed(rows, {"a": 0.55, "d": 0.56}, (8.0, 40.0)).to_dict()
    (data,) = drawn["datasets"].values()
    assert [row["quantity"] for row in data if row["left"] is not None] == ["a", "d"]


def test_the_audit_draws_every_row_and_every_verdict():
    table = pd.DataFrame({
        "row": ["early", "late"], "where": "Table 2", "quantity": "a", "printed": [0.52, 0.64], "closed": [0.52, 0.54],
        "procedure low": [0.5, 0.53], "procedure high": [0.55, 0.56], "verdict": ["closed form", "neither"],
    })  # fmt: skip
    drawn = svg(auditing.judged(table))
    for word in ("early", "late", "closed form", "neither"):
        assert word in drawn
