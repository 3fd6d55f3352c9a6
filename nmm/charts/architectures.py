"""Charts that set architectures side by side. Tables are those of `nmm.runs.by_arm`, and of `nmm.laws.use.paired`."""

import altair as alt
import pandas as pd

from nmm.charts.parts import LOSS, Series, finite, flop_axis, loss_axis, rule, tips
from nmm.laws.use.paired import percent


def losses(table: pd.DataFrame, column: str = "L", title: str = LOSS) -> alt.LayerChart:
    """A loss against compute, a point a run and a line through the seeds' mean of each arm and size.

    Args:
        table: runs with arm, size, seed, budget, C [FLOPs], and the loss.
        column, title: the loss.
    """
    series = Series.of(table, "arm", columns=2)
    means = table.groupby(["arm", "size", "budget"], as_index=False, sort=False)[["C", column]].mean()
    place = {"x": flop_axis(), "y": loss_axis(title, column)}
    layers = [
        series.on(alt.Chart(means).mark_line(strokeWidth=1.4), chooses=True).encode(**place, detail=["arm:N", "size:N"]),
        series.points(alt.Chart(table), size=45, opacity=0.8).encode(
            **place, tooltip=tips("arm", "size", "seed", budget=",d", C=".2e", **{column: ".3f"})),
    ]
    return alt.layer(*layers, title=f"{_subject(title)} against compute, by architecture")


def differences(cells: pd.DataFrame, title: str) -> alt.LayerChart:
    """Differences at equal compute with their intervals, a colour a size; above the rule, the arm is worse.

    Args:
        cells: of `nmm.laws.use.paired.by_cell`: size, C [FLOPs], value, low, high [log units], seeds, verdict.
        title: of the axis, with the arms' names.
    """
    table = _in_percent(cells)
    series = Series.of(cells, "size", columns=9)
    base = alt.Chart(table).encode(x=flop_axis())
    return alt.layer(
        rule(y=0),
        series.on(base.mark_rule(strokeWidth=2), opacity=0.8, chooses=True).encode(y=alt.Y("low:Q", title=title), y2="high:Q"),
        series.points(base, size=80).encode(
            y="value:Q", tooltip=[*tips("size", C=".2e", value=".2f", low=".2f", high=".2f"), "seeds", "verdict"]),
        title=f"Difference of {_subject(title, capital=False)} at equal compute, by size",
    )


def intervals(table: pd.DataFrame, title: str, colours: list[str]) -> alt.LayerChart:
    """Differences with intervals, a row a data type and a colour an arm.

    Args:
        table: of `nmm.laws.use.paired.compare`: comparison, kind, value, low, high; ends that are infinite are not drawn.
        title: of the axis, with the unit.
        colours: all arms (or comparisons) in the order of the palette, so that an arm has one colour in all charts.
    """
    order, kinds = table["comparison"].drop_duplicates().tolist(), table["kind"].drop_duplicates().tolist()
    palette = [next((name for name in order if name.startswith(arm)), arm) for arm in colours]
    series = Series("comparison", palette, columns=1, shown=order)
    base = alt.Chart(finite(table)).encode(y=alt.Y("kind:N", sort=kinds, title=None), yOffset=alt.YOffset("comparison:N", sort=order))
    return alt.layer(
        rule(x=0),
        series.on(base.mark_rule(strokeWidth=2), opacity=0.9, chooses=True).encode(x=alt.X("low:Q", title=title), x2="high:Q"),
        series.points(base, size=80).encode(
            x="value:Q", tooltip=[*tips("comparison", "kind", value=".2f", low=".2f", high=".2f"), "verdict"]),
        title=f"{_subject(title)}, by data type",
    ).properties(height=alt.Step(18))


def tuning(table: pd.DataFrame) -> alt.FacetChart:
    """Loss against the peak learning rate, a panel an arm and a line a size.

    Args:
        table: runs with arm, size, N, lr and L.
    """
    arms = table["arm"].drop_duplicates().tolist()
    means = table.groupby(["arm", "size", "lr"], as_index=False)["L"].mean()
    series = Series("size", table.sort_values("N")["size"].drop_duplicates().tolist(), "size", columns=6)
    x = alt.X(
        "lr:Q", title="peak learning rate", scale=alt.Scale(type="log", nice=False, padding=14),
        axis=alt.Axis(values=sorted(table["lr"].unique()), format="~g"),
    )
    base = alt.Chart().encode(x=x, y=alt.Y("L:Q", title=LOSS, scale=alt.Scale(zero=False)), tooltip=tips("arm", "size", lr="~g", L=".3f"))
    layers = alt.layer(series.on(base.mark_line(strokeWidth=1.4), chooses=True), series.points(base), data=means)
    return layers.properties(width=230, height=170).facet(
        facet=alt.Facet("arm:N", sort=arms, title=None), columns=2, title="Loss against the learning rate, by architecture and size")


def _in_percent(cells: pd.DataFrame) -> pd.DataFrame:
    return finite(cells.assign(**{name: percent(cells[name].to_numpy()) for name in ("value", "low", "high")}))


def _subject(title: str, capital: bool = True) -> str:
    """An axis' title without its unit."""
    words = title.partition(" [")[0]
    return words[:1].upper() + words[1:] if capital else words
