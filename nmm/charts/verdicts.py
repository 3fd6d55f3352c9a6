"""The claims at a glance: a square each, coloured by its verdict."""

import altair as alt
import pandas as pd

from nmm.charts.parts import FADED
from nmm.charts.theme import WIDTH
from nmm.claims import CONFIRMED, REFUTED, UNRESOLVED, UNTESTED

COLUMNS = 7         # squares in a row: they stay large enough for a finger on a phone
COLOURS = {CONFIRMED: "#00785a", REFUTED: "#b34700", UNRESOLVED: "#0072b2", UNTESTED: "#6b6f76"}   # all take white words, on either page


def grid(table: pd.DataFrame) -> alt.LayerChart:
    """Numbered squares, row by row.

    Args:
        table: a row a claim: number, claim (in words), verdict.
    """
    place = table.sort_values("number").reset_index(drop=True)
    place = place.assign(column=place.index % COLUMNS, row=place.index // COLUMNS)
    known = [name for name in COLOURS if name in set(place["verdict"])]
    scale = alt.Scale(domain=known, range=[COLOURS[name] for name in known])
    base = alt.Chart(place, width=WIDTH, height=alt.Step(46)).encode(
        alt.X("column:O", axis=None), alt.Y("row:O", axis=None), tooltip=["number", "claim", "verdict"],
    )
    choice = alt.selection_point("choice_of_verdict", fields=["verdict"], bind="legend", toggle="true")
    squares = base.mark_rect(stroke="white", strokeOpacity=0.4, strokeWidth=2).add_params(choice).encode(
        opacity=alt.when(choice).then(alt.value(1.0)).otherwise(alt.value(FADED)),
        color=alt.Color("verdict:N", scale=scale, title=None, sort=known, legend=alt.Legend(symbolType="square")))
    numbers = base.mark_text(color="white", fontWeight=600).encode(text="number:Q")
    return alt.layer(squares, numbers, title="Verdicts by claim")
