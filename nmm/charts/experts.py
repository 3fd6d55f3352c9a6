"""Charts of how many experts a mixture has: its loss beside the dense model's, and numbers of experts that laws were not shown."""

import altair as alt
import numpy as np
import pandas as pd

from nmm.charts.parts import DASH, Series, finite, log_axis, rule, tips


def by_number(table: pd.DataFrame, lines: pd.DataFrame) -> alt.LayerChart:
    """Loss beside the dense model of the same active size against the number of experts, a colour a size; lines are a law's.

    Args:
        table: columns experts, size, value, low, high [%]; ends that are infinite are not drawn.
        lines: columns experts, size, value [%]; may be empty.
    """
    table = finite(table)
    series = Series.of(table, "size", columns=6)
    sizes, numbers = list(series.order), sorted({1, *table["experts"]})
    # side by side, so that no interval hides another
    place = table["experts"] * np.exp2(0.07 * (table["size"].map(sizes.index) - (len(sizes) - 1) / 2))
    table = table.assign(place=place)
    x = log_axis("place", "experts, one active", "d", base=2, domain=[min(numbers), max(numbers) * 1.15])
    x["axis"] = alt.Axis(values=numbers, format="d")
    y = {"title": "loss beside dense [%]"}
    layers = [
        rule(DASH, y=0),
        series.on(alt.Chart(lines.assign(place=lines["experts"])).mark_line(strokeWidth=1.4), opacity=0.8).encode(
            x=alt.X(**x), y=alt.Y("value:Q", **y)),
        series.on(alt.Chart(table.dropna(subset=["low", "high"])).mark_rule(strokeWidth=2), opacity=0.8, chooses=True).encode(
            x=alt.X(**x), y=alt.Y("low:Q", **y), y2="high:Q"),
        series.points(alt.Chart(table), size=70).encode(
            x=alt.X(**x), y=alt.Y("value:Q", **y), tooltip=tips("size", "experts", value="+.2f", low="+.2f", high="+.2f")),
    ]
    return alt.layer(*layers, title="What more experts do to the loss, at equal active size and tokens")


def left_out(table: pd.DataFrame, noise: float) -> alt.LayerChart:
    """How far off laws are on a number of experts that they were not fitted to; the band is what seeds alone differ by.

    Args:
        table: columns form, experts, bias, low, high [%], error [%], runs.
        noise: standard deviation between seeds [%].
    """
    table = finite(table.assign(value=table["bias"]))
    series = Series.of(table, "form", columns=1)
    names = [f"{number:d}" for number in sorted(table["experts"].unique())]
    table = table.assign(number=table["experts"].map("{:d}".format))
    y = {"title": "predicted less observed [%]"}
    place = {"x": alt.X("number:N", sort=names, title="experts left out (1: dense)", axis=alt.Axis(labelAngle=0)),
             "xOffset": alt.XOffset("form:N", sort=list(series.order))}
    band = alt.Chart(pd.DataFrame({"low": [-noise], "high": [noise]})).mark_rect(color="currentColor", opacity=0.12).encode(
        y=alt.Y("low:Q", **y), y2="high:Q")
    bars = alt.Chart(table.dropna(subset=["low", "high"]))
    return alt.layer(
        band, rule(DASH, y=0),
        series.on(bars.mark_rule(strokeWidth=2), opacity=0.8, chooses=True).encode(**place, y=alt.Y("low:Q", **y), y2="high:Q"),
        series.points(alt.Chart(table), size=70).encode(
            **place, y=alt.Y("value:Q", **y),
            tooltip=tips("form", "experts", value="+.2f", low="+.2f", high="+.2f", error=".2f", runs="d")),
        title="Numbers of experts left out, with the noise between seeds (band)",
    )
