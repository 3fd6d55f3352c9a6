"""Charts of routing: every expert of every layer is drawn, ordered by what it takes."""

import numpy as np
import pandas as pd
import pytest

from nmm.charts import routing
from nmm.runs import specialisation

COUNTS = np.array([
    [[90, 10], [0, 0], [10, 90]],
    [[50, 50], [100, 0], [0, 200]],
])


def test_experts_are_ordered_by_their_share_of_images_and_idle_ones_come_first():
    table = routing.experts(COUNTS)
    first = table[table["layer"] == 1].sort_values("place")
    assert first["expert"].tolist() == [2, 1, 3]
    assert first["image"].tolist()[1:] == [0.1, 0.9]
    assert np.isnan(first["image"].iloc[0])
    second = table[table["layer"] == 2].sort_values("place")
    assert second["expert"].tolist() == [2, 1, 3]
    assert second["load"].tolist() == pytest.approx([0.25, 0.25, 0.5])
    assert table["tokens"].sum() == COUNTS.sum()


def test_the_first_layer_is_at_the_bottom():
    spec = routing.heat(routing.experts(COUNTS)).to_dict()
    assert spec["layer"][0]["encoding"]["y"]["sort"] == [2, 1]
    assert len(next(iter(spec["datasets"].values()))) == COUNTS.shape[0] * COUNTS.shape[1]


def test_scores_are_drawn_by_layer_beside_what_they_are_held_against():
    scores = specialisation.entropy_score(COUNTS)
    rows = pd.DataFrame([{"label": "caption", "layer": n + 1, "value": s, "low": s - 0.1, "high": s + 0.1} for n, s in enumerate(scores)])
    marks = pd.DataFrame({"label": ["caption"], "value": [specialisation.indifferent_score(COUNTS)]})
    spec = routing.by_layer(rows, "score", marks).to_dict()
    assert len(spec["layer"]) == 4
    assert len(routing.by_layer(rows, "score").to_dict()["layer"]) == 3
    drawn = [row for data in spec["datasets"].values() for row in data if "layer" in row]
    assert [row["value"] for row in drawn] == pytest.approx(scores.tolist())
