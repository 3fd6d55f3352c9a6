"""Charts that set architectures side by side hold what they are given, in one order and one colour an arm."""

import numpy as np
import pandas as pd
import pytest

from nmm.charts import architectures as draw
from nmm.laws.use import paired


def table(arms=(("moe", "modality", 2, 1), ("moe", "learned", 8, 1), ("late", None, None, None), ("early", None, None, None))):
    """Runs of four arms, two sizes, two budgets and four seeds, with a made-up loss."""
    rows = [
        {"arch": arch, "routing": routing, "n_experts": experts, "top_k": top_k, "size": f"d{width}", "d_model": width, "N": 1000 * width,
         "seed": seed, "budget": budget, "C": 6.0 * 1000 * width * budget * (1.2 if arch == "late" else 1.0),
         "L": (1 + 0.01 * seed + 0.05 * number) * budget**-0.1}
        for number, (arch, routing, experts, top_k) in enumerate(arms) for width in (32, 48) for budget in (10_000, 20_000) for seed in range(4)
    ]
    return draw.with_arms(pd.DataFrame(rows))


ARMS = [draw.EARLY, draw.LATE, "mixture 8-top-1", draw.BY_MODALITY]


def rows_of(chart) -> list[dict]:
    return [row for rows in chart.to_dict()["datasets"].values() for row in rows]


def test_arms_are_named_and_come_in_one_order():
    assert table()["arm"].drop_duplicates().tolist() == ARMS
    assert draw.with_arms(table().iloc[:0]).empty


def test_every_run_is_drawn_with_the_lines_it_is_held_against():
    chart = draw.losses(table(), marks={"blind": 0.4})
    rows = rows_of(chart)
    assert sum("seed" in row for row in rows) == len(table())
    assert [row["at"] for row in rows if "words" in row] == [0.4]
    assert chart.to_dict()["layer"][0]["encoding"]["color"]["scale"]["domain"] == ARMS


def test_differences_are_drawn_in_per_cent_without_ends_that_are_infinite():
    found = paired.at_equal_compute(table(), draw.BY_MODALITY, draw.EARLY)
    cells = paired.by_cell(found)
    drawn = [row for row in rows_of(draw.differences(cells, "loss [%]")) if "verdict" in row]
    assert [row["value"] for row in drawn] == pytest.approx((100 * np.expm1(cells["value"])).tolist())
    alone = paired.by_cell(found[found["seed"] == 0])
    assert all(row["low"] is None for row in rows_of(draw.differences(alone, "loss [%]")) if "verdict" in row)


def test_an_arm_keeps_its_colour_where_others_are_missing():
    found = paired.compare(table(), "mixture 8-top-1", draw.EARLY, {"mean": "L"})
    spec = draw.intervals(found, "difference [%]", ARMS).to_dict()
    colour = spec["layer"][1]["encoding"]["color"]
    assert colour["scale"]["domain"].index("mixture 8-top-1 against early fusion") == ARMS.index("mixture 8-top-1")
    assert colour["legend"]["values"] == ["mixture 8-top-1 against early fusion"]


def test_tuning_shows_the_mean_of_each_setting():
    runs = table().assign(lr=0.01, scale=1.0)
    means = rows_of(draw.tuning(runs))
    assert {row["arm"]: row["L"] for row in means} == pytest.approx(runs.groupby("arm")["L"].mean().to_dict())
