"""Charts of the number of experts: markers of sizes do not hide each other, an open end is not drawn, no line is needed."""

import numpy as np
import pandas as pd
import pytest

from nmm.charts import experts

BESIDE = pd.DataFrame([{"experts": n, "size": size, "value": -1.0 * n, "low": -2.0 * n, "high": 0.5 if n < 8 else np.inf}
                       for size in ("d24", "d40", "d68") for n in (2, 8)])


def rows(spec):
    return [row for data in spec["datasets"].values() for row in data]


def test_sizes_stand_side_by_side_at_their_number_of_experts():
    spec = experts.by_number(BESIDE, pd.DataFrame(columns=["experts", "size", "value"])).to_dict()
    drawn = [row for row in rows(spec) if row.get("experts") == 2 and "low" in row]
    places = sorted({row["place"] for row in drawn})
    assert len(places) == 3 and places[1] == pytest.approx(2)
    assert all(0.8 < place / 2 < 1.25 for place in places), "nearer to its number than to the next"
    axis = spec["layer"][1]["encoding"]["x"]["axis"]
    assert axis["values"] == [1, 2, 8]


def test_an_interval_without_an_end_is_not_drawn_and_its_value_is():
    spec = experts.by_number(BESIDE, pd.DataFrame({"experts": [1.0, 8.0], "size": "d24", "value": [0.0, -8.0]})).to_dict()
    bars = [row for row in spec["datasets"][spec["layer"][2]["data"]["name"]]]
    points = [row for row in spec["datasets"][spec["layer"][3]["data"]["name"]]]
    assert {row["experts"] for row in bars} == {2} and {row["experts"] for row in points} == {2, 8}


def test_numbers_left_out_come_in_their_order_whatever_their_digits():
    out = pd.DataFrame([{"form": form, "experts": n, "bias": 0.1, "low": -0.1, "high": 0.3, "error": 0.1, "runs": 3}
                        for form in ("one law", "another") for n in (1, 2, 16)])
    spec = experts.left_out(out, 0.2).to_dict()
    assert spec["layer"][2]["encoding"]["x"]["sort"] == ["1", "2", "16"]
    assert {"low": -0.2, "high": 0.2} in rows(spec)
