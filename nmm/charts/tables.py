"""Tables as chapters show them: short numbers, values with their interval, two sets of records side by side."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from nmm.laws.use.paired import Interval, percent


def short(value: float) -> str:
    """A count in three digits with its suffix: 26.4k, 1M, 2.28B, 1.5T. Missing is an em dash."""
    if not np.isfinite(value):
        return "—"
    for limit, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * limit:
            return f"{float(f'{value / limit:.3g}'):g}{suffix}"
    return f"{float(f'{value:.3g}'):g}"


def listed(names: Iterable[str]) -> str:
    """Names as a person lists them: "a, b and c"; "none" without any."""
    names = list(names)
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0] if names else "none"


def span(values: Iterable[float], form: str = "{:.1f}") -> str:
    """The least and the largest of some numbers, "0.4 to 1.2"; once where they read alike."""
    values = list(values)
    low, high = form.format(min(values)), form.format(max(values))
    return low if low == high else f"{low} to {high}"


def with_interval(value: float, low: float, high: float, digits: int = 3, write: Callable[[float], str] | None = None) -> str:
    """`0.312 [0.290, 0.335]`; an unlimited side is written as infinity, a missing value as an em dash.

    Ends that meet are no interval: the parameter sits on a border that the runs do not move it from. In a narrow column the
    interval goes under its value and is never broken itself (its space is a no-break space).

    Args:
        digits: after the decimal point, unless
        write: turns a finite number into text, for example `short`.
    """
    if high - low < 1e-8 * max(1.0, abs(value)):
        return "not identified"

    def word(number: float) -> str:
        if np.isnan(number):
            return "—"
        return (write or f"{{:.{digits}f}}".format)(number) if np.isfinite(number) else "∞" if number > 0 else "\u2212∞"

    return f"{word(value)} [{word(low)},\u00a0{word(high)}]"


def quality(fits: Mapping[str, Any]) -> pd.DataFrame:
    """A row a fit of Eq. 1: how far it can be trusted, and the coefficients whose size depends on units."""
    return pd.DataFrame.from_dict({name: {
        "status": fit.status, "runs": fit.n_runs, "R²": f"{fit.r2:.4f}", "worst residual": f"{100 * abs(fit.residuals).max():.1f}\u00a0%",
        "starts that agree": f"{fit.starts.agree} of {fit.starts.count}", "A": f"{fit.A:.3g}", "B": f"{fit.B:.3g}",
    } for name, fit in fits.items()}, orient="index")


def intervals(rows: Mapping[str, pd.DataFrame], names: tuple[str, ...], digits: int = 3) -> pd.DataFrame:
    """A row a fit, a column a quantity, each as value and interval.

    Args:
        rows: fit name -> table with the columns value, low, high and a row a quantity (`Bootstrap.intervals`).
        names: quantities to show.
    """
    return pd.DataFrame(
        {name: {row: with_interval(*table.loc[name, ["value", "low", "high"]], digits) for row, table in rows.items()} for name in names}
    )


def in_per_cent(found: Interval) -> str:
    """A difference of logarithms with its interval over seeds: `+1.2 % [0.4, 2.0]`, and whether it leaves zero open."""
    value, low, high = percent(np.array([found.value, found.low, found.high]))
    return f"{value:+.1f} % {_ends(found, low, high)}"


def in_points(found: Interval) -> str:
    """A difference of shares with its interval over seeds, in points, and whether it leaves zero open."""
    value, low, high = (100 * end for end in (found.value, found.low, found.high))
    return f"{value:+.1f} points {_ends(found, low, high)}"


def _ends(found: Interval, low: float, high: float) -> str:
    if found.seeds < 2:
        return "(one seed, and so no interval)"
    return f"[{low:+.1f}, {high:+.1f}]" + ("" if found.resolved else " (not resolved)")
