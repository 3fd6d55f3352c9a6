"""Charts of the planner: published laws with where they end, and the planner that computes in the page."""

import altair as alt
import numpy as np
import pandas as pd

from nmm.charts.parts import BEYOND, LOSS, WITHIN, Series, as_law, flop_axis, law_line, log_axis, tips


def optimal_losses(table: pd.DataFrame) -> alt.LayerChart:
    """The loss of the best model against compute, a line a law, dashed beyond its runs; bands where a spread is known.

    Args:
        table: columns law, C [FLOPs], L, low, high (NaN without a band) and inside, whether the runs reach that budget.
    """
    series = Series.of(table, "law")
    lines = law_line(table, table["inside"].to_numpy(), by=["law"]).drop(columns="inside")
    y = {"title": LOSS, "scale": alt.Scale(zero=False)}
    return alt.layer(
        series.on(alt.Chart(table.dropna(subset=["low"])).mark_area(), opacity=0.18, chooses=True).encode(
            x=flop_axis(), y=alt.Y("low:Q", **y), y2="high:Q"),
        as_law(series.on(alt.Chart(lines))).encode(x=flop_axis(), y=alt.Y("L:Q", **y), tooltip=tips("law", "range", C=".2e", L=".3f")),
        title="Best loss of the published laws against compute",
    )


def planner(laws: pd.DataFrame, decades: tuple[float, float], start: float, ratio: float | None = None) -> alt.LayerChart:
    """The planner in the page: slide the budget, choose the law, read N*, D* and L*. Computed by the chart itself.

    Every law is written at an anchor, a budget whose optimum has a known loss and D*/N*; where the ratio is assumed a second
    slider sets it. The line is dashed, and says so, while the budget is beyond the law's runs.

    Args:
        laws: one row a law: law, E, alpha, beta, `C0` (the anchor [FLOPs]), excess (loss above E there), `ratio` (D*/N* there),
            free (whether the ratio is assumed), per_parameter and constant (parameters that work on a token:
            per_parameter N + constant), largest (budget at which the runs end [FLOPs]).
        decades: ends of the slider, log10 of C [FLOPs].
        start: where it starts.
        ratio: where the slider of the assumed D*/N* starts; None for laws that assume none.
    """
    names = laws["law"].tolist()
    params = [
        alt.param(name="budget", value=start, bind=alt.binding_range(min=decades[0], max=decades[1], step=0.05, name="log10 of C [FLOPs]")),
        alt.param(name="which", value=names[0], bind=alt.binding_select(options=names, name="law")),
    ]
    if ratio is not None:
        bind = alt.binding_range(min=5, max=200, step=1, name="assumed D*/N* at 1e21 FLOPs (early, late)")
        params.append(alt.param(name="assumed", value=ratio, bind=bind))
    grid = laws.merge(pd.DataFrame({"factor": np.geomspace(1 / 32, 32, 121)}), how="cross")
    work = "(datum.per_parameter * {0} + datum.constant)"
    # the best size where parameters and work are proportional, N0 (C k0 / C0 k)^a; the second pass puts in the first's k = work/N
    scaled = "datum.N0 * pow(datum.C / datum.C0 * datum.k0 / ({0}), datum.beta / (datum.alpha + datum.beta))"
    chart = (
        alt.Chart(grid)
        .add_params(*params)
        .transform_filter("datum.law == which")
        .transform_calculate(C="pow(10, budget)", r="datum.free ? assumed : datum.ratio" if ratio is not None else "datum.ratio")
        .transform_calculate(
            N0="(sqrt(datum.constant * datum.constant + 4 * datum.per_parameter * datum.C0 / 6 / datum.r) - datum.constant)"
            " / 2 / datum.per_parameter"
        )
        .transform_calculate(
            k0=f"{work.format('datum.N0')} / datum.N0", share=f"datum.per_parameter * datum.N0 / {work.format('datum.N0')}"
        )
        .transform_calculate(ofN="datum.excess * datum.beta * datum.share / (datum.alpha + datum.beta * datum.share)")
        .transform_calculate(N1=scaled.format("datum.k0"))
        .transform_calculate(Nopt=scaled.format(f"{work.format('datum.N1')} / datum.N1"))
        .transform_calculate(N="datum.Nopt * datum.factor")
        .transform_calculate(D=f"datum.C / 6 / {work.format('datum.N')}")
        .transform_calculate(
            L="datum.E + datum.ofN * pow(datum.N / datum.N0, -datum.alpha)"
            " + (datum.excess - datum.ofN) * pow(datum.D / datum.N0 / datum.r, -datum.beta)",
            piece="1", range=f"datum.C <= datum.largest ? '{WITHIN}' : '{BEYOND}'",
        )
    )
    place = {"x": alt.X(**log_axis("N", "parameters N")), "y": alt.Y("L:Q", title=LOSS, scale=alt.Scale(zero=False))}
    valley = as_law(chart).encode(**place, tooltip=tips("range:N", N=".3s", D=".3s", L=".4f"))
    middle = chart.transform_filter("abs(log(datum.factor)) < 1e-6").transform_calculate(
        # three short lines: they fit a phone
        words="['N* ' + replace(format(datum.N, '.3s'), 'G', 'B') + ', D* ' + replace(format(datum.D, '.3s'), 'G', 'B'),"
        " 'L* ' + format(datum.L, '.3f') + ', D*/N* ' + format(datum.D / datum.N, '.3~r'),"
        f" datum.range == '{BEYOND}' ? format(datum.C / datum.largest, '.2~r') + ' x the largest run' : '{WITHIN}']"
    )
    dot = middle.mark_point(shape="diamond", filled=True, size=160, opacity=1).encode(**place)
    words = middle.mark_text(dy=-95, fontWeight=600, lineHeight=17).encode(**place, text="words:N")
    return alt.layer(valley, dot, words, title="Loss of every size that spends the whole budget")
