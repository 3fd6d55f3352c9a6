"""Charts of what finetuned models answer: accuracy by kind of question, and against the loss that they had before."""

import altair as alt
import numpy as np
import pandas as pd

from nmm.charts.parts import DASH, Series, finite, tips
from nmm.laws.use.ranking import AccuracyLaw

RIGHT = "answers that are right"


def by_sort(table: pd.DataFrame, bars: pd.DataFrame) -> alt.LayerChart:
    """Share of right answers of each kind of question, a bar from low to high with its value, by what was shown; ticks are what is had
    without looking (thin), and by looking elsewhere than asked (thick).

    Args:
        table: columns sort, pairs, value, low and high, shares.
        bars: columns sort, pairs, looks (whether the image is looked at) and value.
    """
    table = finite(table)
    order = list(dict.fromkeys(table["sort"]))
    series = Series.of(table, "pairs")
    x = alt.X("sort:N", title="kind of question", sort=order, axis=alt.Axis(labelAngle=0))
    aside = alt.XOffset("pairs:N", sort=list(series.order))
    base = alt.Chart(table, width=alt.Step(24))
    share = {"title": RIGHT, "scale": alt.Scale(domain=[0, 1]), "axis": alt.Axis(format="%")}

    def ticks(looks: bool) -> alt.Chart:
        mark = alt.Chart(bars[bars["looks"] == looks], width=alt.Step(24)).mark_tick(
            thickness=4 if looks else 1.5, width=18, color="currentColor", opacity=0.7)
        return mark.encode(x, alt.Y("value:Q", **share), xOffset=aside, tooltip=tips("sort", "pairs", value=".1%"))

    return alt.layer(
        series.on(base.mark_rule(strokeWidth=2), chooses=True).encode(x, alt.Y("low:Q", **share), y2="high:Q", xOffset=aside),
        series.points(base, size=80).encode(x, alt.Y("value:Q", **share), xOffset=aside,
                                            tooltip=tips("sort", "pairs", value=".1%", low=".1%", high=".1%")),
        ticks(False), ticks(True),
        title=alt.Title("Right answers by kind of question", subtitle="thin: one word always; thick: looking, but not where asked"),
    )


def against_loss(table: pd.DataFrame, law: AccuracyLaw | None) -> alt.LayerChart:
    """Accuracy after finetuning against the loss before it, a point a run; the line is the law, within the runs.

    Args:
        table: columns arm, size, seed, L_before [nats/token] and accuracy.
        law: fitted to them; None: none is drawn.
    """
    series = Series.of(table, "arm", columns=2)
    x = alt.X("L_before:Q", title="loss before finetuning [nats/token]", scale=alt.Scale(zero=False))
    y = {"title": RIGHT, "scale": alt.Scale(zero=False), "axis": alt.Axis(format="%")}
    layers = [series.points(alt.Chart(table), size=65, chooses=True).encode(
        x, alt.Y("accuracy:Q", **y), tooltip=tips("arm", "size", "seed", L_before=".3f", accuracy=".1%"))]
    if law is not None:
        loss = np.linspace(table["L_before"].min(), table["L_before"].max(), 40)
        line = pd.DataFrame({"L_before": loss, "accuracy": law.accuracy(loss)})
        layers.append(alt.Chart(line).mark_line(color="currentColor", strokeDash=DASH).encode(x, alt.Y("accuracy:Q", **y)))
    return alt.layer(*layers, title="Right answers after finetuning against the loss before")
