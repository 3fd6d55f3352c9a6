"""Published numbers recomputed, in closed form and by the paper's own procedure, within the rounding of both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nmm import paper
from nmm.laws.forms.optimum import exponents
from nmm.laws.use.procedure import EXPONENTS, tried

if TYPE_CHECKING:
    import pandas as pd

VERDICTS = ("closed form", "procedure", "neither")
RESAMPLES = 100  # of Table 11


def derived_range(alpha: paper.Printed, beta: paper.Printed) -> dict[str, tuple[float, float, float]]:
    """a, b, d, n, dn from printed exponents: value, lowest and highest within their rounding.

    Each is monotone in alpha and in beta, so the ends are at the corners.
    """
    corners = [(x, y) for x in (alpha.value, alpha.low, alpha.high) for y in (beta.value, beta.low, beta.high)]
    table = exponents(*np.array(corners).T)
    return {name: (float(v[0]), float(v.min()), float(v.max())) for name, v in table.items()}


def verdict(printed: paper.Printed, closed: tuple[float, float], searched: tuple[float, float] | None = None) -> str:
    """What gives a printed number within its rounding: the closed form, else the procedure, else neither.

    Args:
        closed, searched: lowest and highest value of each; `searched` is None where the procedure has no part.
    """
    for name, ends in zip(VERDICTS, (closed, searched)):
        if ends is not None and printed.low <= ends[1] and ends[0] <= printed.high:
            return name
    return "neither"


def audit(rows=None) -> pd.DataFrame:
    """Try every derived number of published rows, from their own alpha and beta, by both ways.

    The closed form is the paper's Sec. 2.2; the procedure is App. C.2's, over all that its text leaves open
    (`nmm.laws.use.procedure`). Only numbers of tables and of the prose are judged, none that was read off a figure; what the
    prose repeats of a table is not judged twice.

    Args:
        rows: `nmm.paper.LawRow`s; by default the paper's Tables 2 and 3, with Table 9, Table 11 and Sec. 3.1.
    Returns:
        One row a number: row, where, quantity, printed, closed and its `closed low`, `closed high` by the rounding of
        alpha and beta; `procedure low`, `procedure high` (NaN where it has no part); verdict and note.
    """
    import pandas as pd

    found = []

    def add(row, printed, quantity, closed, searched=None, note=""):
        low, high = searched if searched is not None else (np.nan, np.nan)
        found.append({
            "row": row, "where": printed.where, "quantity": quantity, "printed": printed.value,
            "closed": closed[0], "closed low": closed[1], "closed high": closed[2],
            "procedure low": low, "procedure high": high,
            "verdict": verdict(printed, closed[1:], searched), "note": note,
        })  # fmt: skip

    laws = (*paper.TABLE_2, *paper.TABLE_3) if rows is None else rows
    closed, searched = {}, {}
    for law in laws:
        settings = tried(law)
        closed[law.name] = derived_range(law.alpha, law.beta)
        searched[law.name] = {name: (float(settings[name].min()), float(settings[name].max())) for name in EXPONENTS}
        for quantity in EXPONENTS:
            if (printed := getattr(law, quantity)) is not None:
                add(law.name, printed, quantity, closed[law.name][quantity], searched[law.name][quantity])
    if rows is None:
        for quantity in ("a", "b"):  # another paper's, by another procedure
            printed = getattr(paper.CHINCHILLA, quantity)
            add("Chinchilla", printed, quantity, derived_range(paper.CHINCHILLA.alpha, paper.CHINCHILLA.beta)[quantity])
        for name, printed in paper.N_OVER_D.items():
            value, low, high = closed[name]["dn"]
            add(name, printed, "a - b", (-value, -high, -low), tuple(-v for v in reversed(searched[name]["dn"])), "N/D ~ C^(a - b)")
        for method in paper.TABLE_9.values():
            for quantity, printed in method.items():
                add("early", printed, quantity, closed["early"][quantity], searched["early"][quantity])
        _bootstrap(add)
    return pd.DataFrame(found)


def _bootstrap(add, draws: int = 20_000) -> None:
    """The means and spreads of Table 11, from its alpha and beta; their correlation is not printed, so a range of it is tried.

    b is judged against a instead, as printed beside it: in closed form and in any one search b = 1 - a in every resample, so
    that the means add up to one and the spreads are the same, whatever the resamples were.
    """
    mean, spread = paper.TABLE_11["Avg"], paper.TABLE_11["Std"]
    rng = np.random.default_rng(0)
    moments = {}
    for correlation in (-0.9, -0.5, 0.0, 0.5, 0.9):
        first, other = rng.standard_normal((2, draws))
        second = correlation * first + np.sqrt(1 - correlation**2) * other
        alpha = mean["alpha"].value + spread["alpha"].value * first
        beta = mean["beta"].value + spread["beta"].value * second
        kept = (alpha > 0) & (beta > 0)
        for name, values in exponents(alpha[kept], beta[kept]).items():
            moments.setdefault(name, []).append((values.mean(), values.std()))
    for quantity in ("a", "d"):
        means, spreads = np.array(moments[quantity]).T
        # two standard errors of a mean, and of a spread, over 100 resamples
        room = 2 * spread[quantity].value / np.sqrt(RESAMPLES)
        share = 2 / np.sqrt(2 * RESAMPLES)
        middle = len(means) // 2
        add("early", mean[quantity], f"mean of {quantity}", (means[middle], means.min() - room, means.max() + room))
        add("early", spread[quantity], f"spread of {quantity}", (spreads[middle], spreads.min() * (1 - share), spreads.max() * (1 + share)))
    a, note = mean["a"], "b = 1 - a in every resample"
    add("early", mean["b"], "mean of b", (1 - a.value, 1 - a.high, 1 - a.low), note=note)
    a = spread["a"]
    add("early", spread["b"], "spread of b", (a.value, a.low, a.high), note=note)


def audit_frontiers() -> pd.DataFrame:
    """The frontiers L = K C^c, as read off figures, against Eq. 1 and against each other; no verdict rests on them.

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
