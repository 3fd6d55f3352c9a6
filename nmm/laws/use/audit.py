"""Published numbers recomputed: what follows from a row's own alpha and beta, within the rounding of both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nmm import paper
from nmm.laws.use.optimum import exponents

if TYPE_CHECKING:
    import pandas as pd

# The paper's own regression and closed form differ by up to 0.9 % (Table 9); beyond this no regression helps.
REGRESSION_GAP = 0.015
VERDICTS = ("agrees", "near", "cannot be right")


def derived_range(alpha: paper.Printed, beta: paper.Printed) -> dict[str, tuple[float, float, float]]:
    """a, b, d, n, dn from printed exponents: value, lowest and highest within their rounding.

    Each is monotone in alpha and in beta, so the ends are at the corners.
    """
    corners = [(x, y) for x in (alpha.value, alpha.low, alpha.high) for y in (beta.value, beta.low, beta.high)]
    table = exponents(*np.array(corners).T)
    return {name: (float(v[0]), float(v.min()), float(v.max())) for name, v in table.items()}


def verdict(printed: paper.Printed, low: float, high: float, gap: float = REGRESSION_GAP) -> str:
    """Whether a printed number can come from the interval: by rounding alone, within `gap` more, or not."""
    if printed.low <= high and low <= printed.high:
        return "agrees"
    slack = gap * max(abs(low), abs(high), 1 / 3)  # a difference of exponents may be near zero
    return "near" if printed.low <= high + slack and low - slack <= printed.high else "cannot be right"


def audit(rows=None, gap: float = REGRESSION_GAP) -> pd.DataFrame:
    """Recompute every derived number of published rows from their own alpha and beta.

    Args:
        rows: `nmm.paper.LawRow`s; by default the paper's Tables 2 and 3, with Table 9, Table 11 and Figures 1 and 22.
        gap: relative distance beyond rounding that still counts as near.
    Returns:
        One row a number: row, where, quantity, printed, recomputed, low and high (how far it could move by the
        rounding of what it is computed from), verdict and, where one is needed, a note.
    """
    import pandas as pd

    found = []

    def add(row, printed, quantity, value, low, high, note=""):
        found.append(
            {
                "row": row,
                "where": printed.where,
                "quantity": quantity,
                "printed": printed.value,
                "recomputed": value,
                "low": low,
                "high": high,
                "verdict": verdict(printed, low, high, gap),
                "note": note,
            }
        )

    for law in (*paper.TABLE_2, *paper.TABLE_3, paper.CHINCHILLA) if rows is None else rows:
        for quantity, (value, low, high) in derived_range(law.alpha, law.beta).items():
            printed = getattr(law, quantity)
            if printed is not None:
                add(law.name, printed, quantity, value, low, high, "from this row's alpha and beta")
        if law.a is not None and law.b is not None:
            low, high = law.a.low + law.b.low, law.a.high + law.b.high
            total = paper.Printed(f"{law.a.value + law.b.value:.4f}", law.where)
            add(
                law.name,
                total,
                "a + b",
                1.0,
                1.0 - 0.5 * (high - low),
                1.0 + 0.5 * (high - low),
                "C = 6 N D means a + b = 1",
            )
    if rows is None:
        _figures_and_errors(add)
    return pd.DataFrame(found)


def _figures_and_errors(add) -> None:
    """The exponents printed in figures, Table 9 against Figure 2, and the bootstrap of Table 11."""
    laws = {law.name: law for law in paper.TABLE_2}
    for name, printed in paper.FIGURE_1_N_OVER_D.items():
        value, low, high = derived_range(laws[name].alpha, laws[name].beta)["dn"]
        add(name, printed, "a - b", -value, -high, -low, "N/D ~ C^(a - b)")
    for name, printed in paper.FIGURE_22_A.items():
        add(name, printed, "a", *derived_range(laws[name].alpha, laws[name].beta)["a"], "Figure 22 against Table 2")
    for quantity, printed in paper.TABLE_9["closed form"].items():
        early = paper.FIGURE_2["early"]
        add(
            "early",
            printed,
            quantity,
            *derived_range(early["alpha"], early["beta"])[quantity],
            "from Figure 2's five digits",
        )
    mean, spread = paper.TABLE_11["Avg"], paper.TABLE_11["Std"]
    total = paper.Printed(f"{mean['a'].value + mean['b'].value:.5f}", mean["a"].where)
    add("early", total, "mean of a + b", 1.0, 1.0 - 1e-5, 1.0 + 1e-5, "a + b = 1 in every resample")
    add(
        "early",
        spread["a"],
        "std of a",
        spread["b"].value,
        spread["b"].low,
        spread["b"].high,
        "b = 1 - a has the same spread",
    )


def audit_frontiers() -> pd.DataFrame:
    """The published frontiers L = K C^c against Eq. 1 and against each other.

    Returns:
        One row a frontier: K, c; the loss at 1e21 FLOPs; E of the same row; `C at E`, the budget at which the power
        law falls below that E [FLOPs]; and the slope that Eq. 1 has on its optimal path at that loss, at both ends
        of the range (3e19 and 1e22 FLOPs).
    """
    import pandas as pd

    laws = {law.name: law for law in (*paper.TABLE_2, *paper.TABLE_3)}
    kinds = {f"45-45-10, {kind}": f"early, {kind}" for kind in ("caption", "interleaved", "text")}
    every = [*paper.FIGURE_26, paper.FIGURE_9, *paper.FIGURE_5, *(f for row in paper.FIGURE_28.values() for f in row)]
    rows = []
    for frontier in every:
        K, c = frontier.K.value, frontier.c.value
        law = laws.get(kinds.get(frontier.name, frontier.name))
        row = {"row": frontier.name, "where": frontier.K.where, "K": K, "c": c, "L(1e21)": K * 1e21**c}
        if law is not None:
            E, alpha, beta = law.E.value, law.alpha.value, law.beta.value
            ends = K * np.array([paper.FRONTIER_CUT.value, paper.LARGEST_BUDGET]) ** c
            slopes = -(alpha * beta / (alpha + beta)) * (1 - E / ends)
            row |= {"E": E, "C at E": (E / K) ** (1 / c), "slope at 3e19": slopes[0], "slope at 1e22": slopes[1]}
        rows.append(row)
    return pd.DataFrame(rows)


def sparse_row_check() -> pd.DataFrame:
    """Table 12's law in N, D and S reduced to Eq. 1 at a given sparsity, beside the Eq. 1 row of the same table.

    Returns:
        Floor E + C (1-S)^lambda and coefficient d (1-S)^delta, at S = 7/8 and at S = 0, and as printed for Eq. 1.
    """
    import pandas as pd

    v = {name: printed.value for name, printed in paper.TABLE_12_SPARSE.items()}
    rows = {}
    for S in (paper.SPARSITY, 0.0):
        rows[f"S = {S:g}"] = {
            "floor": v["E"] + v["C"] * (1 - S) ** v["lambda"],
            "coefficient of N": v["d"] * (1 - S) ** v["delta"],
        }
    eq_1 = paper.TABLE_12_EQ_1
    rows["Eq. 1, printed"] = {"floor": eq_1.E.value, "coefficient of N": eq_1.A.value}
    return pd.DataFrame.from_dict(rows, orient="index")
