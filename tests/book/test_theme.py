"""Charts: a mime bundle that notebooks can keep, a small picture, colours that can be told from the page."""

import base64
import io

import altair as alt
import nbformat
import numpy as np
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
    assert bundle["text/plain"] .startswith("Chart: Loss. x is x, from 1 to 3; y is y, from 1.5 to 3")


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


# Machado et al. 2009, severity 1: linear RGB as readers without one kind of cones see it
COLOUR_BLIND = {
    "none": np.eye(3),
    "protan": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    "deutan": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
    "tritan": np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]),
}
# linear RGB to OKLab, Ottosson 2020: cube roots between two matrices
CONES = np.array([
    [0.4122214708, 0.5363325363, 0.0514459929],
    [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
])
LAB = np.array([
    [0.2104542553, 0.7936177850, -0.0040720468],
    [1.9779984951, -2.4285922050, 0.4505937099],
    [0.0259040371, 0.7827717662, -0.8086757660],
])


@pytest.mark.parametrize("eyes", COLOUR_BLIND)
@pytest.mark.parametrize("palette", [theme.CATEGORY, theme.CATEGORY_DARK])
def test_any_two_colours_are_told_apart_by_any_eyes(palette, eyes):
    """0.1 in OKLab is about five times what is just seen side by side."""
    channels = np.array([[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] for colour in palette])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    lab = np.cbrt(np.clip(linear @ COLOUR_BLIND[eyes].T, 0, 1) @ CONES.T) @ LAB.T
    apart = np.linalg.norm(lab[:, None] - lab[None], axis=-1) + np.eye(len(palette))
    assert apart.min() > 0.1, f"{palette[apart.min(1).argmin()]} has a neighbour at {apart.min():.3f}"


@pytest.mark.parametrize("ramp", [theme.RAMP, theme.RAMP_DARK])
def test_ramps_rise_in_lightness(ramp):
    lightness = [luminance(colour) for colour in ramp]
    assert lightness == sorted(lightness), lightness


def test_nothing_is_painted_black():
    text = str(theme.theme())
    assert "black" not in text
    assert "#000" not in text
