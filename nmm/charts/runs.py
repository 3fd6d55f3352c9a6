"""Charts of trained runs. Tables are those of `nmm.runs`, with N [parameters], D [tokens], C [FLOPs], L [nats/token]."""

import altair as alt
import numpy as np
import pandas as pd

from nmm.charts.tables import short

LOSS = "loss [nats/token]"


def sizes(table: pd.DataFrame) -> alt.Color:
    """Colour by model size N, dark for small ones; needs the column `model` of `with_labels`."""
    order = table.drop_duplicates("N").sort_values("N")["model"].tolist()
    return alt.Color("model:O", sort=order, title="N", scale=alt.Scale(domain=order), legend=alt.Legend(orient="top", columns=6))


def with_labels(table: pd.DataFrame) -> pd.DataFrame:
    """The table with `model`, N as a short word for legends."""
    return table.assign(model=table["N"].map(short))


def log_axis(name: str, title: str, **scale: object) -> dict[str, object]:
    """Shorthand of a logarithmic axis with few ticks in powers and their simple multiples."""
    return {"shorthand": f"{name}:Q", "title": title, "scale": alt.Scale(type="log", nice=False, padding=12, **scale),
            "axis": alt.Axis(format="~s", tickCount=5)}


def flop_axis(name: str = "C", title: str = "training compute C [FLOPs]") -> alt.X:
    """A logarithmic axis of compute with powers of ten."""
    return alt.X(f"{name}:Q", title=title, scale=alt.Scale(type="log", nice=False, padding=12), axis=alt.Axis(format=".0e", tickCount=5))


def loss_axis(title: str = LOSS, name: str = "L") -> alt.Y:
    """A logarithmic axis of loss with plain numbers."""
    return alt.Y(f"{name}:Q", title=title, scale=alt.Scale(type="log", nice=False, padding=12), axis=alt.Axis(format=".2~f", tickCount=6))


def grid(table: pd.DataFrame) -> alt.Chart:
    """Where the runs lie in N and D, coloured by loss."""
    return alt.Chart(table).mark_circle(size=170).encode(
        x=alt.X(**log_axis("N", "parameters N")),
        y=alt.Y(**log_axis("D", "training tokens D")),
        color=alt.Color("L:Q", title="L [nats/token]", scale=alt.Scale(reverse=True)),
        tooltip=[alt.Tooltip("N:Q", format=",d"), alt.Tooltip("D:Q", format=",d"), alt.Tooltip("C:Q", format=".2e"), alt.Tooltip("L:Q", format=".3f")],
    )


def training_curves(curves: pd.DataFrame) -> alt.Chart:
    """Training loss against tokens seen, a line a run, coloured by N."""
    table = with_labels(curves)
    return alt.Chart(table).mark_line(strokeWidth=1.4, opacity=0.85).encode(
        x=alt.X(**log_axis("tokens", "tokens seen")),
        y=loss_axis("training loss [nats/token]", "loss"),
        color=sizes(table),
        detail="run:N",
        tooltip=["model", alt.Tooltip("D:Q", format=",d", title="budget D"), alt.Tooltip("tokens:Q", format=",d"), alt.Tooltip("loss:Q", format=".3f")],
    )


def against_compute(table: pd.DataFrame, frontier: pd.DataFrame | None = None, column: str = "L") -> alt.LayerChart:
    """Final loss against compute, a line a model size and seed; `frontier` has columns C and L and is drawn dashed."""
    table = with_labels(table.dropna(subset=[column]).assign(L=lambda rows: rows[column]))
    base = alt.Chart(table).encode(
        x=flop_axis(), y=loss_axis(), color=sizes(table),
        tooltip=["model", alt.Tooltip("D:Q", format=",d"), alt.Tooltip("C:Q", format=".2e"), alt.Tooltip("L:Q", format=".3f")],
    )
    layers = [base.mark_line(strokeWidth=1.2, opacity=0.6).encode(detail="seed:N"), base.mark_point(size=60, filled=True, opacity=1)]
    if frontier is not None:
        layers.append(alt.Chart(frontier).mark_line(strokeDash=[6, 4], color="currentColor", strokeWidth=1.6).encode(x="C:Q", y="L:Q"))
    return alt.layer(*layers)


def by_data_type(table: pd.DataFrame, floors: dict[str, float] | None = None) -> alt.FacetChart | alt.LayerChart:
    """Loss of each data type against compute in one picture: colour is the data type, dashes the entropy floor."""
    long = table.melt(["C", "N", "D"], ["L_caption", "L_interleaved", "L_text"], "kind", "loss")
    long["kind"] = long["kind"].str.removeprefix("L_")
    points = alt.Chart(long).mark_point(filled=True, size=45).encode(
        x=flop_axis(), y=alt.Y("loss:Q", title=LOSS, scale=alt.Scale(zero=True)),
        color=alt.Color("kind:N", title="data type", legend=alt.Legend(orient="top")),
        shape=alt.Shape("kind:N", legend=None),
        tooltip=["kind", alt.Tooltip("N:Q", format=",d"), alt.Tooltip("D:Q", format=",d"), alt.Tooltip("loss:Q", format=".3f")],
    )
    if not floors:
        return alt.layer(points)
    floor = pd.DataFrame({"kind": list(floors), "loss": list(floors.values())})
    rule = alt.Chart(floor).mark_rule(strokeDash=[5, 4], opacity=1).encode(y="loss:Q", color="kind:N")
    return alt.layer(points, rule)


def differences(pairs: pd.DataFrame) -> alt.LayerChart:
    """Two records of each run: `L` against `L_other`, on the diagonal where they agree."""
    low, high = pairs[["L", "L_other"]].to_numpy().min(), pairs[["L", "L_other"]].to_numpy().max()
    line = pd.DataFrame({"L": [low, high], "L_other": [low, high]})
    return alt.layer(
        alt.Chart(line).mark_line(strokeDash=[4, 4], color="currentColor", opacity=0.5).encode(x="L:Q", y="L_other:Q"),
        alt.Chart(pairs).mark_point(filled=True, size=60).encode(
            x=alt.X("L:Q", title="loss here [nats/token]", scale=alt.Scale(zero=False)),
            y=alt.Y("L_other:Q", title="loss there [nats/token]", scale=alt.Scale(zero=False)),
            tooltip=["run", alt.Tooltip("L:Q", format=".5f"), alt.Tooltip("L_other:Q", format=".5f")],
        ),
    )


def speed(table: pd.DataFrame) -> alt.LayerChart:
    """Wall time of each run against compute, coloured by N."""
    table = with_labels(table.dropna(subset=["wall_seconds"]))
    return alt.layer(alt.Chart(table).mark_point(filled=True, size=60).encode(
        x=flop_axis(), color=sizes(table),
        y=alt.Y("wall_seconds:Q", title="wall time of a run [s]", scale=alt.Scale(type="log", nice=False, padding=12), axis=alt.Axis(format="~s", tickCount=5)),
        tooltip=["model", alt.Tooltip("D:Q", format=",d"), alt.Tooltip("wall_seconds:Q", format=".1f"), alt.Tooltip("tokens_per_second:Q", format=",d")],
    ))


def spread(low: float, high: float, points: int = 60, margin: float = 1.3) -> np.ndarray:
    """Points evenly spaced in logs from low / margin to high * margin, (points,)."""
    return np.geomspace(low / margin, high * margin, points)
