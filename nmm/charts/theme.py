"""One look for every chart, and a renderer that works in the book, in a report and in JupyterLab.

Colours pass two tests: every categorical colour has at least 3:1 contrast on the page it is drawn on
(the book swaps in the second set on a dark page), and neighbours differ in lightness, so that the
palette survives colour-blindness and grey print. Text and axes use `currentColor`, never black.
"""

import base64
import copy
import io
from typing import Any

import altair as alt
import vl_convert
from altair.vegalite.v6.schema import SCHEMA_VERSION
from PIL import Image

MIME = "application/vnd.vegalite.v6+json"
VEGA_LITE = ".".join(SCHEMA_VERSION.lstrip("v").split(".")[:2])  # the version that Altair writes for

# blue, vermillion, green, purple, ochre, grey: after Okabe and Ito 2008, darkened or lightened to the page
CATEGORY = ("#0072b2", "#d55e00", "#009e73", "#b0559b", "#a67c00", "#6b6f76")
CATEGORY_DARK = ("#56a9e8", "#f58b45", "#2cc295", "#e08ac9", "#e0b84a", "#a3a8b0")
# for an ordered quantity such as N: a cut of viridis whose two ends stay visible on the page
RAMP = ("#443f99", "#3566b0", "#1f8aa5", "#1fa07a", "#5cab3c", "#a8a20f")
RAMP_DARK = ("#7f86ea", "#4f9ee8", "#3fbcc4", "#55d19b", "#a3de6b", "#f2e35a")

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
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
            "legend": {**words, **symbols, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": 500},
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
    """Use the theme and the renderer for every chart that this process draws from now on."""
    alt.theme.register("nmm", enable=True)(lambda: alt.theme.ThemeConfig(theme()))
    alt.renderers.register("nmm", render)
    alt.renderers.enable("nmm")


def render(spec: dict[str, Any], **_metadata: Any) -> dict[str, Any]:
    """Mime bundle of one chart: its specification, a small picture for places without Vega 6, a word.

    Altair's own renderer names a mime type that nbformat refuses, so no executed notebook could be saved.
    """
    return {MIME: spec, "image/png": base64.b64encode(png(spec)).decode("ascii"), "text/plain": summary(spec)}


def png(spec: dict[str, Any]) -> bytes:
    """The chart as a small picture: light page, few colours, numbers in place of container sizes."""
    still = _paint(copy.deepcopy(spec))
    still.setdefault("config", {})["background"] = "#ffffff"
    full = vl_convert.vegalite_to_png(still, vl_version=VEGA_LITE, scale=_PNG_SCALE, show_warnings=False)
    with Image.open(io.BytesIO(full)) as picture, io.BytesIO() as out:
        picture.convert("RGB").quantize(_PNG_COLOURS, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
        return out.getvalue()


def summary(spec: dict[str, Any]) -> str:
    """One line that stands for the chart where no picture can: its title or description."""
    title = spec.get("title") or spec.get("description") or "untitled"
    return f"Chart: {title.get('text', 'untitled') if isinstance(title, dict) else title}"


def _ranges(category: tuple[str, ...], ramp: tuple[str, ...]) -> dict[str, Any]:
    # as a scheme the ramp is spread over the values that there are; as a list its first colours would be taken
    return {"category": list(category), "ordinal": {"scheme": list(ramp)}, "ramp": list(ramp), "heatmap": list(ramp)}


def _paint(node: Any) -> Any:
    """The specification with what a still picture cannot resolve put in plain: text colour and width."""
    if isinstance(node, dict):
        return {key: WIDTH if key == "width" and item == "container" else _paint(item) for key, item in node.items()}
    if isinstance(node, list):
        return [_paint(item) for item in node]
    return "#23262b" if node == "currentColor" else node
