"""Charts of the audit: printed numbers beside what gives them."""

import altair as alt
import numpy as np
import pandas as pd

from nmm.charts.parts import DASH, Series, log_axis, tips
from nmm.charts.theme import CATEGORY, GREY

VERDICTS = ("closed form", "neither", "procedure")  # in the order of the palette: blue, vermillion, green


def judged(table: pd.DataFrame) -> alt.FacetChart:
    """Printed exponents of each row against the closed form, with the procedure's range; a panel a quantity.

    Args:
        table: columns row, where, quantity, printed, closed, `procedure low`, `procedure high` and verdict, as of `audit`.
    """
    table = table.rename(columns={"procedure low": "low", "procedure high": "high"})
    for name in ("printed", "low", "high"):
        table[f"{name} gap"] = 100 * (table[name] / table["closed"] - 1)
    y = alt.Y("row:N", sort=None, title=None)
    base = alt.Chart(table)
    layers = alt.layer(
        base.mark_bar(height=7, opacity=0.25, color=GREY).encode(
            x=alt.X("low gap:Q", title="beside the closed form [%]", axis=alt.Axis(tickCount=4)), x2="high gap:Q", y=y),
        base.mark_rule(opacity=0.4).encode(x=alt.datum(0)),
        Series("verdict", VERDICTS, columns=3).points(base, size=80, chooses=True).encode(
            x="printed gap:Q", y=y, tooltip=tips("row", "where", "quantity", "printed", "verdict", closed=".4f", low=".4f", high=".4f")),
    )  # fmt: skip
    return layers.properties(width=150, height=alt.Step(20)).facet(
        facet=alt.Facet("quantity:N", sort=None, title=None), columns=3, title="Printed exponents of Tables 2 and 3 beside the closed form"
    )


def ceiling(table: pd.DataFrame, printed: float, closed: float, at: float) -> alt.LayerChart:
    """An exponent found by searching the tokens up to a ceiling.

    Args:
        table: columns ceiling [tokens] and a.
        printed: the published exponent; closed: the closed form's; at: the paper's ceiling [tokens].
    """
    levels = pd.DataFrame({"y": [printed, closed], "words": [f"printed: {printed:g}", f"closed form: {closed:.3f}"]})
    x = alt.X(**log_axis("ceiling", "largest D that is searched [tokens]"))
    y = alt.Y("a:Q", title="a in N* ~ C^a", scale=alt.Scale(zero=False))
    far = float(table["ceiling"].max())
    return alt.layer(
        alt.Chart(table).mark_line().encode(x=x, y=y, tooltip=tips(ceiling=".3s", a=".4f")),
        alt.Chart(levels).mark_rule(strokeDash=DASH).encode(y="y:Q"),
        alt.Chart(levels.assign(x=far)).mark_text(align="right", dy=-7).encode(x="x:Q", y="y:Q", text="words:N"),
        alt.Chart(pd.DataFrame({"x": [at]})).mark_rule(color=CATEGORY[1], opacity=1).encode(x="x:Q"),
        alt.Chart(pd.DataFrame({"x": [at], "words": ["the paper's"]})).mark_text(align="left", dx=5).encode(
            x="x:Q", y=alt.value(12), text="words:N"),
        title="The sparse exponent a against the ceiling of the search",
    )  # fmt: skip


def assumed(table: pd.DataFrame, printed: dict[str, float], plausible: tuple[float, float]) -> alt.FacetChart:
    """What the procedure gives for every split that a row leaves open, a panel an exponent.

    Args:
        table: columns ratio (the assumed D*/N*), quantity, low and high over the settings of the search.
        printed: quantity -> the published value.
        plausible: ends of the ratios at which the row's own runs could hold the optimum.
    """
    once = ~table["quantity"].duplicated()      # a rule and a shade a panel: one a row would add up to another opacity
    table = table.assign(printed=table["quantity"].map(printed).where(once), left=np.where(once, plausible[0], np.nan),
                         right=np.where(once, plausible[1], np.nan))
    x = alt.X(**log_axis("ratio", "assumed D*/N* at 1e21 FLOPs"))
    base = alt.Chart(table)
    layers = alt.layer(
        base.mark_rect(color=GREY, opacity=0.3).encode(x="left:Q", x2="right:Q"),
        base.mark_area(color=CATEGORY[0], opacity=0.45).encode(
            x=x, y=alt.Y("low:Q", title=None, scale=alt.Scale(zero=False)), y2="high:Q",
            tooltip=tips(ratio=".3g", low=".3f", high=".3f")),
        base.mark_rule(color=CATEGORY[1], strokeWidth=2, opacity=1).encode(y="printed:Q"),
    )  # fmt: skip
    return layers.properties(width=235, height=220).facet(
        facet=alt.Facet("quantity:N", sort=None, title=None), columns=2, title="Late fusion: what the search gives for each assumed D*/N*"
    ).resolve_scale(y="independent")
