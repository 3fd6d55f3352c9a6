"""What all charts share: a title and a description, their data as a table, a legend that chooses, markers beside colours."""

import io

import pandas as pd
import pytest

from nmm.charts import parts, reading, theme
from tests.charts.gallery import functions, samples

NAMES = sorted(functions())


@pytest.fixture(scope="module")
def specs() -> dict[str, dict]:
    return {name: chart.to_dict() for name, chart in samples().items()}


def encodings(spec):
    if isinstance(spec, dict):
        yield from [spec["encoding"]] if "encoding" in spec else []
        for key, value in spec.items():
            if key != "datasets":
                yield from encodings(value)
    elif isinstance(spec, list):
        for value in spec:
            yield from encodings(value)


def test_every_chart_function_is_among_the_samples():
    assert set(samples()) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_chart_says_what_it_shows(specs, name):
    assert reading.is_titled(specs[name])
    assert len(reading.title(specs[name])) > 10, "a title says what is shown"
    words = reading.describe(specs[name])
    assert words.startswith(reading.title(specs[name]).rstrip("."))
    assert "x is " in words and "y is " in words
    assert "untitled" not in words
    assert "None" not in words and "nan" not in words


@pytest.mark.parametrize("name", NAMES)
def test_the_data_of_a_chart_are_a_tidy_table(specs, name):
    text = reading.csv(specs[name])
    table = pd.read_csv(io.StringIO(text))
    assert len(table) > 0
    assert table.columns.is_unique
    for column in table:
        assert column.replace("_", "").isalnum(), column
    assert not table.drop(columns="drawn").isna().all(axis=1).any(), "a row without data"


def test_the_data_are_those_that_are_drawn(specs):
    spec = specs["runs.grid"]
    drawn = pd.read_csv(io.StringIO(reading.csv(spec)))
    rows = pd.DataFrame(next(iter(spec["datasets"].values())))
    for name, column in {"N": "N", "D": "D", "C": "C", "L": "L_nats_per_token"}.items():
        assert drawn[column].tolist() == pytest.approx(rows[name].tolist(), rel=1e-8)


def test_panels_keep_their_rows_apart(specs):
    table = reading.table(specs["fits.residuals"])
    assert table["panel"].unique().tolist() == ["against N", "against D"]
    assert table.groupby("panel")["percent"].sum().nunique() == 1


def test_a_chart_without_a_title_is_named_by_its_axes():
    mark = {"mark": "point", "encoding": {"x": {"field": "a", "title": "tokens"}, "y": {"field": "b"}}}
    assert reading.describe(mark).startswith("b against tokens. x is tokens")
    assert not reading.is_titled(mark)
    assert reading.describe({"hconcat": [mark, mark]}).startswith("b against tokens.")
    assert reading.is_titled({"hconcat": [{**mark, "title": "A title"}] * 2})


@pytest.mark.parametrize("name", NAMES)
def test_a_legend_of_series_chooses_and_names_markers_too(specs, name):
    spec = specs[name]
    series = [(channel, item) for each in encodings(spec) for channel, item in each.items()
              if channel in ("color", "shape") and isinstance(item, dict)
              and item.get("type") in ("nominal", "ordinal") and item.get("legend", {}) is not None]
    if not series:
        pytest.skip("no legend of series")
    bound = [param for param in spec.get("params", []) if param.get("bind") == "legend"]
    assert {field for param in bound for field in param["select"]["fields"]} == {item["field"] for _, item in series}


def test_sizes_have_markers_and_categorical_colours(specs):
    for name in ("runs.against_compute", "runs.speed", "fits.observed_predicted", "fits.residuals", "runs.training_curves",
                 "repetition.curves"):
        items = [each for each in encodings(specs[name]) if "shape" in each]
        assert items, f"{name}: sizes have no markers"
        assert all(each["shape"]["field"] == each["color"]["field"] == "model" and each["color"]["type"] == "nominal" for each in items)
    assert len(theme.MARKERS) == len(theme.CATEGORY) == len(theme.CATEGORY_DARK) == len(set(theme.MARKERS)) == 9


def test_a_law_is_cut_where_it_leaves_its_runs_and_has_no_gap():
    line = pd.DataFrame({"x": [1.0, 2.0, 3.0, 4.0] * 2, "which": ["a"] * 4 + ["b"] * 4})
    found = parts.law_line(line, (line["x"].between(2, 3)).to_numpy(), by=["which"])
    pieces = [(rows["range"].iloc[0], rows["which"].iloc[0], rows["x"].tolist()) for _, rows in found.groupby("piece")]
    one = [(parts.BEYOND, [1, 2]), (parts.WITHIN, [2, 3]), (parts.BEYOND, [3, 4])]
    assert pieces == [(range_, which, x) for which in "ab" for range_, x in one]
    assert (found.groupby("piece")["range"].nunique() == 1).all()
    assert set(parts.law_line(line, line["x"] > 0)["range"]) == {parts.WITHIN}
