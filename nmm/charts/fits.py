"""Charts of a fitted Eq. 1 and its optimum. N [parameters], D [tokens], C [FLOPs], L [nats/token]."""

from collections.abc import Callable

import altair as alt
import numpy as np
import pandas as pd

from nmm.charts.runs import LOSS, flop_axis, log_axis, loss_axis, sizes, spread, with_labels

Law = Callable[[np.ndarray, np.ndarray], np.ndarray]    # (N, D) -> L


def observed_predicted(table: pd.DataFrame) -> alt.LayerChart:
    """Observed against predicted loss, on the diagonal where the law is right; columns L, predicted, N, D."""
    table = with_labels(table)
    ends = [table[["L", "predicted"]].to_numpy().min(), table[["L", "predicted"]].to_numpy().max()]
    diagonal = alt.Chart(pd.DataFrame({"predicted": ends, "L": ends})).mark_line(
        strokeDash=[4, 4], color="currentColor", opacity=0.5
    ).encode(x="predicted:Q", y="L:Q")
    points = alt.Chart(table).mark_point(filled=True, size=65, opacity=1).encode(
        x=alt.X("predicted:Q", title=f"predicted {LOSS}", scale=alt.Scale(zero=False)),
        y=alt.Y("L:Q", title=f"observed {LOSS}", scale=alt.Scale(zero=False)),
        color=sizes(table),
        tooltip=["model", alt.Tooltip("D:Q", format=",d"), alt.Tooltip("L:Q", format=".3f"), alt.Tooltip("predicted:Q", format=".3f")],
    )
    return alt.layer(diagonal, points)


def residuals(table: pd.DataFrame, against: str, title: str) -> alt.LayerChart:
    """Relative error of the prediction against one column; columns residual [log units], N, D and `against`."""
    table = with_labels(table.assign(percent=100 * table["residual"]))
    zero = alt.Chart(pd.DataFrame({"y": [0.0]})).mark_rule().encode(y="y:Q")
    points = alt.Chart(table).mark_point(filled=True, size=55, opacity=1).encode(
        x=alt.X(**log_axis(against, title)), y=alt.Y("percent:Q", title="predicted - observed [%]"), color=sizes(table),
        tooltip=["model", alt.Tooltip("D:Q", format=",d"), alt.Tooltip("percent:Q", format=".2f")],
    )
    return alt.layer(zero, points).properties(width=250, height=220)


def isoflop(table: pd.DataFrame, law: Law, budgets: list[float], optimum: pd.DataFrame) -> alt.LayerChart:
    """Slices of constant compute: predicted loss against N, with each slice's optimum and the runs near it.

    Args:
        table: runs with N, D, C, L.
        law: (N, D) -> L.
        budgets: C of each slice [FLOPs].
        optimum: columns C, N, L, a row a budget.
    """
    N = spread(table["N"].min(), table["N"].max(), margin=2.5)
    slices = pd.concat(pd.DataFrame({"C": C, "N": N, "L": law(N, C / (6 * N))}) for C in budgets)
    nearest = np.abs(np.log(table["C"].to_numpy()[:, None] / np.array(budgets))).argmin(1)
    factor = np.abs(np.log(table["C"].to_numpy() / np.array(budgets)[nearest]))
    points = table.assign(slice=np.array(budgets)[nearest])[factor < np.log(1.5)]
    order = [f"{C:.1e}" for C in budgets]
    def word(frame: pd.DataFrame, column: str) -> pd.DataFrame:
        return frame.assign(label=frame[column].map("{:.1e}".format))
    colour = alt.Color("label:O", sort=order, title="C [FLOPs]", scale=alt.Scale(domain=order), legend=alt.Legend(orient="top", columns=4))
    return alt.layer(
        alt.Chart(word(slices, "C")).mark_line().encode(x=alt.X(**log_axis("N", "parameters N")), y=loss_axis(), color=colour),
        alt.Chart(word(points, "slice")).mark_point(filled=True, size=45).encode(
            x="N:Q", y="L:Q", color=colour, tooltip=[alt.Tooltip("N:Q", format=",d"), alt.Tooltip("D:Q", format=",d"), alt.Tooltip("C:Q", format=".2e"), alt.Tooltip("L:Q", format=".3f")]),
        alt.Chart(word(optimum, "C")).mark_point(shape="diamond", filled=True, size=140, stroke="currentColor").encode(x="N:Q", y="L:Q", color=colour),
    )


def contour(table: pd.DataFrame, law: Law, path: pd.DataFrame, E: float, B: float, beta: float, A: float, alpha: float) -> alt.LayerChart:
    """Lines of equal loss in N and D with the runs and the compute-optimal path.

    Args:
        table: runs with N, D, L; law: (N, D) -> L; path: columns N and D along the optimum.
        E, A, B, alpha, beta: of Eq. 1; a line of equal loss solves it for N at each D.
    """
    D = spread(table["D"].min(), table["D"].max(), points=120, margin=2)
    low, high = table["N"].min() / 2, table["N"].max() * 2
    levels = np.quantile(law(table["N"].to_numpy(), table["D"].to_numpy()), [0.02, 0.2, 0.4, 0.6, 0.8, 0.98])
    lines = []
    for level in levels:
        rest = level - E - B / D**beta
        D_line, rest = D[rest > 0], rest[rest > 0]          # elsewhere no N is enough
        ln_N = (np.log(A) - np.log(rest)) / alpha
        keep = (ln_N >= np.log(low)) & (ln_N <= np.log(high))
        lines.append(pd.DataFrame({"N": np.exp(ln_N[keep]), "D": D_line[keep], "level": f"{level:.2f}"}))
    lines = pd.concat(lines)
    order = [f"{level:.2f}" for level in levels]
    x, y = alt.X(**log_axis("N", "parameters N")), alt.Y(**log_axis("D", "training tokens D"))
    inside = path[path["N"].between(low, high) & path["D"].between(D.min(), D.max())]
    table = with_labels(table)
    return alt.layer(
        alt.Chart(lines).mark_line(strokeWidth=1.6).encode(
            x=x, y=y, order="D:Q",
            color=alt.Color("level:O", sort=order, title="L [nats/token]", legend=alt.Legend(orient="top", columns=6))),
        alt.Chart(inside).mark_line(strokeDash=[7, 4], color="currentColor", strokeWidth=2).encode(x="N:Q", y="D:Q"),
        alt.Chart(table).mark_point(filled=True, size=40, color="currentColor", opacity=0.7).encode(
            x="N:Q", y="D:Q", tooltip=["model", alt.Tooltip("D:Q", format=",d"), alt.Tooltip("L:Q", format=".3f")]),
    )


def exponent_rows(table: pd.DataFrame) -> alt.LayerChart:
    """Values with intervals, a row each: columns row, value, low, high, source; missing ends draw a point alone."""
    table = table.assign(low=table["low"].replace([-np.inf], np.nan), high=table["high"].replace([np.inf], np.nan))
    y = alt.Y("row:N", sort=None, title=None, axis=alt.Axis(labelLimit=220))
    colour = alt.Color("source:N", title=None, legend=alt.Legend(orient="top"))
    return alt.layer(
        alt.Chart(table.dropna(subset=["low", "high"])).mark_rule(strokeWidth=2, opacity=1).encode(x="low:Q", x2="high:Q", y=y, color=colour),
        alt.Chart(table).mark_point(filled=True, size=80, opacity=1).encode(
            x=alt.X("value:Q", title="exponent", scale=alt.Scale(zero=False)), y=y, color=colour, shape=alt.Shape("source:N", legend=None),
            tooltip=["row", "source", alt.Tooltip("value:Q", format=".3f"), alt.Tooltip("low:Q", format=".3f"), alt.Tooltip("high:Q", format=".3f")]),
    ).properties(height=alt.Step(22))


def optimal_allocation(C: np.ndarray, bands: pd.DataFrame, path: pd.DataFrame) -> alt.LayerChart:
    """N* and D* against compute with their interval.

    Args:
        C: unused budgets are not drawn; the range of the axis [FLOPs].
        bands: columns C, quantity ("N*" or "D*"), low, high.
        path: columns C, quantity, value.
    """
    colour = alt.Color("quantity:N", title=None, legend=alt.Legend(orient="top"))
    within = bands[bands["C"].between(C.min(), C.max())]
    return alt.layer(
        alt.Chart(within).mark_area(opacity=0.22).encode(x=flop_axis(), y=alt.Y("low:Q", scale=alt.Scale(type="log"), title="optimal N* [parameters], D* [tokens]", axis=alt.Axis(format="~s")), y2="high:Q", color=colour),
        alt.Chart(path).mark_line().encode(x="C:Q", y="value:Q", color=colour, tooltip=["quantity", alt.Tooltip("C:Q", format=".2e"), alt.Tooltip("value:Q", format=".3s")]),
    )


