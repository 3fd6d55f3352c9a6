"""Charts that set architectures side by side hold what they are given, in one order and one colour an arm."""

import numpy as np
import pandas as pd
import pytest

from nmm import runs
from nmm.charts import architectures as draw
from nmm.laws.use import paired
from nmm.studies.architectures import BY_MODALITY, EARLY, LATE, SPARSE

ARMS = [EARLY.name, LATE.name, SPARSE.name, BY_MODALITY.name]


def table():
    """Runs of four arms, two sizes, two budgets and four seeds, with a made-up loss."""
    rows = [
        {"study": "architectures", "status": "finished", "arm": arm, "size": f"d{width}", "d_model": width, "N": 1000 * width,
         "seed": seed, "budget": budget, "C": 6.0 * 1000 * width * budget * (1.2 if arm == LATE.name else 1.0),
         "L": (1 + 0.01 * seed + 0.05 * number) * budget**-0.1}
        for number, arm in enumerate(reversed(ARMS)) for width in (32, 48) for budget in (10_000, 20_000) for seed in range(4)
    ]
    return runs.by_arm(pd.DataFrame(rows))


def rows_of(chart) -> list[dict]:
    return [row for rows in chart.to_dict()["datasets"].values() for row in rows]


def test_arms_are_named_and_come_in_one_order():
    assert table()["arm"].drop_duplicates().tolist() == ARMS
    assert runs.by_arm(table().iloc[:0]).empty
    mine = pd.concat([table().assign(study="mine", arm="own"), table().assign(study="mine", status="failed")])
    assert runs.by_arm(mine)["arm"].unique().tolist() == ["own"]


def test_every_run_is_drawn():
    chart = draw.losses(table())
    rows = rows_of(chart)
    assert sum("seed" in row for row in rows) == len(table())
    assert chart.to_dict()["layer"][0]["encoding"]["color"]["scale"]["domain"] == ARMS


def test_differences_are_drawn_in_per_cent_without_ends_that_are_infinite():
    found = paired.at_equal_compute(table(), BY_MODALITY.name, EARLY.name)
    cells = paired.by_cell(found)
    drawn = [row for row in rows_of(draw.differences(cells, "loss [%]")) if "verdict" in row]
    assert [row["value"] for row in drawn] == pytest.approx((100 * np.expm1(cells["value"])).tolist())
    alone = paired.by_cell(found[found["seed"] == 0])
    assert all(row["low"] is None for row in rows_of(draw.differences(alone, "loss [%]")) if "verdict" in row)


def test_an_arm_keeps_its_colour_where_others_are_missing():
    found = paired.compare(table(), "mixture 8-top-1", EARLY.name, {"mean": "L"})
    spec = draw.intervals(found, "difference [%]", ARMS).to_dict()
    colour = spec["layer"][1]["encoding"]["color"]
    assert colour["scale"]["domain"].index("mixture 8-top-1 against early fusion") == ARMS.index("mixture 8-top-1")
    assert colour["legend"]["values"] == ["mixture 8-top-1 against early fusion"]


def test_tuning_shows_the_mean_of_each_setting():
    tuned = table().assign(lr=0.01)
    means = rows_of(draw.tuning(tuned))
    assert {(row["arm"], row["size"]): row["L"] for row in means} == pytest.approx(tuned.groupby(["arm", "size"])["L"].mean().to_dict())
