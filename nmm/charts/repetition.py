"""Charts of runs that read their data more than once. N [parameters], D [tokens], L [nats/token]."""

from collections.abc import Mapping

import altair as alt
import numpy as np
import pandas as pd

from nmm.charts.parts import DASH, Series, log_axis, loss_axis, rule, tips
from nmm.charts.runs import sizes, with_labels
from nmm.laws.forms.repetition import effective_tokens

KEYS = ["N", "budget", "seed"]  # what makes two runs on different parts of the data comparable


def by_type(table: pd.DataFrame, unique: Mapping[float, Mapping[str, float]], weights: Mapping[str, float]) -> pd.DataFrame:
    """Runs on parts of one data set, a row for each run and data type, with how often the type was read.

    Args:
        table: finished runs (`nmm.runs.load`) with the column share, the part of the data that each was trained on.
        unique: share -> data type -> different training tokens of this type [tokens].
        weights: share of each data type in the mixture.
    Returns:
        Columns share, kind, N, D, budget, seed, loss; U, the tokens of the whole mixture after which the type has been read
        once [tokens]; epochs = D / U; gap, the loss beyond the run of the same N, budget and seed on all of the data (NaN
        without one) [nats/token].
    """
    long = table.melt(["share", "D", *KEYS], [f"L_{kind}" for kind in weights], "kind", "loss")
    long["kind"] = long["kind"].str.removeprefix("L_")
    total = sum(weights.values())
    long["U"] = [unique[share][kind] * total / weights[kind] for share, kind in zip(long["share"], long["kind"])]
    long["epochs"] = long["D"] / long["U"]
    whole = long[long["share"] == 1.0].set_index(["kind", *KEYS])["loss"].rename("whole")
    long = long.join(whole, on=["kind", *KEYS])
    return long.assign(gap=long["loss"] - long["whole"]).drop(columns="whole")


def curves(table: pd.DataFrame) -> alt.FacetChart:
    """Loss of one data type against D, a panel for each part of the data, a line a model size.

    Args:
        table: rows of `by_type` of one data type.
    """
    table = with_labels(table.assign(part=table["share"].map("{:.0%} of the data".format)))
    order = [f"{share:.0%} of the data" for share in sorted(table["share"].unique(), reverse=True)]
    series = sizes(table)
    base = alt.Chart(table).encode(
        alt.X(**log_axis("D", "training tokens D")), loss_axis(name="loss"),
        tooltip=tips("part", "model", D=",d", epochs=".1f", loss=".3f"),
    )
    lines = series.on(base.mark_line(strokeWidth=1.4), chooses=True).encode(detail=["model:N", "seed:N"])
    layers = alt.layer(lines, series.points(base, size=50))
    return layers.properties(width=165, height=240).facet(
        alt.Facet("part:N", sort=order, title=None), columns=len(order),
        title="Loss against tokens on all and on parts of the data, by model size N",
    )


def gaps(table: pd.DataFrame) -> alt.LayerChart:
    """Loss added by having less data at equal D, against how often the data type was read; colour is the data type.

    Args:
        table: rows of `by_type`.
    """
    table = with_labels(table[table["share"] < 1.0].dropna(subset=["gap"]))
    points = Series.of(table, "kind", "data type").points(alt.Chart(table), opacity=0.9, chooses=True).encode(
        alt.X(**_times("times that the data type was read (D / U)")),
        alt.Y("gap:Q", title="loss beyond all of the data [nats/token]"),
        tooltip=["kind", "model", alt.Tooltip("share:Q", format=".0%", title="part of the data"), *tips(D=",d", epochs=".1f", gap=".3f")],
    )
    return alt.layer(rule(DASH, y=0), points, title="What less data costs, against how often it was read")


def worth_rows(name: str, R: Mapping[str, float], most: float) -> pd.DataFrame:
    """What a read token is worth up to `most` epochs, as `worth` draws it.

    Args:
        name: of the fit.
        R: R* of the law of effective tokens: value, low and high, which may be infinite [repetitions].
    """
    times = np.geomspace(1.0, most, 40)
    ends = {end: effective_tokens(times, 1.0, min(max(number, 1e-6), 1e9)) / times for end, number in R.items()}
    return pd.DataFrame({"name": name, "epochs": times, **ends})


def worth(table: pd.DataFrame) -> alt.LayerChart:
    """Fresh tokens that each read token is worth, against epochs.

    Args:
        table: columns name (of a fit), epochs, value = D' / D, and low, high of its interval.
    """
    series = Series.of(table, "name")
    base = alt.Chart(table).encode(alt.X(**_times("times that the data was read (D / U)")))
    y = {"title": "worth of a token, D' / D", "axis": alt.Axis(format=".0%"), "scale": alt.Scale(domain=[0, 1])}
    return alt.layer(
        series.on(base.mark_area(), opacity=0.2, chooses=True).encode(alt.Y("low:Q", **y), alt.Y2("high")),
        series.on(base.mark_line()).encode(alt.Y("value:Q", **y), tooltip=tips("name", epochs=".1f", value=".0%")),
        title="Fresh tokens that a read token is worth",
    )


def _times(title: str) -> dict[str, object]:
    """A logarithmic axis of the column `epochs`."""
    return log_axis("epochs", title, "~g")
