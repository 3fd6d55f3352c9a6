"""What every law does with a table of runs: groups of rows, labels of clusters, and what is told of a fit in JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from nmm.laws.core.fitting import Fit
    from nmm.laws.core.uncertainty import Bootstrap

One = TypeVar("One")


class Told(Protocol):
    """One law on one group of runs: what `told` needs of it."""

    rows: np.ndarray  # index of each run in the table (n,)
    fit: Fit
    boot: Bootstrap

    def table(self, level: float) -> pd.DataFrame: ...


def told(group: Told, level: float) -> dict:
    """What is told of any law's fit, as plain values for JSON; what the runs do not limit is null."""
    fit, shared = group.fit, group.boot.noise.shared
    return {
        "runs": fit.n_runs, "status": fit.status, "warnings": list(fit.warnings), "unidentified": list(fit.unidentified),
        "loss": fit.loss.name, "delta": fit.loss.delta, "objective": fit.objective, "R2": plain(fit.r2),
        "starts": fit.starts.count, "starts_agreeing": fit.starts.agree, "next_best_objective": fit.starts.next_best,
        "level": level, "values": plain_rows(group.table(level)),
        "outliers": [int(row) if isinstance(row, (int, np.integer)) else str(row) for row in group.rows[fit.outliers]],
        "clusters": None if shared is None else shared.count,
        "correlation in clusters": None if shared is None else shared.correlation,
    }  # fmt: skip


def plain_rows(table: pd.DataFrame) -> dict[str, dict[str, float | None]]:
    """A table of numbers by row and column, as JSON takes them."""
    return {name: {k: plain(v) for k, v in row.items()} for name, row in table.to_dict("index").items()}


def plain(value: float) -> float | None:
    """The value, or None where it is no finite number."""
    return float(value) if math.isfinite(value) else None


def check_columns(table: pd.DataFrame, by: Sequence[str], cluster: Sequence[str]) -> None:
    """Refuse columns to group by or cluster by that the table lacks.

    Raises:
        ValueError: there is one.
    """
    missing = [name for name in (*by, *cluster) if name not in table.columns]
    if missing:
        raise ValueError(
            f"no column {', '.join(missing)} to group by or cluster by: the table has {', '.join(map(str, table.columns))}"
        )


def cluster_labels(rows: pd.DataFrame, cluster: Sequence[str]) -> np.ndarray | None:
    """What each run shares its luck with, in one word (n,); None without columns that say so."""
    return rows[list(cluster)].astype(str).agg("|".join, axis=1).to_numpy() if cluster else None


def by_group(
    usable: pd.DataFrame, dropped: pd.DataFrame, by: Sequence[str], columns: Sequence[str], fit: Callable[[str, pd.DataFrame], One]
) -> tuple[list[One], pd.DataFrame]:
    """Fit each group of rows; rows of a group that cannot be fitted go to those left out, with the reason.

    Args:
        columns: those that every row needs, for the message.
        fit: fits the group of a name and its rows; a ValueError says why it cannot be.
    Raises:
        ValueError: no group can be fitted.
    """
    import pandas as pd

    groups = [("all runs", usable)] if not by else usable.groupby(list(by), sort=False, dropna=False)
    fits, reasons = [], []
    for key, rows in groups:
        name = key if isinstance(key, str) else ", ".join(str(part) for part in key)
        try:
            fits.append(fit(name, rows))
        except ValueError as error:
            reasons.append(f"group {name} ({len(rows)} runs): {error}")
            dropped = pd.concat([dropped, rows.assign(reason=reasons[-1])])
    if not fits:
        raise ValueError("; ".join(reasons) or f"no row has usable {', '.join(columns)}")
    return fits, dropped
