"""Charts of shares of images: losses against rho at a size that a slider chooses, the best share against size, and what is written."""

from collections.abc import Mapping, Sequence

import altair as alt
import numpy as np
import pandas as pd

from nmm.charts.parts import DASH, Series, finite, log_axis, rule, tips
from nmm.charts.tables import short
from nmm.laws.use.mixing import OWN_SHARE, RHO, Shares

RHO_AXIS = "share of image tokens rho"
TEXT, IMAGE, TOTAL = "text", "images", "total"


def curves(shares: Shares, sizes: Sequence[float], weight: float | None = OWN_SHARE) -> pd.DataFrame:
    """Both losses and their weighted total over rho at some sizes, as `against_share` draws them.

    Args:
        sizes: N of each step of the slider [parameters].
        weight: of the images in the total; `OWN_SHARE`: rho.
    Returns:
        Columns step, N, rho, what, loss [nats/token] and best, the share at which the total is lowest.
    """
    rows = []
    for step, N in enumerate(sizes):
        text, image = shares.losses("text", N), shares.losses("image", N)
        w = RHO if weight is None else weight
        best = shares.best(N, weight).value
        for what, loss in ((TEXT, text), (IMAGE, image), (TOTAL, (1 - w) * text + w * image)):
            rows.append(pd.DataFrame({"step": step, "N": N, "rho": RHO, "what": what, "loss": loss, "best": best})[::5])
    return pd.concat(rows, ignore_index=True)


def against_share(lines: pd.DataFrame, points: pd.DataFrame) -> alt.LayerChart:
    """Text's, images' and the total's loss against rho, at the size that the slider shows; the best share of the total is marked.

    Args:
        lines: rows of `curves`.
        points: measured losses, columns step, N, rho, what, loss.
    """
    last = int(lines["step"].max())
    step = alt.param(name="step", value=last, bind=alt.binding_range(min=0, max=last, step=1, name="size, from small to large"))
    chosen = alt.datum.step == step
    series = Series(column="what", order=[TEXT, IMAGE, TOTAL])
    place = {"x": alt.X("rho:Q", title=RHO_AXIS, scale=alt.Scale(domain=[0, 1])),
             "y": alt.Y("loss:Q", title="loss [nats/token]", scale=alt.Scale(zero=False))}
    shown = tips("what", N=",d", rho=".2f", loss=".3f")
    best = lines.groupby("step", as_index=False)[["N", "best"]].first()
    marked = alt.Chart(best).transform_filter(chosen).mark_rule(strokeDash=DASH, color="currentColor", strokeWidth=1.6).encode(
        alt.X("best:Q"), tooltip=tips(N=",d", best=".2f"))
    return alt.layer(
        series.on(alt.Chart(lines).mark_line(strokeWidth=1.8), chooses=True).transform_filter(chosen).encode(**place, tooltip=shown),
        series.points(alt.Chart(points), size=55).transform_filter(chosen).encode(**place, tooltip=shown),
        marked, title="Losses against the share of images, at one size",
    ).add_params(step)


def changes(table: pd.DataFrame) -> alt.LayerChart:
    """By how much images change a loss, against their share, with intervals.

    Args:
        table: columns what, rho, value, low and high [%]; above zero the loss is higher.
    """
    marks = _with_intervals(table, "what", alt.X("rho:Q", title=RHO_AXIS), {"title": "change of the loss on text [%]"},
                            tips("what", rho=".2f", value="+.2f", low="+.2f", high="+.2f"))
    return alt.layer(rule(DASH, y=0), *marks, title="What images change in the loss on text")


def best_shares(table: pd.DataFrame) -> alt.LayerChart:
    """The best share of images against size, with intervals.

    Args:
        table: columns source, N, value, low and high.
    """
    marks = _with_intervals(
        table, "source", alt.X(**log_axis("N", "parameters N")), {"title": "best share of image tokens", "scale": alt.Scale(domain=[0, 1])},
        tips("source", N=",d", value=".2f", low=".2f", high=".2f"),
    )
    return alt.layer(*marks, title="The best share of images against the size of the model")


def _with_intervals(
    table: pd.DataFrame, column: str, x: alt.X, y: Mapping[str, object], shown: list[alt.Tooltip | str],
) -> tuple[alt.Chart, alt.Chart]:
    """Bars from low to high where both ends are known, and a point at each value; series by a column."""
    table = finite(table)
    series = Series.of(table, column, columns=1)
    bars = series.on(alt.Chart(table.dropna(subset=["low", "high"])).mark_rule(strokeWidth=1.6), chooses=True)
    dots = series.points(alt.Chart(table), size=65)
    return bars.encode(x, alt.Y("low:Q", **y), y2="high:Q"), dots.encode(x, alt.Y("value:Q", **y), tooltip=shown)


def lesson(values: Mapping[float, float]) -> pd.DataFrame:
    """Published shares, without intervals, for `best_shares`: N -> share."""
    return pd.DataFrame({"source": "the lesson", "N": list(values), "value": list(values.values()), "low": np.nan, "high": np.nan})


def written(table: pd.DataFrame) -> alt.LayerChart:
    """How much is right of what models write against their size, a point a run, for the way of asking that a menu chooses.

    Args:
        table: columns way, trait, budget [tokens], N, mixture, seed and right, between 0 and 1; lines join the means of runs.
    """
    table = table.assign(tokens=[f"{short(budget)} tokens" for budget in table["budget"]])
    ways = table["way"].drop_duplicates().tolist()
    way = alt.param(name="way", value=ways[0], bind=alt.binding_select(options=ways, name="asked for: "))
    chosen = alt.datum.way == way
    budgets = table.sort_values("budget")["tokens"].drop_duplicates().tolist()
    dashes = alt.StrokeDash(
        "tokens:N", title=None, sort=budgets, scale=alt.Scale(domain=budgets, range=[*([2, 3] for _ in budgets[:-1]), [1, 0]]),
        legend=alt.Legend(symbolType="stroke", symbolStrokeWidth=2),
    )
    series = Series.of(table, "trait", columns=3)
    x = alt.X(**log_axis("N", "parameters N"))
    up = {"title": "share that is right", "scale": alt.Scale(domain=[0, 1]), "axis": alt.Axis(format="%")}
    lines = series.on(alt.Chart(table).mark_line(strokeWidth=1.8), chooses=True).transform_filter(chosen).encode(
        x=x, y=alt.Y("mean(right):Q", **up), strokeDash=dashes)
    dots = series.points(alt.Chart(table), size=30).transform_filter(chosen).encode(
        x=x, y=alt.Y("right:Q", **up), tooltip=tips("way", "trait", "tokens", "mixture", "seed", N=",d", right=".0%"))
    return alt.layer(lines, dots, title="How much is right of what models write").add_params(way)
