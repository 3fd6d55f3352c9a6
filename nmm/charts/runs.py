"""Charts of trained runs. Tables are those of `nmm.runs`, with N [parameters], D [tokens], C [FLOPs], L [nats/token]."""

import altair as alt
import pandas as pd

from nmm.charts.parts import (
    DASH,
    LOSS,
    Series,
    as_law,
    diagonal,
    flop_axis,
    law_line,
    log_axis,
    loss_axis,
    spread,
    tips,
)
from nmm.charts.tables import short

__all__ = [
    "against_compute", "by_data_type", "collapse", "differences", "grid", "sizes", "speed", "spread", "training_curves", "with_labels",
]


def sizes(table: pd.DataFrame) -> Series:
    """Model sizes N, the smallest first, by colour and marker; needs the column `model` of `with_labels`."""
    return Series.of(table.sort_values("N"), "model", "N", columns=9)


def with_labels(table: pd.DataFrame) -> pd.DataFrame:
    """The table with `model`, N as a short word for legends."""
    return table.assign(model=table["N"].map(short))


def grid(table: pd.DataFrame) -> alt.Chart:
    """Where the runs lie in N and D, coloured by loss."""
    return alt.Chart(table, title="The runs in N and D, and their loss").mark_circle(size=170).encode(
        x=alt.X(**log_axis("N", "parameters N")),
        y=alt.Y(**log_axis("D", "training tokens D")),
        color=alt.Color("L:Q", title="L [nats/token]", scale=alt.Scale(reverse=True)),
        tooltip=tips(N=",d", D=",d", C=".2e", L=".3f"),
    )


def training_curves(curves: pd.DataFrame) -> alt.LayerChart:
    """Training loss against tokens seen, a line a run, in the colour of N, with a marker where the run ends."""
    table = with_labels(curves)
    series = sizes(table)
    base = alt.Chart(table).encode(
        x=alt.X(**log_axis("tokens", "tokens seen")),
        y=loss_axis("training loss [nats/token]", "loss"),
        tooltip=["model", alt.Tooltip("D:Q", format=",d", title="budget D"), *tips(tokens=",d", loss=".3f")],
    )
    ends = table.loc[table.groupby("run")["tokens"].idxmax()]
    lines = series.on(base.mark_line(strokeWidth=1.4), opacity=0.85, chooses=True).encode(detail="run:N")
    return alt.layer(lines, series.points(base.properties(data=ends), size=45), title="Training loss of every run, by model size N")


def collapse(normal: pd.DataFrame) -> alt.LayerChart:
    """Normalised training curves, a line a run, in the colour of N.

    Args:
        normal: of `nmm.runs.collapse.normalised`.
    """
    table = with_labels(normal[normal["share"] > 0.03])
    series = sizes(table)
    base = alt.Chart(table).encode(
        x=alt.X("share:Q", title="share of the budget", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1])),
        y=alt.Y("reducible:Q", title="loss above the floor, over its value at the end", scale=alt.Scale(type="log", nice=False)),
        tooltip=["model", *tips(D=",d", share=".0%", reducible=".2f")],
    )
    lines = series.on(base.mark_line(strokeWidth=1.6), opacity=0.85, chooses=True).encode(detail="run:N")
    return alt.layer(lines, title="Training curves along the optimal path, normalised by their ends")


def against_compute(table: pd.DataFrame, frontier: pd.DataFrame | None = None, column: str = "L") -> alt.LayerChart:
    """Final loss against compute, a line a model size and seed.

    Args:
        table: runs.
        frontier: columns C and L of a law; solid within the runs' range of C, dashed beyond.
        column: the loss.
    """
    table = with_labels(table.dropna(subset=[column]).assign(L=lambda rows: rows[column]))
    series = sizes(table)
    base = alt.Chart(table).encode(x=flop_axis(), y=loss_axis(), tooltip=tips("model", D=",d", C=".2e", L=".3f"))
    lines = series.on(base.mark_line(strokeWidth=1.2), opacity=0.6, chooses=True).encode(detail=["model:N", "seed:N"])
    layers = [lines, series.points(base)]
    if frontier is not None:
        law = law_line(frontier, frontier["C"].between(table["C"].min(), table["C"].max()).to_numpy())
        layers.append(as_law(alt.Chart(law)).encode(x="C:Q", y="L:Q", color=alt.value("currentColor")))
    title = "Final loss against compute, by model size N"
    return alt.layer(*layers, title=title if frontier is None else f"{title}, and the frontier")


def by_data_type(table: pd.DataFrame, floors: dict[str, float] | None = None) -> alt.LayerChart:
    """Loss of each data type against compute in one picture: colour is the data type, dashes the entropy floor."""
    long = table.melt(["C", "N", "D"], ["L_caption", "L_interleaved", "L_text"], "kind", "loss")
    long["kind"] = long["kind"].str.removeprefix("L_")
    series = Series.of(long, "kind", "data type")
    layers = [series.points(alt.Chart(long), size=45, chooses=True).encode(
        x=flop_axis(), y=alt.Y("loss:Q", title=LOSS, scale=alt.Scale(zero=True)), tooltip=tips("kind", N=",d", D=",d", loss=".3f"),
    )]
    if floors:
        floor = pd.DataFrame({"kind": list(floors), "loss": list(floors.values())})
        layers.append(series.on(alt.Chart(floor).mark_rule(strokeDash=DASH)).encode(y="loss:Q"))
    title = "Loss of each data type against compute"
    return alt.layer(*layers, title=f"{title}, above its entropy" if floors else title)


def differences(pairs: pd.DataFrame) -> alt.LayerChart:
    """Two records of each run: `L` against `L_other`, on the diagonal where they agree."""
    points = alt.Chart(pairs).mark_point(filled=True, size=60).encode(
        x=alt.X("L:Q", title="loss here [nats/token]", scale=alt.Scale(zero=False)),
        y=alt.Y("L_other:Q", title="loss there [nats/token]", scale=alt.Scale(zero=False)),
        tooltip=tips("run", L=".5f", L_other=".5f"),
    )
    return alt.layer(diagonal(pairs, "L", "L_other"), points, title="Loss of the same runs in two sets of records")


def speed(table: pd.DataFrame) -> alt.LayerChart:
    """Wall time of each run against compute, by N."""
    table = with_labels(table.dropna(subset=["wall_seconds"]))
    return alt.layer(sizes(table).points(alt.Chart(table), chooses=True).encode(
        x=flop_axis(), y=alt.Y(**log_axis("wall_seconds", "wall time of a run [s]")),
        tooltip=tips("model", D=",d", wall_seconds=".1f", tokens_per_second=",d"),
    ), title="Wall time of each run against compute, by model size N")
