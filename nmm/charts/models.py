"""Pictures of the models: parameters and FLOPs by group, the attention mask, rotary positions."""

from collections.abc import Mapping, Sequence

import altair as alt
import numpy as np
import pandas as pd

from nmm.architectures import ModelConfig
from nmm.charts.parts import DASH, Series, log_axis, rule, tips
from nmm.charts.tables import short
from nmm.config.flops import train_flops
from nmm.data.generated import world as generated
from nmm.studies import Study

NO, YES, AHEAD = "may not attend", "may attend", "sees ahead, inside its image"


def of_study(study: Study) -> dict[str, ModelConfig]:
    """The models of a study on the generated corpus, the smallest first, by the study's name and their size."""
    vocabulary = len(generated.World().vocabulary)
    models = [study.model(width, vocab_size=vocabulary, patch_dim=generated.PATCH_DIM) for width in study.widths]
    return {f"{study.name} {short(model.counts.N)}": model for model in models}


def stacked(table: pd.DataFrame, x_title: str, colour_title: str, at: float = 1.0, axis_format: str = ".0%") -> alt.LayerChart:
    """Horizontal bars of parts that add up, one bar a model, with a rule where the whole is 1.

    Args:
        table: columns `model` (the label, in the order to draw), `part` and `share`; `amount` is shown on hover.
        x_title, colour_title: titles, with units.
        at: where the rule stands.
        axis_format: of the shares.
    """
    models, parts = table["model"].drop_duplicates().tolist(), table["part"].drop_duplicates().tolist()
    table = table.assign(order=table["part"].map(parts.index))
    bars = Series("part", parts, colour_title, columns=2).on(alt.Chart(table).mark_bar(height={"band": 0.74}), chooses=True).encode(
        alt.X("share:Q", title=x_title, stack="zero", axis=alt.Axis(format=axis_format)),
        alt.Y("model:N", sort=models, title=None, axis=alt.Axis(labelLimit=175)),
        alt.Order("order:Q"),
        tooltip=tips("model", "part", share=".2%", amount=".3s"),
    )
    return alt.layer(bars, rule(DASH, x=at), title=f"{x_title[:1].upper()}{x_title[1:]}").properties(height=26 * len(models))


def mask(allowed: np.ndarray, labels: Sequence[str], step: int = 15) -> alt.Chart:
    """Which position may attend to which, as squares: a row looks at the columns that are filled.

    Args:
        allowed: (L, L) booleans, query by key.
        labels: L names of the positions.
        step: side of a square [px].
    Raises:
        ValueError: the sizes do not agree.
    """
    if allowed.shape != (len(labels), len(labels)):
        raise ValueError(f"the mask is {allowed.shape} and there are {len(labels)} labels: give one label a position")
    query, key = (indices.reshape(-1) for indices in np.indices(allowed.shape))
    above = key > query
    state = np.where(~allowed.reshape(-1), NO, np.where(above, AHEAD, YES))
    table = pd.DataFrame({"query": query, "key": key, "state": state})
    table["from"], table["to"] = (np.array(labels)[index] for index in (query, key))
    words = f"{list(labels)}[datum.value]"
    axis = {"labelExpr": words, "labelOverlap": False, "labelFontSize": 11, "ticks": False, "domain": False}
    squares = alt.Chart(table[table["state"] != NO], width=alt.Step(step), height=alt.Step(step)).mark_rect(
        stroke="white", strokeOpacity=0.35, strokeWidth=1
    )
    return Series("state", [YES, AHEAD], columns=1).on(squares, chooses=True).encode(
        alt.X(
            "key:O", title="key: is looked at", axis=alt.Axis(labelAngle=-90, orient="top", **axis),
            scale=alt.Scale(domain=list(range(len(labels)))),
        ),
        alt.Y("query:O", title="query: looks", axis=alt.Axis(**axis), scale=alt.Scale(domain=list(range(len(labels))))),
        tooltip=[alt.Tooltip("from:N", title="query"), alt.Tooltip("to:N", title="key"), alt.Tooltip("state:N", title="it")],
    ).properties(title="Which position may look at which")


def turns(table: pd.DataFrame) -> alt.LayerChart:
    """How far each pair of a head turns over the context, a line a rotary base.

    Args:
        table: columns pair (from 1), turns [full turns] and base, the label of a line.
    """
    lines = Series.of(table, "base", "rotary base").on(alt.Chart(table).mark_line(point=True), chooses=True).encode(
        alt.X("pair:Q", title="pair of a head's coordinates", scale=alt.Scale(nice=False, zero=False, padding=14),
              axis=alt.Axis(tickMinStep=1, format="d")),
        alt.Y(**log_axis("turns", "full turns over the context", "~r")),
        tooltip=tips("base", "pair", turns=".3f"),
    )
    return alt.layer(lines, rule(DASH, y=1), title="How far each pair turns over the context").properties(height=260)


def flop_shares(models: Mapping[str, ModelConfig], context: int, image_share: float, patches_per_image: float = 0.0) -> pd.DataFrame:
    """Exact training FLOPs by part, as shares of C = 6 (N_v D_v + N D): a table for `stacked`.

    Every text token counts as a target.

    Args:
        models: label -> configuration.
        context: sequence length [tokens].
        image_share: image tokens among all training tokens, from 0 to 1.
        patches_per_image: for late fusion, whose encoder attends over one image [tokens].
    Returns:
        Columns model, part, amount [FLOPs per training token] and share; parts that no model has are left out.
    Raises:
        ValueError: late fusion without patches_per_image.
    """
    text, totals, parts = 1 - image_share, {}, {}
    for label, model in models.items():
        parts[label] = model.flops(
            context=context, tokens={"text": text, "image": image_share}, targets=text, patches_per_image=patches_per_image
        )
        totals[label] = train_flops(model.counts.N, 1, N_v=model.counts.N_v, D_v=image_share)
    return _shares(parts, totals)


def group_shares(models: Mapping[str, ModelConfig]) -> pd.DataFrame:
    """Parameters by group, as shares of all: a table for `stacked`.

    Returns:
        Columns model, part, amount [parameters] and share; parts that no model has are left out.
    """
    totals, parts = {}, {}
    for label, model in models.items():
        counts = model.counts
        parts[label] = {
            "blocks": counts.blocks, "experts not taken": counts.inactive, "encoder blocks": counts.vision_blocks,
            "input embedding": counts.embedding, "output embedding": counts.unembedding,
            "everything else": counts.patch_projection + counts.norms + counts.connector + counts.routers,
        }
        totals[label] = counts.all
    return _shares(parts, totals)


def _shares(parts: dict[str, dict[str, float]], totals: dict[str, float]) -> pd.DataFrame:
    """Label -> part -> amount as rows, without the parts that are zero everywhere."""
    every = dict.fromkeys(part for amounts in parts.values() for part in amounts)
    used = [part for part in every if any(amounts.get(part) for amounts in parts.values())]
    return pd.DataFrame([
        {"model": label, "part": part, "amount": amounts.get(part, 0.0), "share": amounts.get(part, 0.0) / totals[label]}
        for label, amounts in parts.items() for part in used
    ])


def printed(N: float) -> str:
    """A model size in the digits that the paper prints: whole millions, or billions to the second decimal."""
    return f"{N / 1e6:.0f}M" if N < 999.5e6 else f"{N / 1e9:.2f}B"
