"""One chart of all ablations: late fusion beside early fusion, a row a variation."""

import altair as alt
import pandas as pd

from nmm.charts.parts import DASH, Series, finite, rule, tips


def forest(table: pd.DataFrame, title: str) -> alt.LayerChart:
    """Differences with their intervals, a row a variation, a colour a kind of loss; right of the rule the first arm is behind.

    Args:
        table: columns variation, kind, value, low and high [%].
        title: of the chart.
    """
    table = finite(table)
    series = Series.of(table, "kind")
    base = {"y": alt.Y("variation:N", title=None, sort=list(dict.fromkeys(table["variation"])), axis=alt.Axis(labelLimit=260)),
            "yOffset": alt.YOffset("kind:N", sort=list(series.order))}
    x = {"title": "difference of losses [%]"}
    chart = alt.Chart(table, height=alt.Step(11), width=400)
    known = alt.Chart(table.dropna(subset=["low", "high"]), height=alt.Step(11), width=400)
    bars = series.on(known.mark_rule(strokeWidth=1.8), chooses=True)
    return alt.layer(
        rule(DASH, x=0), bars.encode(**base, x=alt.X("low:Q", **x), x2="high:Q"),
        series.points(chart, size=45).encode(
            **base, x=alt.X("value:Q", **x), tooltip=tips("variation", "kind", value="+.2f", low="+.2f", high="+.2f")),
        title=title,
    )
