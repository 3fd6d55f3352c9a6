"""Charts of long contexts: what a block-sparse query reads, and losses by position and by distance."""

from collections.abc import Mapping, Sequence

import altair as alt
import numpy as np
import pandas as pd

from nmm.charts.parts import DASH, LOSS, Series, as_law, finite, law_line, log_axis, loss_axis, rule, spread, tips
from nmm.laws.use.paired import percent
from nmm.laws.use.positions import PFLOPS_DAY

PLACE = "position in the document [tokens]"
OWN, READ, PASSED = "its own block", "chosen by the gate", "passed over"


def read(mask: np.ndarray, own: np.ndarray) -> alt.LayerChart:
    """Which keys each query of one head reads.

    Args:
        mask: (L, L) booleans, query by key.
        own: (L,) number of each position's block.
    """
    query, key = (indices.reshape(-1) for indices in np.indices(mask.shape))
    table = pd.DataFrame({"query": query, "key": key, "state": np.where(own[query] == own[key], OWN, READ)})[mask.reshape(-1)]
    edges = pd.DataFrame({"at": np.flatnonzero(np.diff(own)) + 1})
    L = len(own)
    domain = list(range(L))
    marks = alt.Axis(values=list(range(0, L, 8)), ticks=False, domain=False)
    squares = alt.Chart(table, width=440, height=440).mark_rect()
    squares = Series("state", [OWN, READ], columns=2).on(squares, chooses=True).encode(
        alt.X("key:O", title="key: is read", scale=alt.Scale(domain=domain), axis=marks),
        alt.Y("query:O", title="query: reads", scale=alt.Scale(domain=domain), axis=marks), tooltip=tips("query", "key", "state"),
    )
    begins = alt.X("at:O", scale=alt.Scale(domain=domain), bandPosition=0)
    lines = alt.Chart(edges).mark_rule(color="currentColor", opacity=0.35).encode(begins)
    return alt.layer(squares, lines, title="What each query of one head reads; a line where a block begins")


def gate(scores: np.ndarray, own: np.ndarray, chosen: np.ndarray) -> alt.LayerChart:
    """The gate of one head: how each query scores the blocks before it, and which it reads.

    Args:
        scores: (L, N) products of a query and a block's mean key.
        own: (L,) number of each query's block.
        chosen: (L, N) booleans.
    """
    query, block = (indices.reshape(-1) for indices in np.indices(scores.shape))
    earlier = block < own[query]
    table = pd.DataFrame({"query": query, "block": block, "score": np.where(earlier, scores.reshape(-1), np.nan),
                          "state": np.where(block == own[query], OWN, np.where(chosen.reshape(-1), READ, PASSED))})
    table = table[block <= own[query]]
    place = {
        "x": alt.X("block:O", title="block of keys"),
        "y": alt.Y("query:O", title="query", axis=alt.Axis(values=list(range(0, len(own), 8))), sort="ascending"),
    }
    base = alt.Chart(table, height=alt.Step(5), width=alt.Step(34))
    scored = base.transform_filter(alt.datum.state != OWN).mark_rect().encode(
        **place, color=alt.Color("score:Q", title="gate", scale=alt.Scale(scheme="viridis")),
        opacity=alt.when(alt.datum.state == READ).then(alt.value(1.0)).otherwise(alt.value(0.3)),
        tooltip=tips("query", "block", "state", score=".2f"),
    )
    mine = base.transform_filter(alt.datum.state == OWN).mark_rect(color="currentColor", opacity=0.5).encode(
        **place, tooltip=tips("query", "block", "state"))
    return alt.layer(mine, scored, title="Gate scores of one head; pale: passed over")


def by_position(table: pd.DataFrame, floor: pd.DataFrame | None = None) -> alt.LayerChart:
    """Loss against the position in the context, a line an arm.

    Args:
        table: columns arm, first, end [tokens] and L, a row an arm and bin.
        floor: columns first, end and L: the lowest possible loss.
    """
    table = table.assign(position=(table["first"] + table["end"]) / 2)
    series = Series.of(table, "arm", columns=2)
    place = {"x": alt.X("position:Q", title=PLACE), "y": alt.Y("L:Q", title=LOSS, scale=alt.Scale(zero=False))}
    shown = tips("arm", "first", "end", L=".3f")
    layers = [series.on(alt.Chart(table).mark_line(strokeWidth=1.6), chooses=True).encode(**place),
              series.points(alt.Chart(table), size=45).encode(**place, tooltip=shown)]
    if floor is not None:
        floor = floor.assign(position=(floor["first"] + floor["end"]) / 2)
        layers.append(alt.Chart(floor).mark_line(strokeDash=DASH, color="currentColor").encode(**place))
    title = "Loss by the position in the document"
    return alt.layer(*layers, title=title if floor is None else f"{title}, and the lowest possible one")


def _middle(octaves: pd.DataFrame) -> pd.Series:
    """The middle of each octave of distances [tokens]; the first one begins at zero."""
    return np.sqrt(np.maximum(octaves["first"], octaves["end"] / 2) * octaves["end"])


def by_distance(table: pd.DataFrame) -> alt.LayerChart:
    """Loss on what was said before against how far back, a line an arm.

    Args:
        table: columns arm, first, end [tokens] and L, a row an arm and octave.
    """
    table = table.assign(distance=_middle(table))
    series = Series.of(table, "arm", columns=2)
    place = {"x": alt.X(**log_axis("distance", "how far back it was said last [tokens]", "~r")),
             "y": alt.Y("L:Q", title=LOSS, scale=alt.Scale(zero=False))}
    return alt.layer(
        series.on(alt.Chart(table).mark_line(strokeWidth=1.6), chooses=True).encode(**place),
        series.points(alt.Chart(table), size=45).encode(**place, tooltip=tips("arm", "first", "end", L=".3f")),
        title="Loss on what was said before, by how far back",
    )


def differences(table: pd.DataFrame, title: str, scale: str = "percent", along: str = PLACE) -> alt.LayerChart:
    """A difference in every bin with its interval; above the rule, the sparse arm is worse.

    Args:
        table: columns bin, first, end [tokens], value, low, high.
        title: of the axis.
        scale: "percent": the values are logarithms of ratios; "plain".
        along: what bins are of: `PLACE`, or else distances, which get a logarithmic axis.
    """
    if scale == "percent":
        table = table.assign(**{name: percent(table[name].to_numpy()) for name in ("value", "low", "high")})
    near = along == PLACE
    table = finite(table).assign(position=(table["first"] + table["end"]) / 2 if near else _middle(table))
    base = alt.Chart(table).encode(alt.X("position:Q", title=PLACE) if near else alt.X(**log_axis("position", along, "~r")))
    return alt.layer(
        rule(y=0), base.mark_rule(strokeWidth=2, color="currentColor").encode(y=alt.Y("low:Q", title=title), y2="high:Q"),
        base.mark_point(filled=True, size=70, color="currentColor", opacity=1).encode(
            y="value:Q", tooltip=tips("bin", value=".3f", low=".3f", high=".3f")),
        title=f"Block-sparse attention less full attention, by {'position' if near else 'distance'}",
    )


def beside_published(
    rows: pd.DataFrame | None, ours: pd.DataFrame | None, published: Mapping[str, tuple[float, float]], names: Sequence[str],
    reach: tuple[float, float],
) -> alt.LayerChart:
    """The published chart with our runs: loss at the last positions against compute, and power laws of two arms, here and there.

    Args:
        rows: our runs: arm, C [FLOPs], L; None: there are none yet, and the published lines stand alone.
        ours: our laws: arm, K and c of L = K C^c in PFLOP/s-days; None likewise.
        published: arm -> K and c.
        names: arms in the order of the palette.
        reach: of the published chart [PFLOP/s-days].
    """
    points = pd.DataFrame(columns=["days", "L", "arm"]) if rows is None else rows.assign(days=rows["C"] / PFLOPS_DAY)
    within = (points["days"].min(), points["days"].max()) if len(points) else reach
    laws = {} if ours is None else {(arm, "ours", within): tuple(one) for arm, *one in ours[["arm", "K", "c"]].itertuples(index=False)}
    laws |= {(arm, "published", reach): law for arm, law in published.items()}
    lines = pd.concat([
        pd.DataFrame({"days": at, "L": K * at**c, "arm": arm, "law": f"{arm}, {whose}", "inside": (at >= ends[0]) & (at <= ends[1])})
        for (arm, whose, ends), (K, c) in laws.items() for at in [spread(*ends, margin=10)]
    ], ignore_index=True)
    lines = law_line(lines, lines["inside"].to_numpy(), by=["law"])
    compute = alt.X(**log_axis("days", "training compute C [PFLOP/s-days]", ".0e"))
    series = Series("arm", list(names))
    layers = [series.on(as_law(alt.Chart(lines)), chooses=True).encode(x=compute, y=loss_axis(), tooltip=tips("law", days=".2e", L=".3f"))]
    if len(points):
        layers.append(series.points(alt.Chart(points), size=40).encode(
            x=compute, y=loss_axis(), tooltip=tips("arm", days=".2e", L=".3f")))
    title = "Loss at the last positions against compute: "
    return alt.layer(*layers, title=title + ("our runs, and the published lines" if len(points) else "the published lines"))
