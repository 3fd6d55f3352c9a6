"""Charts that set architectures side by side. Tables are those of `nmm.runs.by_arm`, and of `nmm.laws.use.paired`."""

import altair as alt
import numpy as np
import pandas as pd

from nmm.charts.runs import LOSS, flop_axis, loss_axis
from nmm.laws.use.paired import percent


def _arms(table: pd.DataFrame) -> dict[str, object]:
    """Colour and shape by arm, in the order in which the arms come; one legend for both."""
    order = table["arm"].drop_duplicates().tolist()
    scale = alt.Scale(domain=order)
    return {"color": alt.Color("arm:N", title=None, scale=scale, legend=alt.Legend(orient="top", columns=2, labelLimit=240)),
            "shape": alt.Shape("arm:N", title=None, scale=scale)}


def losses(table: pd.DataFrame, column: str = "L", title: str = LOSS, marks: dict[str, float] | None = None) -> alt.LayerChart:
    """A loss against compute, a point a run and a line through the seeds' mean of each arm and size.

    Args:
        table: runs with arm, size, seed, budget, C [FLOPs], and the loss.
        column, title: the loss.
        marks: words -> a loss to hold the runs against, drawn as a dashed line.
    """
    encode = _arms(table)
    means = table.groupby(["arm", "size", "budget"], as_index=False, sort=False)[["C", column]].mean()
    x, y = flop_axis(), loss_axis(title, column)
    layers = [
        alt.Chart(means).mark_line(strokeWidth=1.4).encode(x=x, y=y, color=encode["color"], detail="size:N"),
        alt.Chart(table).mark_point(filled=True, size=45, opacity=0.8).encode(
            x=x, y=y, **encode,
            tooltip=["arm", "size", "seed", alt.Tooltip("budget:Q", format=",d"), alt.Tooltip("C:Q", format=".2e"), alt.Tooltip(f"{column}:Q", format=".3f")]),
    ]
    if marks:
        lines = pd.DataFrame({"words": list(marks), "at": list(marks.values()), "C": table["C"].min()})
        layers += [
            alt.Chart(lines).mark_rule(strokeDash=[5, 4], opacity=0.9).encode(y="at:Q"),
            alt.Chart(lines).mark_text(align="left", baseline="bottom", dy=-3, opacity=0.85).encode(x="C:Q", y="at:Q", text="words:N"),
        ]
    return alt.layer(*layers)


def differences(cells: pd.DataFrame, title: str) -> alt.LayerChart:
    """Differences at equal compute with their intervals, a colour a size; above the rule, the arm is worse.

    Args:
        cells: of `nmm.laws.use.paired.by_cell`: size, C [FLOPs], value, low, high [log units], seeds, verdict.
        title: of the axis, with the arms' names.
    """
    ends = ("value", "low", "high")
    table = cells.assign(**{name: percent(cells[name].to_numpy()) for name in ends}).replace([np.inf, -np.inf], np.nan)
    order = cells["size"].drop_duplicates().tolist()
    colour = alt.Color("size:N", sort=order, title=None, scale=alt.Scale(domain=order), legend=alt.Legend(orient="top"))
    base = alt.Chart(table).encode(x=flop_axis(), color=colour)
    tooltip = ["size", alt.Tooltip("C:Q", format=".2e"), *(alt.Tooltip(f"{name}:Q", format=".2f") for name in ends), "seeds", "verdict"]
    return alt.layer(
        alt.Chart(pd.DataFrame({"y": [0.0]})).mark_rule().encode(y="y:Q"),
        base.mark_rule(strokeWidth=2, opacity=0.8).encode(y=alt.Y("low:Q", title=title), y2="high:Q"),
        base.mark_point(filled=True, size=80, opacity=1).encode(
            y="value:Q", shape=alt.Shape("size:N", sort=order, title=None, scale=alt.Scale(domain=order)), tooltip=tooltip),
    )


def intervals(table: pd.DataFrame, title: str, colours: list[str]) -> alt.LayerChart:
    """Differences with intervals, a row a data type and a colour an arm.

    Args:
        table: of `nmm.laws.use.paired.compare`: comparison, kind, value, low, high; ends that are infinite are not drawn.
        title: of the axis, with the unit.
        colours: all arms (or comparisons) in the order of the palette, so that an arm has one colour in all charts.
    """
    order, kinds = table["comparison"].drop_duplicates().tolist(), table["kind"].drop_duplicates().tolist()
    table = table.replace([np.inf, -np.inf], np.nan)
    scale = alt.Scale(domain=[next((name for name in order if name.startswith(arm)), arm) for arm in colours])
    y = {"y": alt.Y("kind:N", sort=kinds, title=None), "yOffset": alt.YOffset("comparison:N", sort=order)}
    legend = alt.Legend(orient="top", columns=1, labelLimit=340, values=order)
    base = alt.Chart(table).encode(**y, color=alt.Color("comparison:N", title=None, scale=scale, legend=legend))
    return alt.layer(
        alt.Chart(pd.DataFrame({"x": [0.0]})).mark_rule().encode(x="x:Q"),
        base.mark_rule(strokeWidth=2, opacity=0.9).encode(x=alt.X("low:Q", title=title), x2="high:Q"),
        base.mark_point(filled=True, size=80, opacity=1).encode(
            x="value:Q", shape=alt.Shape("comparison:N", title=None, scale=scale, legend=legend),
            tooltip=["comparison", "kind", *(alt.Tooltip(f"{name}:Q", format=".2f") for name in ("value", "low", "high")), "verdict"]),
    ).properties(height=alt.Step(18))


def tuning(table: pd.DataFrame) -> alt.FacetChart:
    """Loss against the peak learning rate, a panel an arm, a line a scale of the encoder's or the experts' rate.

    Args:
        table: runs with arm, lr, L and `scale` (1 where an arm has none).
    """
    arms, scales = table["arm"].drop_duplicates().tolist(), sorted(table["scale"].unique())
    means = table.groupby(["arm", "lr", "scale"], as_index=False)["L"].mean()
    colour = alt.Color("scale:O", title="rate of encoder or experts", scale=alt.Scale(domain=scales), legend=alt.Legend(orient="top"))
    x = alt.X("lr:Q", title="peak learning rate at d = 32", scale=alt.Scale(type="log", nice=False, padding=14), axis=alt.Axis(values=sorted(table["lr"].unique()), format="~g"))
    y = alt.Y("L:Q", title=LOSS, scale=alt.Scale(zero=False))
    return alt.layer(
        alt.Chart().mark_line(strokeWidth=1.4).encode(x=x, y=y, color=colour),
        alt.Chart().mark_point(filled=True, size=60, opacity=1).encode(
            x=x, y=y, color=colour, tooltip=["arm", alt.Tooltip("lr:Q"), "scale:O", alt.Tooltip("L:Q", format=".3f")]),
        data=means,
    ).properties(width=230, height=170).facet(facet=alt.Facet("arm:N", sort=arms, title=None), columns=2)
