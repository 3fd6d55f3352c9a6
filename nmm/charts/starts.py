"""Charts of native and initialised models: losses against multimodal tokens, and how far one is behind the other."""

import altair as alt
import numpy as np
import pandas as pd

from nmm.charts.parts import DASH, Series, finite, log_axis, loss_axis, rule, tips

TOKENS = "multimodal training tokens"


def against_tokens(table: pd.DataFrame) -> alt.LayerChart:
    """Loss of one data type, which a menu chooses, against the tokens trained on: a point a run, a line through the means of an arm.

    Args:
        table: columns arm, kind (of loss), seed, budget [tokens] and L.
    """
    kinds = table["kind"].drop_duplicates().tolist()
    kind = alt.param(name="kind", value=kinds[0], bind=alt.binding_select(options=kinds, name="loss on: "))
    chosen = alt.datum.kind == kind
    series = Series.of(table, "arm", columns=2)
    x = alt.X(**log_axis("budget", TOKENS))
    means = table.groupby(["arm", "kind", "budget"], as_index=False, sort=False)["L"].mean()
    lines = series.on(alt.Chart(means).mark_line(strokeWidth=1.8), chooses=True).transform_filter(chosen).encode(x, loss_axis())
    dots = series.points(alt.Chart(table), size=40).transform_filter(chosen).encode(
        x, loss_axis(), tooltip=tips("arm", "kind", "seed", budget=",d", L=".3f"))
    return alt.layer(lines, dots, title="Loss against multimodal tokens, with and without a start").add_params(kind)


def gaps(table: pd.DataFrame, title: str, x: str = TOKENS, log: bool = True, unit: str = "%") -> alt.LayerChart:
    """Differences with their intervals against a quantity, a series a kind; above the rule the first arm is behind.

    Args:
        table: columns kind, at, value, low and high [unit].
        title: of the chart.
        x: what `at` is.
        log: on a logarithmic axis.
        unit: of the differences.
    """
    table = finite(table)
    series = Series.of(table, "kind")
    number = table["kind"].map(list(series.order).index) - (len(series.order) - 1) / 2      # bars of one place stand side by side
    reach = float(np.ptp(np.log(table["at"]) if log else table["at"])) or 1.0
    table = table.assign(place=table["at"] * np.exp(0.012 * reach * number) if log else table["at"] + 0.012 * reach * number)
    plain = alt.X("place:Q", title=x, scale=alt.Scale(zero=False, padding=20))
    place = alt.X(**log_axis("place", x, "~s" if table["at"].min() >= 1 else "~g")) if log else plain
    y = {"title": f"difference of losses [{unit}]", "scale": alt.Scale(zero=False)}
    lines = series.on(alt.Chart(table).mark_line(strokeWidth=1.2), opacity=0.7, chooses=True)
    lines = lines.encode(place, alt.Y("value:Q", **y))
    bars = series.on(alt.Chart(table.dropna(subset=["low", "high"])).mark_rule(strokeWidth=1.6)).encode(
        place, alt.Y("low:Q", **y), y2="high:Q")
    dots = series.points(alt.Chart(table), size=60).encode(
        place, alt.Y("value:Q", **y), tooltip=tips("kind", at=",.4~g", value="+.2f", low="+.2f", high="+.2f"))
    return alt.layer(rule(DASH, y=0), lines, bars, dots, title=title)
