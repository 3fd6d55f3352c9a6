"""Charts of what the experts of a mixture take, from counts of routed tokens (`nmm.runs.specialisation`)."""

import altair as alt
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from nmm.charts.parts import DASH, Series, tips
from nmm.charts.theme import GREY, WIDTH
from nmm.runs import specialisation

TEXT, IMAGE, MIXED = "#0072b2", "#b34700", GREY     # the colours of the modalities, dark enough for white words on either page


def experts(counts: ArrayLike) -> pd.DataFrame:
    """What each expert takes: a table for `heat`.

    Args:
        counts: (n_layers, E, 2) tokens, text first.
    Returns:
        Columns layer and expert (from 1), place (from 1: its rank in the layer by the share of images), image (share of images
        among its tokens; NaN without tokens), load (share of the layer's tokens), tokens.
    """
    load, composition = specialisation.load(counts), specialisation.composition(counts)
    rows = []
    for layer, images in enumerate(composition[..., 1]):
        order = np.argsort(np.where(np.isnan(images), -1, images), kind="stable").tolist()
        rows += [
            {"layer": layer + 1, "expert": expert + 1, "place": place + 1, "image": images[expert], "load": load[layer, expert],
             "tokens": int(np.asarray(counts)[layer, expert].sum())}
            for place, expert in enumerate(order)
        ]
    return pd.DataFrame(rows)


def heat(table: pd.DataFrame) -> alt.LayerChart:
    """A row a layer, the first at the bottom; a square an expert, coloured by what it takes, with its load written in."""
    scale = alt.Scale(domain=[0, 0.5, 1], range=[TEXT, MIXED, IMAGE], interpolate="rgb")
    layers = sorted(table["layer"].unique(), reverse=True)
    # a width in numbers, so that the book fits it to the page: steps would run out of a narrow one
    base = alt.Chart(table, width=WIDTH, height=alt.Step(46)).encode(
        alt.X("place:O", title="experts of the layer, by their share of images", axis=alt.Axis(labels=False, ticks=False, domain=False)),
        alt.Y("layer:O", sort=layers, title="layer", axis=alt.Axis(ticks=False, domain=False)),
        tooltip=["layer", "expert", alt.Tooltip("image:Q", title="share of images", format=".1%"), *tips(load=".1%", tokens=",d")],
    )
    squares = base.mark_rect(stroke="white", strokeOpacity=0.4, strokeWidth=2).encode(
        color=alt.Color("image:Q", scale=scale, title="share of images",
                        legend=alt.Legend(format=".0%", values=[0, 0.25, 0.5, 0.75, 1], gradientLength=220))
    )
    loads = base.mark_text(color="white", fontWeight=600).encode(text=alt.Text("load:Q", format=".0%"))
    return alt.layer(squares, loads, title="What the experts of each layer take, and their load")


def by_layer(table: pd.DataFrame, title: str, marks: pd.DataFrame | None = None) -> alt.LayerChart:
    """A score against the layer with its interval over runs, a line a label.

    Args:
        table: columns label, layer (from 1), value, low, high.
        title: of the score, with its unit.
        marks: columns label and value: what each line is held against, drawn dashed.
    """
    series = Series.of(table, "label")
    x = alt.X("layer:Q", title="layer", scale=alt.Scale(nice=False, zero=False, padding=24), axis=alt.Axis(tickMinStep=1, format="d"))
    y = alt.Y("value:Q", title=title, scale=alt.Scale(zero=True))
    base = alt.Chart(table).encode(x=x)
    layers = [
        series.on(base.mark_line(strokeWidth=1.6), chooses=True).encode(y=y),
        series.on(base.mark_rule(strokeWidth=2), opacity=0.8).encode(y="low:Q", y2="high:Q"),
        series.points(base, size=80).encode(y=y, tooltip=tips("label", "layer", value=".3f", low=".3f", high=".3f")),
    ]
    if marks is not None:
        layers.append(series.on(alt.Chart(marks).mark_rule(strokeDash=DASH), opacity=0.9).encode(y="value:Q"))
    return alt.layer(*layers, title=f"{title[:1].upper()}{title[1:]}, by layer").properties(height=280)
