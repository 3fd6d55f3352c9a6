"""Charts of the fitting, audit and planning chapters: plain tables in, Altair out."""

import altair as alt
import numpy as np
import pandas as pd

from nmm.charts.runs import LOSS, flop_axis, log_axis


def ends_of_starts(table: pd.DataFrame) -> alt.Chart:
    """Where the starts of each method end; columns method, rank (share of starts), excess (over the best, relative)."""
    return (
        alt.Chart(table.assign(excess=table["excess"].clip(lower=1e-13)))
        .mark_line(interpolate="step-after")
        .encode(
            x=alt.X("rank:Q", title="share of starts", axis=alt.Axis(format="%")),
            y=alt.Y(
                "excess:Q",
                title="excess over the best minimum",
                scale=alt.Scale(type="log", nice=False),
                axis=alt.Axis(format=".0e", tickCount=6),
            ),
            color=alt.Color(
                "method:N", title=None, sort=None, legend=alt.Legend(orient="top", columns=1, labelLimit=400)
            ),
            tooltip=["method", alt.Tooltip("rank:Q", format=".0%"), alt.Tooltip("excess:Q", format=".1e")],
        )
    )


def approach_2_miss(table: pd.DataFrame) -> alt.LayerChart:
    """N* of the parabola over the true N* against the width of the slices; columns surface, width, ratio."""
    one = alt.Chart(pd.DataFrame({"y": [1.0]})).mark_rule(strokeDash=[4, 4]).encode(y="y:Q")
    lines = (
        alt.Chart(table)
        .mark_line(point=True)
        .encode(
            x=alt.X("width:Q", title="sizes from N*/w to w N*", scale=alt.Scale(type="log", nice=False, padding=12)),
            y=alt.Y("ratio:Q", title="N* found / N* true", scale=alt.Scale(zero=False)),
            color=alt.Color("surface:N", title=None, sort=None, legend=alt.Legend(orient="top")),
            tooltip=["surface", alt.Tooltip("width:Q", format=".1f"), alt.Tooltip("ratio:Q", format=".3f")],
        )
    )
    return alt.layer(one, lines)


def bootstrap_cloud(samples: pd.DataFrame, x: str, y: str, estimate: dict[str, float]) -> alt.LayerChart:
    """Bootstrap refits of two quantities and the estimate; `samples` has the columns x and y."""
    cloud = (
        alt.Chart(samples[[x, y]])
        .mark_circle(size=14, opacity=0.35)
        .encode(x=alt.X(f"{x}:Q", scale=alt.Scale(zero=False)), y=alt.Y(f"{y}:Q", scale=alt.Scale(zero=False)))
    )
    cross = (
        alt.Chart(pd.DataFrame([{x: estimate[x], y: estimate[y]}]))
        .mark_point(shape="cross", filled=True, size=160, color="currentColor")
        .encode(x=f"{x}:Q", y=f"{y}:Q")
    )
    return alt.layer(cloud, cross).properties(width=300, height=260)


def intervals_by_method(table: pd.DataFrame) -> alt.FacetChart:
    """Intervals of several methods, a panel a quantity; columns quantity, method, value, low, high."""
    y = alt.Y("method:N", sort=None, title=None)
    base = alt.Chart(table.replace([np.inf, -np.inf], np.nan))
    layers = alt.layer(
        base.mark_rule(strokeWidth=2, opacity=1).encode(
            x=alt.X("low:Q", title=None, scale=alt.Scale(zero=False)),
            x2="high:Q",
            y=y,
            color=alt.Color("method:N", legend=None),
        ),
        base.mark_point(filled=True, size=60).encode(x="value:Q", y=y, color=alt.Color("method:N", legend=None)),
    )
    return (
        layers.properties(width=230, height=90)
        .facet(facet=alt.Facet("quantity:N", sort=None, title=None), columns=2)
        .resolve_scale(x="independent")
    )


def printed_against_recomputed(table: pd.DataFrame) -> alt.LayerChart:
    """Printed minus recomputed [%], a dot a number; columns row, quantity, where, printed, recomputed, verdict."""
    table = table.assign(
        label=table["row"] + ": " + table["quantity"] + " (" + table["where"] + ")",
        gap=100 * (table["printed"] / table["recomputed"] - 1),
    )
    verdicts = ["agrees", "cannot be right", "near"]  # in the order of the palette: blue, vermillion, green
    zero = alt.Chart(pd.DataFrame({"x": [0.0]})).mark_rule().encode(x="x:Q")
    dots = (
        alt.Chart(table)
        .mark_point(filled=True, size=80, opacity=1)
        .encode(
            x=alt.X("gap:Q", title="printed - recomputed [% of recomputed]"),
            y=alt.Y("label:N", sort=None, title=None, axis=alt.Axis(labelLimit=300)),
            color=alt.Color(
                "verdict:N", title=None, scale=alt.Scale(domain=verdicts), legend=alt.Legend(orient="top", columns=3)
            ),
            shape=alt.Shape("verdict:N", title=None, scale=alt.Scale(domain=verdicts)),
            tooltip=["label", alt.Tooltip("printed:Q"), alt.Tooltip("recomputed:Q", format=".4f"), "verdict"],
        )
    )
    return alt.layer(zero, dots).properties(height=alt.Step(15), width=420)


def frontiers(lines: pd.DataFrame, floors: pd.DataFrame) -> alt.LayerChart:
    """Power laws in C with their floors; columns row, C, L and, of `floors`, row, L (E) and C (where the law meets it)."""
    colour = alt.Color("row:N", title=None, sort=None, legend=alt.Legend(orient="top"))
    return alt.layer(
        alt.Chart(lines)
        .mark_line()
        .encode(x=flop_axis(), y=alt.Y("L:Q", title=LOSS, scale=alt.Scale(zero=False)), color=colour),
        alt.Chart(floors).mark_rule(strokeDash=[5, 4], opacity=1).encode(y="L:Q", color=colour),
        alt.Chart(floors)
        .mark_point(filled=True, size=110, opacity=1)
        .encode(x="C:Q", y="L:Q", color=colour, tooltip=["row", alt.Tooltip("C:Q", format=".2e"), alt.Tooltip("L:Q")]),
    )


def isoloss(table: pd.DataFrame) -> alt.Chart:
    """Compute for the same loss against the size chosen; columns law, `N / N*`, `C ratio`."""
    inside = table[np.isfinite(table["C ratio"]) & (table["C ratio"] < 4)].rename(
        columns={"N / N*": "factor", "C ratio": "ratio"}
    )
    return (
        alt.Chart(inside)
        .mark_line()
        .encode(
            x=alt.X(
                "factor:Q",
                title="N / N*",
                scale=alt.Scale(type="log", base=2, nice=False),
                axis=alt.Axis(values=[0.125, 0.25, 0.5, 1, 2, 4, 8], format="~g"),
            ),
            y=alt.Y("ratio:Q", title="compute for the same loss / C", scale=alt.Scale(domainMin=1)),
            color=alt.Color("law:N", title=None, sort=None, legend=alt.Legend(orient="top")),
            tooltip=["law", alt.Tooltip("factor:Q", format=".2f"), alt.Tooltip("ratio:Q", format=".3f")],
        )
    )


def overtraining(table: pd.DataFrame) -> alt.Chart:
    """Size and tokens of the cheapest model as use grows; columns tokens_used, quantity, ratio (to compute-optimal)."""
    return (
        alt.Chart(table)
        .mark_line()
        .encode(
            x=alt.X(**log_axis("tokens_used", "tokens processed in use")),
            y=alt.Y("ratio:Q", title="relative to compute-optimal", scale=alt.Scale(type="log", base=2)),
            color=alt.Color("quantity:N", title=None, sort=None, legend=alt.Legend(orient="top")),
            tooltip=["quantity", alt.Tooltip("tokens_used:Q", format=".2e"), alt.Tooltip("ratio:Q", format=".3f")],
        )
    )


def planner(laws: pd.DataFrame, decades: tuple[float, float], start: float) -> alt.LayerChart:
    """The planner in the page: slide the budget, choose the law, read N*, D* and L*. Computed by the chart itself.

    Args:
        laws: one row a law: law, E, A, B, alpha, beta.
        decades: ends of the slider, log10 of C [FLOPs].
        start: where it starts.
    """
    step = 0.05
    slider = alt.param(
        name="budget",
        value=start,
        bind=alt.binding_range(min=decades[0], max=decades[1], step=step, name="log10 C [FLOPs] "),
    )
    names = laws["law"].tolist()
    choice = alt.param(name="which", value=names[0], bind=alt.binding_select(options=names, name="law "))
    factors = pd.DataFrame({"factor": np.geomspace(1 / 32, 32, 121)})
    grid = laws.merge(factors, how="cross")
    best = "pow((datum.alpha * datum.A) / (datum.beta * datum.B), 1 / (datum.alpha + datum.beta))"
    common = (
        alt.Chart(grid)
        .add_params(slider, choice)
        .transform_filter("datum.law == which")
        .transform_calculate(C="pow(10, budget)")
        .transform_calculate(Nopt=f"{best} * pow(datum.C / 6, datum.beta / (datum.alpha + datum.beta))")
        .transform_calculate(N="datum.Nopt * datum.factor")
        .transform_calculate(D="datum.C / 6 / datum.N")
        .transform_calculate(L="datum.E + datum.A * pow(datum.N, -datum.alpha) + datum.B * pow(datum.D, -datum.beta)")
    )
    valley = common.mark_line().encode(
        x=alt.X(**log_axis("N", "parameters N")),
        y=alt.Y("L:Q", title=LOSS, scale=alt.Scale(zero=False)),
        tooltip=[alt.Tooltip("N:Q", format=".3s"), alt.Tooltip("D:Q", format=".3s"), alt.Tooltip("L:Q", format=".4f")],
    )
    middle = common.transform_filter("abs(log(datum.factor)) < 1e-6").transform_calculate(
        words="'N* ' + format(datum.N, '.3s') + ', D* ' + format(datum.D, '.3s') + ', L* ' + format(datum.L, '.3f')"
        " + ', D*/N* ' + format(datum.D / datum.N, '.3~r')"
    )
    dot = middle.mark_point(shape="diamond", filled=True, size=160, opacity=1).encode(x="N:Q", y="L:Q")
    words = middle.mark_text(dy=-70, fontWeight=600).encode(x="N:Q", y="L:Q", text="words:N")
    return alt.layer(valley, dot, words)
