"""Any statistic of a table of runs over resampled trunks, for what no fit has: differences of two frontiers, for one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nmm.laws.core.noise import checked_labels

if TYPE_CHECKING:
    import pandas as pd

FEWEST = 0.5        # share of resamples that must allow the statistic


def resample(
    statistic: Callable[[pd.DataFrame], Sequence[float]], table: pd.DataFrame, cluster: np.ndarray, n: int = 500, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """A statistic of the runs, and of `n` tables drawn from them by whole clusters, with replacement.

    Args:
        statistic: one or several numbers of a table of runs; a ValueError says that it has none, as where a resample leaves
            fewer than three runs on a hull.
        cluster: what each run shares its luck with (n_runs,).
    Returns:
        The numbers of all runs (k,), and of the resamples (n, k), those that have none missing: resample i of any statistic of the same
        clusters and seed draws the same clusters, so that differences are paired.
    Raises:
        ValueError: n is below 1, labels are not one a run, all runs have no such statistic, or more than half of the resamples.
    """
    if n < 1:
        raise ValueError(f"resamples must be at least one: got n={n}")
    labels = checked_labels(cluster, len(table))
    whole = np.asarray(statistic(table), dtype=float)
    members = [np.flatnonzero(labels == label) for label in range(labels.max() + 1)]
    rng = np.random.default_rng(seed)
    draws = np.full((n, len(whole)), np.nan)
    for i in range(n):
        rows = np.concatenate([members[label] for label in rng.integers(0, len(members), len(members))])
        try:
            draws[i] = statistic(table.iloc[rows])
        except ValueError:
            continue
    if (have := int(np.isfinite(draws).any(axis=1).sum())) < FEWEST * n:
        raise ValueError(f"only {have} of {n} resamples of {len(members)} trunks have the statistic: more trunks are needed")
    return whole, draws
