"""One look for every chart, and a renderer that works in the book, in a report and in JupyterLab.

Colours pass two tests: every categorical colour has at least 3:1 contrast on the page it is drawn on (the book
swaps in the second set on a dark page), and any two of the nine are told apart by readers with any kind of
colour-blindness; series have a marker each as well. Text and axes use `currentColor`, never black.
"""

import base64
import io
from typing import Any

import altair as alt
import vl_convert
from altair.vegalite.v6.schema import SCHEMA_VERSION
from PIL import Image

from nmm.charts import styled
from nmm.charts.reading import describe

MIME = "application/vnd.vegalite.v6+json"
VEGA_LITE = ".".join(SCHEMA_VERSION.lstrip("v").split(".")[:2])  # the version that Altair writes for

# blue, vermillion, sage, wine, orchid, olive, violet, raspberry, navy: found by a search that spread nine colours of
# enough contrast as far as possible from each other in OKLab, as seen with and without colour-blindness
CATEGORY = ("#0072b2", "#d55e00", "#7b9c8b", "#5a0324", "#d065ff", "#544f01", "#480adc", "#a6306c", "#162075")
CATEGORY_DARK = ("#56a9e8", "#f58b45", "#e1ffc0", "#eb021d", "#fdc2ef", "#4dff14", "#b000ac", "#9d6f80", "#005cfc")
# as many markers as colours: the last four are paths in a square from -1 to 1
MARKERS = (
    "circle", "square", "triangle-up", "diamond", "cross", "triangle-down",
    "M0,-1L0.25,-0.31L0.95,-0.31L0.38,0.12L0.59,0.81L0,0.38L-0.59,0.81L-0.38,0.12L-0.95,-0.31L-0.25,-0.31Z",     # star
    "M-0.9,-0.35H0.9V0.35H-0.9Z",                                                                                # bar
    "M-1,-0.8L0,-0.2L1,-0.8V0.8L0,0.2L-1,0.8Z",                                                                  # bow
)
GREY = "#6b6f76"        # between two colours, on either page
# for an ordered quantity such as N: a cut of viridis whose two ends stay visible on the page
RAMP = ("#443f99", "#3566b0", "#1f8aa5", "#1fa07a", "#5cab3c", "#a8a20f")
RAMP_DARK = ("#7f86ea", "#4f9ee8", "#3fbcc4", "#55d19b", "#a3de6b", "#f2e35a")

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
PAGES = {False: ("#ffffff", "#23262b"), True: ("#131416", "#d6dae0")}      # dark? -> paper and ink of a still picture
WIDTH, HEIGHT = 560, 340  # of a single chart [px]; the book stretches charts to the text width
_PNG_SCALE, _PNG_COLOURS = 1.5, 48  # fallback picture: a tenth of the bytes of a full-colour one


def theme() -> dict[str, Any]:
    """The Altair theme, a fragment of a Vega-Lite specification."""
    axis = {
        "domainColor": "currentColor", "domainOpacity": 0.45, "tickColor": "currentColor", "tickOpacity": 0.45,
        "gridColor": "currentColor", "gridOpacity": 0.1, "labelColor": "currentColor", "titleColor": "currentColor",
        "labelOpacity": 0.85, "labelFontSize": 12, "titleFontSize": 13, "titleFontWeight": 500, "titlePadding": 10,
        "labelFlush": False, "labelOverlap": "greedy", "labelSeparation": 8, "tickCount": 6,
    }
    words = {"labelColor": "currentColor", "titleColor": "currentColor"}
    symbols = {"symbolBaseFillColor": "currentColor", "symbolBaseStrokeColor": "currentColor", "symbolSize": 90}
    return {
        "config": {
            "background": "transparent",
            "font": FONT,
            "view": {"stroke": None, "continuousWidth": WIDTH, "continuousHeight": HEIGHT, "discreteWidth": {"step": 44}},
            "axis": axis,
            "legend": {**words, **symbols, "orient": "top", "labelLimit": 0, "labelFontSize": 12,
                       "titleFontSize": 12, "titleFontWeight": 500},
            "header": {**words, "labelFontSize": 12, "titleFontSize": 13},
            "title": {"color": "currentColor", "subtitleColor": "currentColor", "anchor": "start", "fontSize": 15,
                      "fontWeight": 600, "subtitleFontSize": 12, "offset": 12},
            "range": _ranges(CATEGORY, RAMP),
            "line": {"strokeWidth": 2},
            "point": {"size": 55, "filled": True, "opacity": 0.9},
            "rule": {"color": "currentColor", "opacity": 0.55},
            "text": {"color": "currentColor", "fontSize": 12},
            "mark": {"color": CATEGORY[0]},
        },
        # the drawing script of the book puts these in on a dark page
        "usermeta": {"dark": {"range": _ranges(CATEGORY_DARK, RAMP_DARK), "mark": {"color": CATEGORY_DARK[0]}}},
    }


def enable() -> None:
    """Use the theme and the renderer for every chart that this process draws from now on; styled tables are escaped."""
    styled.enable()
    alt.theme.register("nmm", enable=True)(lambda: alt.theme.ThemeConfig(theme()))
    alt.renderers.register("nmm", render)
    alt.renderers.enable("nmm")


def render(spec: dict[str, Any], **_metadata: Any) -> dict[str, Any]:
    """Mime bundle of one chart: its specification, a small picture for places without Vega 6, a description in words.

    Altair's own renderer names a mime type that nbformat refuses, so no executed notebook could be saved.
    """
    spec = {**spec, "description": describe(spec)}     # what a screen reader says of the drawing
    return {MIME: spec, "image/png": base64.b64encode(png(spec)).decode("ascii"), "text/plain": f"Chart: {spec['description']}"}


def png(spec: dict[str, Any], dark: bool = False, scale: float = _PNG_SCALE) -> bytes:
    """The chart as a small picture: few colours, numbers in place of container sizes, in ink for a light or a dark page."""
    paper, ink = PAGES[dark]
    still = _paint(spec, ink)
    still["config"] = {**still.get("config", {}), **(still.get("usermeta", {}).get("dark", {}) if dark else {}), "background": paper}
    full = vl_convert.vegalite_to_png(still, vl_version=VEGA_LITE, scale=scale, show_warnings=False)
    with Image.open(io.BytesIO(full)) as picture, io.BytesIO() as out:
        picture.convert("RGB").quantize(_PNG_COLOURS, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
        return out.getvalue()


def _ranges(category: tuple[str, ...], ramp: tuple[str, ...]) -> dict[str, Any]:
    # as a scheme the ramp is spread over the values that there are; as a list its first colours would be taken
    return {
        "category": list(category), "symbol": list(MARKERS), "ordinal": {"scheme": list(ramp)}, "ramp": list(ramp), "heatmap": list(ramp),
    }


def _paint(node: Any, ink: str) -> Any:
    """The specification with what a still picture cannot resolve put in plain: text colour and width."""
    if isinstance(node, dict):
        return {key: WIDTH if key == "width" and item == "container" else _paint(item, ink) for key, item in node.items()}
    if isinstance(node, list):
        return [_paint(item, ink) for item in node]
    return ink if node == "currentColor" else node
