"""Charts of the chapters on fitting, on the audit and on planning: plain tables in, Altair out."""

import altair as alt
import numpy as np
import pandas as pd

from nmm.charts.parts import DASH, LOSS, Series, as_law, finite, flop_axis, law_line, log_axis, rule, tips


def ends_of_starts(table: pd.DataFrame) -> alt.Chart:
    """Where the starts of each method end; columns method, rank (share of starts), excess (over the best, relative)."""
    table = table.assign(excess=table["excess"].clip(lower=1e-13))
    return Series.of(table, "method", columns=1).on(alt.Chart(table).mark_line(interpolate="step-after"), chooses=True).encode(
        x=alt.X("rank:Q", title="share of starts", axis=alt.Axis(format="%")),
        y=alt.Y(**log_axis("excess", "excess over the best minimum", ".0e")),
        tooltip=tips("method", rank=".0%", excess=".1e"),
    ).properties(title="Where the starts of each method end, best first")


def approach_2_miss(table: pd.DataFrame) -> alt.LayerChart:
    """N* of the parabola over the true N* against the width of the slices; columns surface, width, ratio."""
    series = Series.of(table, "surface", columns=1)
    base = alt.Chart(table).encode(
        x=alt.X(**log_axis("width", "sizes from N*/w to w N*", "~g")),
        y=alt.Y("ratio:Q", title="N* found / N* true", scale=alt.Scale(zero=False)),
        tooltip=tips("surface", width=".1f", ratio=".3f"),
    )
    return alt.layer(
        rule(DASH, y=1), series.on(base.mark_line(), chooses=True), series.points(base),
        title="Optimal size by approach 2 over the true one",
    )


def bootstrap_cloud(samples: pd.DataFrame, x: str, y: str, estimate: dict[str, float]) -> alt.LayerChart:
    """Bootstrap refits of two quantities and the estimate; `samples` has the columns x and y."""
    axes = {"x": alt.X(f"{x}:Q", title=x, scale=alt.Scale(zero=False)), "y": alt.Y(f"{y}:Q", title=y, scale=alt.Scale(zero=False))}
    cloud = alt.Chart(samples[[x, y]]).mark_circle(size=14, opacity=0.35).encode(**axes)
    cross = alt.Chart(pd.DataFrame([{x: estimate[x], y: estimate[y]}])).mark_point(
        shape="cross", filled=True, size=160, color="currentColor")
    return alt.layer(cloud, cross.encode(**axes), title=f"Refits: {y} against {x}").properties(width=300, height=260)


def intervals_by_method(table: pd.DataFrame, truth: dict[str, float]) -> alt.FacetChart:
    """Intervals of several methods, a panel a quantity, with the truth as a dashed line.

    Args:
        table: columns quantity, method, value, low, high.
        truth: quantity -> the value that the runs were made with.
    """
    table = finite(table).assign(truth=table["quantity"].map(truth))
    y = alt.Y("method:N", sort=None, title=None)
    base = alt.Chart(table)
    colour = alt.Color("method:N", sort=None, legend=None)
    layers = alt.layer(
        base.mark_rule(strokeDash=DASH).encode(x="truth:Q"),
        base.mark_rule(strokeWidth=2, opacity=1).encode(
            x=alt.X("low:Q", title=None, scale=alt.Scale(zero=False)), x2="high:Q", y=y, color=colour),
        base.mark_point(filled=True, size=60).encode(
            x="value:Q", y=y, color=colour, tooltip=tips("method", value=".3f", low=".3f", high=".3f", truth=".3f")),
    )
    return layers.properties(width=230, height=90).facet(
        facet=alt.Facet("quantity:N", sort=None, title=None), columns=2, title="Intervals by method; dashed: the truth"
    ).resolve_scale(x="independent")


def frontiers(lines: pd.DataFrame, floors: pd.DataFrame, largest: float) -> alt.LayerChart:
    """Power laws in C with their floors; solid within their runs, dashed beyond.

    Args:
        lines: columns row, C, L.
        floors: columns row, L (the floor E) and C (where the law meets it).
        largest: budget at which the runs end [FLOPs].
    """
    series = Series.of(lines, "row")
    law = law_line(lines, (lines["C"] <= largest).to_numpy(), by=["row"])
    tooltip = tips("row", C=".2e", L=".3f")
    y = alt.Y("L:Q", title=LOSS, scale=alt.Scale(zero=False))
    return alt.layer(
        as_law(series.on(alt.Chart(law), chooses=True)).encode(x=flop_axis(), y=y, tooltip=tooltip),
        series.on(alt.Chart(floors).mark_rule(strokeDash=[10, 4], strokeWidth=1), opacity=0.9).encode(y=y),
        series.points(alt.Chart(floors), size=110).encode(x=flop_axis(), y=y, tooltip=tooltip),
        title="Published frontiers, and the floors of the same rows",
    )


def isoloss(table: pd.DataFrame) -> alt.Chart:
    """Compute for the same loss against the size chosen; solid within the runs of a law, dashed beyond.

    Args:
        table: columns law, `N / N*`, `C ratio`, and `inside`: whether the runs of the law reach that compute.
    """
    drawn = table[np.isfinite(table["C ratio"]) & (table["C ratio"] < 4)].rename(columns={"N / N*": "factor", "C ratio": "ratio"})
    lines = law_line(drawn, drawn["inside"].to_numpy(), by=["law"]).drop(columns="inside")
    return as_law(Series.of(drawn, "law").on(alt.Chart(lines), chooses=True)).encode(
        x=alt.X("factor:Q", title="N / N*", scale=alt.Scale(type="log", base=2, nice=False),
                axis=alt.Axis(values=[0.125, 0.25, 0.5, 1, 2, 4, 8], format="~g")),
        y=alt.Y("ratio:Q", title="compute for the same loss / C", scale=alt.Scale(domainMin=1)),
        tooltip=tips("law", factor=".2f", ratio=".3f"),
    ).properties(title="The price of another size, by law")


def overtraining(table: pd.DataFrame) -> alt.Chart:
    """Size and tokens of the cheapest model as use grows; solid where the law's runs reach its training compute.

    Args:
        table: columns tokens_used, quantity, ratio (to compute-optimal), and `inside`: whether the runs reach that compute.
    """
    lines = law_line(table, table["inside"].to_numpy(), by=["quantity"]).drop(columns="inside")
    return as_law(Series.of(table, "quantity").on(alt.Chart(lines), chooses=True)).encode(
        x=alt.X(**log_axis("tokens_used", "tokens processed in use")),
        y=alt.Y("ratio:Q", title="relative to compute-optimal", scale=alt.Scale(type="log", base=2)),
        tooltip=tips("quantity", tokens_used=".2e", ratio=".3f"),
    ).properties(title="The cheapest model as its use grows")
