"""Charts: a mime bundle that notebooks can keep, a small picture, colours that can be told from the page."""

import base64
import io

import altair as alt
import nbformat
import pandas as pd
import pytest
from PIL import Image

from nmm import charts
from nmm.charts import theme


@pytest.fixture
def bundle():
    charts.enable()
    data = pd.DataFrame({"x": [1, 2, 3], "y": [3.0, 2.0, 1.5]})
    yield alt.Chart(data, title="Loss", width="container").mark_line(point=True).encode(x="x", y="y")._repr_mimebundle_(None, None)
    alt.renderers.enable("default")


def test_the_bundle_is_valid_in_a_notebook(bundle):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("", outputs=[nbformat.v4.new_output("display_data", bundle)])])
    nbformat.validate(notebook)
    assert set(bundle) == {theme.MIME, "image/png", "text/plain"}
    assert bundle["text/plain"] == "Chart: Loss"


def test_the_picture_is_small_and_has_numbers_for_container_sizes(bundle):
    data = base64.b64decode(bundle["image/png"])
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.width > theme.WIDTH
        assert len(picture.getcolors()) > 2, "a chart has more colours than its page"
    assert len(data) < 40_000, f"{len(data)} bytes"


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize(("colours", "page", "least"), [
    (theme.CATEGORY, "#ffffff", 3.0), (theme.CATEGORY_DARK, "#131416", 3.0),
    (theme.RAMP, "#ffffff", 2.5), (theme.RAMP_DARK, "#131416", 2.5),
])
def test_colours_stand_out_from_their_page(colours, page, least):
    for colour in colours:
        assert contrast(colour, page) >= least, f"{colour} on {page}: {contrast(colour, page):.2f}"


@pytest.mark.parametrize("ramp", [theme.RAMP, theme.RAMP_DARK])
def test_ramps_rise_in_lightness(ramp):
    lightness = [luminance(colour) for colour in ramp]
    assert lightness == sorted(lightness), lightness


def test_nothing_is_painted_black():
    text = str(theme.theme())
    assert "black" not in text
    assert "#000" not in text
