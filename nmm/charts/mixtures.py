"""Charts of mixtures of data types: losses against shares, frontiers by mixture, and the triangle of all shares."""

import altair as alt
import numpy as np
import pandas as pd

from nmm.charts.parts import DASH, Series, flop_axis, loss_axis, rule, tips

CORNERS = {"caption": (0.0, 0.0), "interleaved": (1.0, 0.0), "text": (0.5, 1.0)}    # where the triangle has nothing else
NAMES = {"caption": "captions alone", "interleaved": "interleaved alone", "text": "text alone"}
MOST = 5.0              # per cent over the best at which the shading ends


def against_share(table: pd.DataFrame) -> alt.LayerChart:
    """Loss of each data type against its own share of the tokens, a point a run, a line through the means.

    Args:
        table: columns kind, share, mixture, N, budget, seed, percent: the loss over its mean at the same size, budget and seed [%].
    """
    series = Series.of(table, "kind", columns=1)
    x = alt.X("share:Q", title="share of the training tokens", axis=alt.Axis(format="%"), scale=alt.Scale(zero=False, padding=12))
    up = {"title": "loss beside the mean of mixtures [%]", "scale": alt.Scale(padding=10)}
    dots = series.points(alt.Chart(table), size=28, opacity=0.5).encode(
        x=x, y=alt.Y("percent:Q", **up), tooltip=tips("kind", "mixture", "seed", N=",d", budget=",d", percent="+.2f"))
    lines = series.on(alt.Chart(table).mark_line(strokeWidth=2), chooses=True).encode(x=x, y=alt.Y("mean(percent):Q", **up))
    return alt.layer(rule(DASH, y=0), lines, dots, title="Loss against own share; other shares move too")


def frontiers(runs: pd.DataFrame, lines: pd.DataFrame) -> alt.FacetChart:
    """Loss against compute, mixtures in colour, a panel a loss: runs as points, frontiers as lines.

    Args:
        runs, lines: columns mixture, loss (its name), C, L; lines within the runs' range of C.
    """
    order = runs["loss"].drop_duplicates().tolist()
    both = pd.concat([runs.assign(what="run"), lines.assign(what="frontier")], ignore_index=True)
    series = Series.of(both, "mixture", columns=2)
    place = {"x": flop_axis(), "y": loss_axis(), "tooltip": tips("mixture", C=".2e", L=".3f")}
    base = alt.Chart(both)
    drawn = series.on(base.mark_line(strokeWidth=1.8), chooses=True).transform_filter(alt.datum.what == "frontier").encode(**place)
    dots = series.points(base, size=22, opacity=0.6).transform_filter(alt.datum.what == "run").encode(**place)
    return alt.layer(drawn, dots).properties(width=235, height=190).facet(
        alt.Facet("loss:N", sort=order, title=None), columns=2, title="Loss against compute by mixture, and the frontiers",
    ).resolve_scale(y="independent")


def apart(runs: pd.DataFrame, lines: pd.DataFrame) -> alt.FacetChart:
    """What mixtures differ by, as a function of compute, a panel a loss: losses and frontiers beside their mean over mixtures.

    Args:
        runs, lines: columns mixture, loss (its name), C, percent: over the mean of the mixtures at the same size, budget and seed, or at C.
    """
    order = runs["loss"].drop_duplicates().tolist()
    both = pd.concat([runs.assign(what="run"), lines.assign(what="frontier")], ignore_index=True)
    series = Series.of(both, "mixture", columns=2)
    place = {"x": flop_axis(), "y": alt.Y("percent:Q", title="beside the mean [%]", scale=alt.Scale(padding=8)),
             "tooltip": tips("mixture", C=".2e", percent="+.2f")}
    base = alt.Chart()
    drawn = series.on(base.mark_line(strokeWidth=2), chooses=True).transform_filter(alt.datum.what == "frontier").encode(**place)
    dots = series.points(base, size=24, opacity=0.6).transform_filter(alt.datum.what == "run").encode(**place)
    return alt.layer(drawn, dots, data=both).properties(width=235, height=170).facet(
        alt.Facet("loss:N", sort=order, title=None), columns=2, title="Losses and frontiers of mixtures beside their mean")


def triangle(
    points: np.ndarray, excess: np.ndarray, inside: np.ndarray, trained: pd.DataFrame, best: np.ndarray, draws: np.ndarray,
) -> alt.LayerChart:
    """The weighted loss over all shares of three data types, a corner one type alone; faint beyond the trained mixtures.

    Args:
        points: shares of captions, interleaved documents and text, (m, 3); excess: loss over the best [%], (m,); inside: whether each lies
            among the trained mixtures, (m,).
        trained: columns mixture, caption, interleaved, text.
        best: the best among the trained, (3,); draws: that of every resample, (n, 3).
    """
    def placed(shares: np.ndarray) -> dict[str, np.ndarray]:
        shares = np.atleast_2d(shares)
        return {"across": shares[:, 1] + shares[:, 2] / 2, "up": shares[:, 2], **dict(zip(CORNERS, shares.T))}

    shading = pd.DataFrame({**placed(points), "excess": np.where(np.isfinite(excess), excess, MOST), "among": inside})
    shading = shading.assign(excess=shading["excess"].clip(upper=MOST))
    mixtures = pd.DataFrame({"mixture": trained["mixture"].to_numpy(), **placed(trained[list(CORNERS)].to_numpy(dtype=float))})
    again = pd.DataFrame(placed(draws)).value_counts().reset_index(name="resamples")
    corners = pd.DataFrame([{"across": x, "up": y, "words": NAMES[kind], "above": kind == "text"} for kind, (x, y) in CORNERS.items()])
    place = {"x": alt.X("across:Q", title="interleaved documents, to the right", axis=None, scale=alt.Scale(domain=[-0.12, 1.12])),
             "y": alt.Y("up:Q", title="text, upwards", axis=None, scale=alt.Scale(domain=[-0.1, 1.1]))}
    shown = tips(**dict.fromkeys(CORNERS, ".0%"))
    series = Series.of(mixtures, "mixture", columns=2)
    ground = alt.Chart(shading).mark_point(filled=True, shape="square", size=36, strokeWidth=0).encode(
        **place, tooltip=[*shown, *tips(excess=".2f")],
        fill=alt.Fill("excess:Q", title="loss over the best [%]", scale=alt.Scale(domain=[0, MOST], range="ramp")),
        fillOpacity=alt.when(alt.datum.among).then(alt.value(0.9)).otherwise(alt.value(0.25)),
    )
    dots = alt.Chart(again).mark_point(filled=False, color="currentColor", strokeWidth=1.2, opacity=0.5).encode(
        **place, size=alt.Size("resamples:Q", legend=None, scale=alt.Scale(range=[12, 160])), tooltip=[*shown, *tips(resamples=",d")])
    marked = alt.Chart(pd.DataFrame(placed(best))).mark_point(
        shape="cross", filled=True, size=240, color="currentColor", opacity=1).encode(**place, tooltip=shown)
    words = [alt.Chart(corners[corners["above"] == above]).mark_text(dy=dy).encode(**place, text="words:N")
             for above, dy in ((True, -14), (False, 18))]
    return alt.layer(
        ground, series.points(alt.Chart(mixtures), size=130, chooses=True).encode(**place, tooltip=["mixture", *shown]),
        dots, marked, *words,
        title=alt.Title("The weighted loss over all mixtures, as the law has it",
                        subtitle="Cross: best among the trained mixtures; rings: that of resamples; faint: beyond them."),
    ).properties(height=400)
