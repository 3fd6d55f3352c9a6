"""Charts of one law for several arms: their losses with the law through them, and what an arm's compute is worth."""

import altair as alt
import numpy as np
import pandas as pd

from nmm.charts.parts import DASH, Series, finite, log_axis, loss_axis, rule, tips


def by_size(runs: pd.DataFrame, lines: pd.DataFrame) -> alt.FacetChart:
    """Loss against size, a panel a budget, a colour an arm: points are runs, lines a law within them.

    Args:
        runs: columns arm, budget [tokens], N [parameters], seed and L; lines: arm, budget, N and L.
    """
    arms = runs["arm"].drop_duplicates().tolist()
    both = pd.concat([lines.assign(drawn="law"), runs[["arm", "budget", "N", "seed", "L"]].assign(drawn="run")], ignore_index=True)
    both["panel"] = both["budget"].map("{:,.0f} tokens".format)
    panels = both.sort_values("budget")["panel"].drop_duplicates().tolist()
    series = Series("arm", arms, columns=2)
    place = {"x": alt.X(**log_axis("N", "parameters N")), "y": loss_axis()}
    base = alt.Chart()
    layers = alt.layer(
        series.on(base.mark_line(strokeWidth=1.8), chooses=True).transform_filter(alt.datum.drawn == "law").encode(**place),
        series.points(base, size=42, opacity=0.8).transform_filter(alt.datum.drawn == "run").encode(
            **place, tooltip=tips("arm", "seed", N=",d", budget=",d", L=".3f")),
        data=both,
    )
    return layers.properties(width=230, height=220).facet(
        facet=alt.Facet("panel:N", sort=panels, title=None), columns=2, title="Loss against size, by arm and budget; lines: the law fitted")


def multipliers(table: pd.DataFrame, reference: str) -> alt.LayerChart:
    """The compute of a reference over an arm's for the same loss: a row an arm, a marker a way of asking.

    Args:
        table: columns arm, way, value, low, high; ends that are infinite or missing are not drawn.
        reference: name of the arm held against.
    """
    table = finite(table)
    series = Series.of(table, "way", columns=1)
    x = log_axis("value", f"C of {reference} / C of the arm", ".2~f")
    base = alt.Chart(table).encode(y=alt.Y("arm:N", sort=None, title=None, axis=alt.Axis(labelLimit=150)),
                                   yOffset=alt.YOffset("way:N", sort=list(series.order)))
    bars = alt.Chart(table.dropna(subset=["low", "high"])).encode(
        y=alt.Y("arm:N", sort=None, title=None), yOffset=alt.YOffset("way:N", sort=list(series.order)))
    return alt.layer(
        rule(DASH, x=1),
        series.on(bars.mark_rule(strokeWidth=2), opacity=0.9, chooses=True).encode(x=alt.X(**{**x, "shorthand": "low:Q"}), x2="high:Q"),
        series.points(base, size=80).encode(x=alt.X(**x), tooltip=tips("arm", "way", value=".3f", low=".3f", high=".3f")),
        title=f"What an arm's compute is worth beside {reference}",
    ).properties(height=alt.Step(22))


def exponents(table: pd.DataFrame) -> alt.FacetChart:
    """Values of each arm with their intervals, a panel a quantity on an axis of its own, a row an arm.

    Args:
        table: columns quantity, arm, value, low, high, null (what no difference would be; missing where there is no such value); ends that
            are infinite or missing are not drawn.
    """
    table = finite(table[["quantity", "arm", "value", "low", "high", "null"]])
    series = Series.of(table, "arm", columns=1)
    base = alt.Chart()
    y = alt.Y("arm:N", sort=list(series.order), title=None, axis=alt.Axis(labelLimit=130))
    x = {"title": None, "scale": alt.Scale(zero=False)}
    layers = alt.layer(
        base.mark_rule(strokeDash=DASH).encode(x=alt.X("null:Q", **x)),
        series.on(base.mark_rule(strokeWidth=2), chooses=True).transform_filter("isValid(datum.low) && isValid(datum.high)").encode(
            x=alt.X("low:Q", **x), x2="high:Q", y=y),
        series.points(base, size=80).encode(
            x=alt.X("value:Q", **x), y=y, tooltip=tips("arm", "quantity", value=".3f", low=".3f", high=".3f")),
        data=table,
    )
    return layers.properties(width=230, height=alt.Step(20)).facet(
        facet=alt.Facet("quantity:N", sort=table["quantity"].drop_duplicates().tolist(), title=None), columns=1,
        title="Exponents of each arm's own law, and their differences").resolve_scale(x="independent", y="independent")


def by_reach(table: pd.DataFrame) -> alt.LayerChart:
    """Error of predictions against how far they reach beyond the runs fitted; dashed is what seeds alone differ by.

    Bins that stand on little are hollow, and no line leads to them.

    Args:
        table: columns set, reach (C predicted over the largest C fitted), error, low, high, noise [%], runs, fits, firm (booleans).
    """
    table = finite(table.assign(value=table["error"])).drop(columns="value")
    series = Series.of(table, "set", columns=2)
    number = table["set"].map(list(series.order).index) - (len(series.order) - 1) / 2
    table = table.assign(place=table["reach"] * np.exp(0.02 * number))
    x, y = alt.X(**log_axis("place", "C predicted / largest C fitted", "~g")), {"title": "error of ln L [%]", "scale": alt.Scale(zero=True)}
    base, firm, hollow = alt.Chart(table), alt.Chart(table[table["firm"]]), alt.Chart(table[~table["firm"]])
    shown = tips("set", reach=".2f", error=".2f", low=".2f", high=".2f", noise=".2f", runs="d", fits="d")
    return alt.layer(
        series.on(firm.mark_line(strokeWidth=1.6), opacity=0.9, chooses=True).encode(x=x, y=alt.Y("error:Q", **y)),
        series.on(base.mark_line(strokeWidth=1.2, strokeDash=DASH), opacity=0.7).encode(x=x, y=alt.Y("noise:Q", **y)),
        series.on(alt.Chart(table.dropna(subset=["low", "high"])).mark_rule(strokeWidth=1.4), opacity=0.6).encode(
            x=x, y=alt.Y("low:Q", **y), y2="high:Q"),
        series.points(firm, size=70).encode(x=x, y=alt.Y("error:Q", **y), tooltip=shown),
        series.on(hollow.mark_point(filled=False, size=70, strokeWidth=1.8), marker=True).encode(
            x=x, y=alt.Y("error:Q", **y), tooltip=shown),
        title=alt.Title("Error of predictions against their reach",
                        subtitle="Dashed: the noise between seeds. Hollow: one fit, or few trunks."),
    )
