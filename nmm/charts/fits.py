"""Charts of a fitted Eq. 1 and its optimum. N [parameters], D [tokens], C [FLOPs], L [nats/token]."""

import altair as alt
import numpy as np
import pandas as pd

from nmm.charts.parts import (
    LOSS,
    Series,
    as_law,
    diagonal,
    finite,
    flop_axis,
    law_line,
    log_axis,
    loss_axis,
    rule,
    spread,
    tips,
)
from nmm.charts.runs import sizes, with_labels
from nmm.laws.core.uncertainty import Bootstrap
from nmm.laws.forms.optimum import FLOPS_PER_PARAMETER_TOKEN, budgets_within
from nmm.laws.forms.parametric import ParametricFit


def observed_predicted(table: pd.DataFrame) -> alt.LayerChart:
    """Observed against predicted loss, on the diagonal where the law is right; columns L, predicted, N, D."""
    table = with_labels(table)
    points = sizes(table).points(alt.Chart(table), size=65, chooses=True).encode(
        x=alt.X("predicted:Q", title=f"predicted {LOSS}", scale=alt.Scale(zero=False)),
        y=alt.Y("L:Q", title=f"observed {LOSS}", scale=alt.Scale(zero=False)),
        tooltip=tips("model", D=",d", L=".3f", predicted=".3f"),
    )
    return alt.layer(diagonal(table, "predicted", "L"), points, title="Observed against predicted loss, by model size N")


def residuals(table: pd.DataFrame) -> alt.HConcatChart:
    """Relative error of the prediction against N (left) and D (right); columns residual [log units], N, D."""
    table = with_labels(table.assign(percent=100 * table["residual"]))
    series = sizes(table)
    panels = [
        alt.layer(rule(y=0), series.points(alt.Chart(table), size=55, chooses=name == "N").encode(
            x=alt.X(**log_axis(name, words)), y=alt.Y("percent:Q", title="predicted - observed [%]"),
            tooltip=tips("model", D=",d", percent=".2f"),
        ), title=f"against {name}").properties(width=250, height=220)
        for name, words in (("N", "parameters N"), ("D", "training tokens D"))
    ]
    return alt.hconcat(*panels, title="Relative error of the law")


def against_reader(table: pd.DataFrame, reader: pd.DataFrame) -> alt.LayerChart:
    """Loss on names against tokens, a line a model size, and that of a reader who forgets nothing.

    Args:
        table: runs with N, D, seed and L_name; reader: columns D and L of the reader.
    """
    table = with_labels(table.assign(L=table["L_name"]))
    series = sizes(table)
    place = {"x": alt.X(**log_axis("D", "training tokens D")), "y": alt.Y(**log_axis("L", "loss on names [nats]"))}
    base = alt.Chart(table).encode(**place, tooltip=tips("model", D=",d", L=".3f"))
    return alt.layer(
        series.on(base.mark_line(strokeWidth=1.4), opacity=0.7, chooses=True).encode(detail=["model:N", "seed:N"]),
        series.points(base),
        alt.Chart(reader).mark_line(strokeWidth=2, strokeDash=[6, 3]).encode(**place, color=alt.value("currentColor")),
        title="Loss on names, by model size N; dashed: a reader who forgets nothing",
    )


def isoflop(table: pd.DataFrame, fit: ParametricFit, budgets: np.ndarray) -> alt.LayerChart:
    """Slices of constant compute: predicted loss against N, with each slice's optimum and the runs near it.

    A slice is solid where its N and its D are within the range of the runs.

    Args:
        table: runs with N, D, C, L.
        budgets: C of each slice [FLOPs].
    """
    budgets = np.asarray(budgets, dtype=float)
    N = spread(table["N"].min(), table["N"].max(), points=160, margin=2.5)
    slices = pd.concat(pd.DataFrame({"C": C, "N": N, "D": C / (FLOPS_PER_PARAMETER_TOKEN * N)}) for C in budgets)
    slices = slices.assign(L=fit.predict(slices["N"].to_numpy(), slices["D"].to_numpy()))
    away = np.abs(np.log(table["C"].to_numpy()[:, None] / budgets))
    near = table.assign(C=budgets[away.argmin(1)])[away.min(1) < np.log(1.5)]
    best = fit.optimum(budgets)

    def named(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(label=frame["C"].map("{:.1e}".format))

    series = Series("label", [f"{C:.1e}" for C in budgets], "C [FLOPs]", columns=5, ordered=True)
    lines = law_line(named(slices), _among(slices, table), by=["label"])
    optima = named(pd.DataFrame({"C": budgets, "N": best.N, "D": best.D, "L": best.L}))
    place = {"x": alt.X(**log_axis("N", "parameters N")), "y": loss_axis(), "tooltip": tips("label", N=",d", D=",d", L=".3f")}
    return alt.layer(
        as_law(series.on(alt.Chart(lines), chooses=True)).encode(**place),
        series.points(alt.Chart(named(near)), size=45).encode(**place),
        series.on(alt.Chart(optima).mark_point(shape="diamond", filled=True, size=150, stroke="currentColor")).encode(**place),
        title="Loss against size at constant compute: law, optimum (framed diamond), runs",
    )


def contour(table: pd.DataFrame, fit: ParametricFit) -> alt.LayerChart:
    """Lines of equal loss in N and D with the runs and the compute-optimal path, each solid within the range of the runs.

    Args:
        table: runs with N, D, L.
    """
    N, D = (spread(table[name].min(), table[name].max(), points=160, margin=2) for name in ("N", "D"))
    levels = np.quantile(fit.predict(table["N"].to_numpy(), table["D"].to_numpy()), [0.02, 0.2, 0.4, 0.6, 0.8, 0.98])
    rows = []
    for level in levels:        # a line of equal loss solves Eq. 1 for N at each D; where D leaves no room, no N is enough
        rest = level - fit.E - fit.B / D**fit.beta
        with np.errstate(divide="ignore", invalid="ignore"):
            at = np.where(rest > 0, (fit.A / rest) ** (1 / fit.alpha), np.nan)
        keep = (at >= N[0]) & (at <= N[-1])
        rows.append(pd.DataFrame({"N": at[keep], "D": D[keep], "level": f"{level:.2f}"}))
    lines = pd.concat(rows)
    low, high = budgets_within(fit.E, fit.A, fit.B, fit.alpha, fit.beta, table["N"].to_numpy(), table["D"].to_numpy())
    around = budgets_within(fit.E, fit.A, fit.B, fit.alpha, fit.beta, N, D)
    crossed = np.geomspace(*around, 120) if around[0] < around[1] else np.array([])
    best = fit.optimum(np.unique([*crossed, *(C for C in (low, high) if around[0] <= C <= around[1])]))
    path = pd.DataFrame({"C": best.C, "N": best.N, "D": best.D})
    series = Series("level", [f"{level:.2f}" for level in levels], "L [nats/token]", columns=6, ordered=True)
    x, y = alt.X(**log_axis("N", "parameters N")), alt.Y(**log_axis("D", "training tokens D"))
    said = f"C = {low:.1e} to {high:.1e} FLOPs" if low < high else "no C"
    return alt.layer(
        as_law(series.on(alt.Chart(law_line(lines, _among(lines, table), by=["level"])), chooses=True), 1.6).encode(x=x, y=y, order="D:Q"),
        as_law(alt.Chart(law_line(path, path["C"].between(low, high).to_numpy())), 3).encode(
            x=x, y=y, color=alt.value("currentColor"), tooltip=tips(C=".2e", N=",d", D=",d")),
        alt.Chart(with_labels(table)).mark_point(filled=True, size=40, color="currentColor", opacity=0.7).encode(
            x=x, y=y, tooltip=tips("model", D=",d", L=".3f")),
        title=alt.Title("Lines of equal loss, and the compute-optimal path (thick)", subtitle=f"The path lies among the runs for {said}."),
    )


def exponent_rows(table: pd.DataFrame) -> alt.LayerChart:
    """Values with intervals, a row each: columns row, value, low, high, source; missing ends draw a point alone."""
    # other columns would travel into the page, and an infinite value in them break it
    table = finite(table[["row", "value", "low", "high", "source"]])
    y = alt.Y("row:N", sort=None, title=None, axis=alt.Axis(labelLimit=220))
    series = Series.of(table, "source")
    return alt.layer(
        series.on(alt.Chart(table.dropna(subset=["low", "high"])).mark_rule(strokeWidth=2), chooses=True).encode(
            x="low:Q", x2="high:Q", y=y),
        series.points(alt.Chart(table), size=80).encode(
            x=alt.X("value:Q", title="exponent", scale=alt.Scale(zero=False)), y=y,
            tooltip=tips("row", "source", value=".3f", low=".3f", high=".3f")),
        title="Exponents with their intervals",
    ).properties(height=alt.Step(22))


def optimal_allocation(fit: ParametricFit, boot: Bootstrap, C: np.ndarray, runs: pd.DataFrame, level: float = 0.95) -> alt.LayerChart:
    """N* and D* against compute, with the band that holds `level` of the bootstrap refits; dashed where N* or D* is beyond the runs.

    Args:
        C: budgets in rising order [FLOPs]; runs: with N and D, those that were fitted.
        level: share of the refits in the band, between 0 and 1.
    """
    tail = (1 - level) / 2
    refits = pd.concat([boot.optimum(budget).assign(C=budget) for budget in C]).melt("C", ["N*", "D*"], "quantity", "value").dropna()
    bands = refits.groupby(["quantity", "C"])["value"].quantile([tail, 1 - tail]).unstack().set_axis(["low", "high"], axis=1).reset_index()
    within = budgets_within(fit.E, fit.A, fit.B, fit.alpha, fit.beta, runs["N"].to_numpy(), runs["D"].to_numpy())
    best = fit.optimum(np.unique([*C, *(edge for edge in within if min(C) <= edge <= max(C))]))
    path = pd.DataFrame({"C": best.C, "N*": best.N, "D*": best.D}).melt("C", var_name="quantity", value_name="value")
    lines = law_line(path, path["C"].between(*within).to_numpy(), by=["quantity"])
    series = Series.of(path, "quantity")
    low, value = (log_axis(name, "optimal N* [parameters], D* [tokens]") for name in ("low", "value"))
    return alt.layer(
        series.on(alt.Chart(bands).mark_area(), opacity=0.22, chooses=True).encode(x=flop_axis(), y=alt.Y(**low), y2="high:Q"),
        as_law(series.on(alt.Chart(lines))).encode(
            x=flop_axis(), y=alt.Y(**value), tooltip=tips("quantity", C=".2e", value=".3s")),
        title=f"Optimal size and tokens against compute, {level:.0%} of the refits",
    )


def _among(points: pd.DataFrame, runs: pd.DataFrame) -> np.ndarray:
    """Whether N and D of each point are within those of the runs, a rounding allowed."""
    edges = {name: (runs[name].min() * (1 - 1e-9), runs[name].max() * (1 + 1e-9)) for name in ("N", "D")}
    return np.logical_and(*(points[name].between(*edge) for name, edge in edges.items()))
