"""Charts of compression: what a token stands for, bits per byte, forms on held-out runs, what modalities do to one another, isoloss."""

import altair as alt
import numpy as np
import pandas as pd

from nmm.charts.parts import DASH, Series, as_law, finite, law_line, log_axis, rule, tips
from nmm.charts.tables import short
from nmm.runs.bits import MEASURES


def factors(table: pd.DataFrame) -> alt.LayerChart:
    """Bytes behind a token of each modality and tokenizer, by three measures, on a logarithmic axis.

    Args:
        table: of `nmm.runs.bits.beside`, a row a modality and tokenizer.
    """
    long = table.melt(["source", "modality", "tokenizer"], list(MEASURES), "measure", "bytes").dropna()
    long = long.assign(measure=long["measure"].map(MEASURES), row=long["modality"] + ", " + long["tokenizer"])
    order = (table["modality"] + ", " + table["tokenizer"]).tolist()
    place = {"x": alt.X(**log_axis("bytes", "bytes per token", "~g")),
             "y": alt.Y("row:N", sort=order, title=None, axis=alt.Axis(grid=True, labelLimit=260))}
    series = Series(column="measure", order=[words for words in MEASURES.values() if words in set(long["measure"])])
    return alt.layer(
        series.points(alt.Chart(long), size=75, chooses=True).encode(**place, tooltip=tips("source", "row", "measure", bytes=".3f")),
        title="What a token stands for, by three measures",
    ).properties(height=22 * len(order))


def bits(table: pd.DataFrame, floors: pd.DataFrame) -> alt.FacetChart:
    """Bits per byte of each modality against its own tokens, sizes told apart by colour and marker; dashed, the lowest possible.

    Args:
        table: columns modality, size, mixture, N, own [tokens], bits.
        floors: columns modality, bits.
    """
    table = table.merge(floors.rename(columns={"bits": "floor"}), on="modality")
    order = floors["modality"].tolist()
    table = table.assign(parameters=table["N"].map(short))
    sizes = Series("parameters", table.sort_values("N")["parameters"].drop_duplicates().tolist(), "parameters N")
    base = alt.Chart(table)
    place = {"x": alt.X(**log_axis("own", "own tokens")), "y": alt.Y(**log_axis("bits", "bits per byte", ".3~g"))}
    dots = sizes.points(base, size=40, opacity=0.85, chooses=True).encode(
        **place, tooltip=tips("modality", "mixture", "size", own=",d", bits=".4f"))
    lowest = base.mark_rule(strokeDash=DASH, color="currentColor").encode(alt.Y("floor:Q"))
    return alt.layer(dots, lowest).properties(width=235, height=190).facet(
        alt.Facet("modality:N", sort=order, title=None), columns=2,
        title=alt.Title("Bits per byte of each modality against its own tokens", subtitle="dashed: the lowest that held-out data allow"),
    ).resolve_scale(x="independent", y="independent")


def predictions(table: pd.DataFrame) -> alt.FacetChart:
    """Predicted against observed bits per byte of held-out runs, forms in colour, a panel for what was held out.

    Args:
        table: columns form, held, observed, predicted.
    """
    table = table[np.isfinite(table["predicted"])]
    place = {"x": alt.X("observed:Q", title="observed [bits/byte]", scale=alt.Scale(zero=False)),
             "y": alt.Y("predicted:Q", title="predicted [bits/byte]", scale=alt.Scale(zero=False))}
    base = alt.Chart(table)
    right = base.mark_line(strokeDash=DASH, color="currentColor", opacity=0.5).encode(alt.X("observed:Q"), alt.Y("observed:Q"))
    dots = Series.of(table, "form", columns=1).points(base, size=45, chooses=True)
    return alt.layer(right, dots.encode(**place, tooltip=tips("form", "held", observed=".4f", predicted=".4f"))).properties(
        width=235, height=235,
    ).facet(
        alt.Facet("held:N", sort=table["held"].drop_duplicates().tolist(), title=None), columns=2,
        title=alt.Title("What each form says of runs that were held out", subtitle="dashed: predicted as observed"),
    )


def changes(table: pd.DataFrame) -> alt.LayerChart:
    """By how much what a loss has above its floor changes when other modalities are added, at equal own tokens, with intervals.

    Args:
        table: columns modality, row (what is compared), value, low and high [%]; above zero others harm. Ends may be missing.
    """
    order = table["row"].drop_duplicates().tolist()
    rows = alt.Y("row:N", sort=order, title=None, axis=alt.Axis(labelLimit=320))
    across = {"title": "change [%]", "scale": alt.Scale(zero=True)}
    series = Series.of(table, "modality")
    bars = series.on(alt.Chart(finite(table).dropna(subset=["low", "high"])).mark_rule(strokeWidth=1.8), chooses=True)
    dots = series.points(alt.Chart(finite(table)), size=70)
    return alt.layer(
        rule(DASH, x=0), bars.encode(alt.X("low:Q", **across), rows, x2="high:Q"),
        dots.encode(alt.X("value:Q", **across), rows, tooltip=tips("modality", "row", value="+.2f", low="+.2f", high="+.2f")),
        title="What others do above the floor, at equal own tokens",
    ).properties(height=26 * len(order))


def isoloss(lines: pd.DataFrame, runs: pd.DataFrame) -> alt.LayerChart:
    """Tokens that a model needs for a quality against its parameters, a line a quality; dashed beyond the runs, whose sizes and budgets
    are circles.

    Args:
        lines: columns level [bits/byte], N, D, inside: whether runs reach so far.
        runs: columns N, D.
    """
    lines = lines.assign(quality=[f"{level:.3g} bits/byte" for level in lines["level"]])
    order = lines.sort_values("level", ascending=False)["quality"].drop_duplicates().tolist()
    place = {"x": alt.X(**log_axis("N", "parameters N")), "y": alt.Y(**log_axis("D", "tokens of four modalities D"))}
    series = Series(column="quality", order=order)
    drawn = law_line(lines, lines["inside"].to_numpy(), by=["quality"]).drop(columns="inside")
    laws = as_law(series.on(alt.Chart(drawn), chooses=True)).encode(**place, tooltip=tips("quality", N=",d", D=",d"))
    dots = alt.Chart(runs).mark_point(size=30, color="currentColor", opacity=0.5).encode(**place)
    return alt.layer(laws, dots, title=alt.Title(
        "Tokens that a model of a size needs for a quality", subtitle="circles: sizes and tokens of the runs; dashed: beyond them"))
