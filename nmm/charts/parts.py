"""What charts are put together from: axes, rules, series with a legend that selects, laws that end where their runs do."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import altair as alt
import numpy as np
import pandas as pd

LOSS = "loss [nats/token]"
WITHIN, BEYOND = "within its runs", "beyond its runs"
FADED = 0.12            # opacity of what the reader has not chosen
DASH = [5, 4]


def log_axis(name: str, title: str, ticks: str = "~s", **scale: object) -> dict[str, object]:
    """Arguments of a logarithmic axis with few ticks in powers and their simple multiples.

    Args:
        name: the column; title: with its unit.
        ticks: the format of its numbers.
    """
    billions = {"labelExpr": "replace(datum.label, 'G', 'B')"} if ticks.endswith("s") else {}
    return {"shorthand": f"{name}:Q", "title": title, "scale": alt.Scale(type="log", nice=False, padding=12, **scale),
            "axis": alt.Axis(format=ticks, tickCount=5, **billions)}


def flop_axis(name: str = "C", title: str = "training compute C [FLOPs]") -> alt.X:
    """A logarithmic axis of compute with powers of ten."""
    return alt.X(**log_axis(name, title, ".0e"))


def loss_axis(title: str = LOSS, name: str = "L") -> alt.Y:
    """A logarithmic axis of loss with plain numbers."""
    return alt.Y(**log_axis(name, title, ".2~f"))


def tips(*columns: str, **formats: str) -> list[alt.Tooltip | str]:
    """What the pointer shows: plain columns, then columns with the format of their numbers."""
    return [*columns, *(alt.Tooltip(f"{name}:Q", format=form) for name, form in formats.items())]


def rule(dash: Sequence[int] = (), **at: float) -> alt.Chart:
    """A line across the whole chart at `x` or `y`, to hold the rest against."""
    return alt.Chart().mark_rule(strokeDash=list(dash)).encode(**{axis: alt.datum(value) for axis, value in at.items()})


def diagonal(table: pd.DataFrame, x: str, y: str) -> alt.Chart:
    """The line on which two columns of the table are equal, over their common range."""
    ends = [table[[x, y]].to_numpy().min(), table[[x, y]].to_numpy().max()]
    line = alt.Chart(pd.DataFrame({x: ends, y: ends})).mark_line(strokeDash=DASH, color="currentColor", opacity=0.5)
    return line.encode(x=f"{x}:Q", y=f"{y}:Q")


@dataclass(frozen=True)
class Series:
    """A column whose values are told apart by colour and marker; a press on the legend chooses among them.

    Each press adds a series to the choice or takes it out; with none chosen all are shown. No key is needed, so it works
    on a phone as well.
    """

    column: str
    order: Sequence[str]                    # of the legend and the palette
    title: str | None = None
    columns: int = 0                        # of the legend; 0: all in one line
    ordered: bool = False                   # values of one quantity: colours of a ramp, not of the palette
    shown: Sequence[str] | None = None      # what the legend lists, if not all that the palette holds
    choice: alt.Parameter = field(init=False)

    def __post_init__(self) -> None:
        # charts side by side that name the same choice share it
        name = "choice_of_" + re.sub(r"\W", "_", self.column)
        chosen = alt.selection_point(name, fields=[self.column], bind="legend", toggle="true")
        object.__setattr__(self, "choice", chosen)

    @classmethod
    def of(cls, table: pd.DataFrame, column: str, title: str | None = None, columns: int = 0) -> "Series":
        """The values of a column in the order in which they come."""
        return cls(column, table[column].drop_duplicates().tolist(), title, columns)

    def on(self, chart: alt.Chart, opacity: float = 1.0, marker: bool = False, chooses: bool = False) -> alt.Chart:
        """The chart with its marks in the colours of the series, faded where another one is chosen.

        Args:
            opacity: of what is chosen.
            marker: with a marker a series as well; for points.
            chooses: true for the first layer of a chart that has the series: Vega-Lite binds the legend there or nowhere.
        """
        scale = alt.Scale(domain=list(self.order))
        legend = alt.Legend(columns=self.columns, symbolOpacity=1.0, **({"values": list(self.shown)} if self.shown else {}))
        same = {
            "shorthand": f"{self.column}:{'O' if self.ordered else 'N'}", "title": self.title, "sort": list(self.order),
            "scale": scale, "legend": legend,
        }
        look = {"color": alt.Color(**same)} | ({"shape": alt.Shape(**same)} if marker else {})
        faded = alt.when(self.choice).then(alt.value(opacity)).otherwise(alt.value(FADED))
        return (chart.add_params(self.choice) if chooses else chart).encode(opacity=faded, **look)

    def points(self, chart: alt.Chart, size: int = 60, opacity: float = 1.0, chooses: bool = False) -> alt.Chart:
        """A marker a row."""
        return self.on(chart.mark_point(filled=True, size=size), opacity, marker=not self.ordered, chooses=chooses)


def law_line(table: pd.DataFrame, inside: np.ndarray, by: Sequence[str] = ()) -> pd.DataFrame:
    """The rows of a law's line, cut where it leaves the range of the runs that it was fitted to.

    Args:
        table: the line's points in the order in which they are drawn; those of several lines may alternate.
        inside: (rows,) booleans, whether a point lies within the runs.
        by: columns that tell several lines apart.
    Returns:
        The table with `range` (`WITHIN` or `BEYOND`) and `piece`, the number of the uncut part; a part beyond the runs
        starts at the last point within them, so that the line has no gap.
    """
    rows = table.assign(range=np.where(inside, WITHIN, BEYOND))
    number = rows.groupby(list(by), sort=False).ngroup().to_numpy() if by else np.zeros(len(rows))
    order = np.argsort(number, kind="stable")
    rows, line = rows.iloc[order].reset_index(drop=True), pd.Series(number[order])
    cut = (rows["range"] != rows["range"].shift()) | (line != line.shift())
    rows["piece"] = cut.cumsum()
    joints = []
    for place in np.flatnonzero(cut & (line == line.shift())):
        before, after = rows.iloc[[place - 1]], rows.iloc[[place]]
        kept, other, at = (before, after, place - 0.5) if before["range"].item() == WITHIN else (after, before, place - 0.5)
        joints.append(kept.assign(range=BEYOND, piece=other["piece"].item()).set_axis([at]))
    return pd.concat([rows, *joints]).sort_index(kind="stable").reset_index(drop=True)


def as_law(chart: alt.Chart, width: float = 2.0) -> alt.Chart:
    """A chart of the rows of `law_line` as lines, solid within the runs, dashed and lighter beyond, with a legend that says so."""
    return chart.mark_line(strokeWidth=width).encode(
        detail="piece:N",
        strokeDash=alt.StrokeDash("range:N", title=None, scale=alt.Scale(domain=[WITHIN, BEYOND], range=[[1, 0], [2, 4]]),
                                  legend=alt.Legend(symbolType="stroke", symbolStrokeWidth=2)),
        strokeOpacity=alt.when(alt.datum.range == WITHIN).then(alt.value(1.0)).otherwise(alt.value(0.65)),
    )


def finite(table: pd.DataFrame) -> pd.DataFrame:
    """A table of intervals (value, low, high) with ends that are infinite as missing, so that they are not drawn."""
    return table.assign(**{name: table[name].where(np.isfinite(table[name])) for name in ("value", "low", "high")})


def spread(low: float, high: float, points: int = 60, margin: float = 1.3) -> np.ndarray:
    """Points evenly spaced in logs from low / margin to high * margin, with the two ends of the range among them, (points + 2,)."""
    return np.unique(np.concatenate([np.geomspace(low / margin, high * margin, points), [low, high]]))
