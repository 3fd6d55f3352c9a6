"""Runs on parts of a data set: epochs and gaps are counted per data type, and drawn."""

import numpy as np
import pandas as pd
import pytest

from nmm.charts import repetition as draw

WEIGHTS = {"caption": 0.45, "interleaved": 0.45, "text": 0.10}
UNIQUE = {1.0: {"caption": 4500, "interleaved": 9000, "text": 100_000}, 0.5: {"caption": 2250, "interleaved": 4500, "text": 50_000}}


@pytest.fixture
def table() -> pd.DataFrame:
    """Two sizes, two budgets and one seed on all and on half of the data; the half adds 0.1 a data type, in order."""
    rows = [{"share": share, "N": N, "D": budget + 7, "budget": budget, "seed": 0,
             **{f"L_{kind}": 4.0 - np.log10(budget) / 10 + 0.1 * place * (share < 1) for place, kind in enumerate(WEIGHTS)}}
            for share in UNIQUE for N in (1000, 4000) for budget in (10_000, 40_000)]
    return pd.DataFrame(rows)


def test_epochs_are_those_of_the_data_type(table):
    rows = draw.by_type(table, UNIQUE, WEIGHTS)
    assert len(rows) == 3 * len(table)
    one = rows.query("share == 0.5 and kind == 'caption' and budget == 10_000 and N == 1000").iloc[0]
    assert one["U"] == pytest.approx(2250 / 0.45), "after so many tokens of the mixture the captions were read once"
    assert one["epochs"] == pytest.approx(10_007 * 0.45 / 2250)


def test_gaps_are_against_the_same_run_on_all_of_the_data(table):
    rows = draw.by_type(table, UNIQUE, WEIGHTS)
    assert (rows.query("share == 1")["gap"] == 0).all()
    half = rows.query("share == 0.5").groupby("kind")["gap"].agg(["min", "max"])
    np.testing.assert_allclose(half.loc[list(WEIGHTS), "min"], [0, 0.1, 0.2], atol=1e-12)
    np.testing.assert_allclose(half.loc[list(WEIGHTS), "max"], [0, 0.1, 0.2], atol=1e-12)
    alone = draw.by_type(table[(table["share"] < 1) | (table["N"] == 1000)], UNIQUE, WEIGHTS)
    assert alone.query("share == 0.5 and N == 4000")["gap"].isna().all(), "no run to compare with: missing, not zero"


def test_a_panel_a_part_and_no_gap_of_the_whole_to_itself(table):
    rows = draw.by_type(table, UNIQUE, WEIGHTS)
    panels = draw.curves(rows[rows["kind"] == "caption"]).to_dict()
    assert panels["facet"]["sort"] == ["100% of the data", "50% of the data"]
    chart = draw.gaps(rows).to_dict()
    drawn = chart["datasets"][chart["layer"][1]["data"]["name"]]
    assert {row["share"] for row in drawn} == {0.5}
    assert len(drawn) == 12
    assert chart["layer"][1]["encoding"]["x"]["title"].endswith("(D / U)")


def test_the_worth_of_a_token_lies_between_nothing_and_a_fresh_one():
    table = draw.worth_rows("caption", {"value": 9.0, "low": 2.0, "high": np.inf}, most=8.0)
    assert table[["value", "low", "high"]].iloc[0].tolist() == [1.0, 1.0, 1.0], "the first reading"
    assert (table["low"] <= table["value"]).all()
    np.testing.assert_allclose(table["high"], 1.0, rtol=1e-6)
    assert 0 < table["low"].iloc[-1] < table["value"].iloc[-1] < 1
    band, line = draw.worth(table).to_dict()["layer"]
    assert band["encoding"]["y"]["scale"]["domain"] == [0, 1]
    assert line["encoding"]["y"]["field"] == "value"
