"""Statistics over resampled trunks."""

import numpy as np
import pandas as pd
import pytest

from nmm.laws.use.resample import resample


def studies(shared: float, seed: int, trunks: int = 12, runs: int = 6) -> tuple[pd.DataFrame, np.ndarray]:
    """A value with noise of its own and noise that its trunk shares."""
    rng = np.random.default_rng(seed)
    label = np.repeat(np.arange(trunks), runs)
    return pd.DataFrame({"y": shared * rng.normal(size=trunks)[label] + rng.normal(size=len(label))}), label


def test_the_spread_is_that_of_trunks():
    """Of 60 studies, the interval of the mean covers the truth about as often as it says; drawing runs would not."""
    inside = {"trunks": 0, "runs": 0}
    for seed in range(60):
        table, label = studies(2.0, seed)
        for name, cluster in (("trunks", label), ("runs", np.arange(len(table)))):
            _, draws = resample(lambda rows: [rows["y"].mean()], table, cluster, n=200, seed=seed)
            low, high = np.quantile(draws, [0.025, 0.975])
            inside[name] += low <= 0 <= high
    assert inside["trunks"] >= 50 and inside["runs"] <= 45


def test_resamples_without_the_statistic_are_missing_and_too_many_are_an_error():
    table, label = studies(0.0, 0, trunks=3)

    def needs(trunks):
        def statistic(rows):
            if len(set(label[rows.index])) < trunks:
                raise ValueError("too few")
            return [len(rows), rows["y"].mean()]
        return statistic

    whole, draws = resample(needs(2), table, label, n=100)
    has = np.isfinite(draws).all(axis=1)
    assert whole[0] == 18 and 60 < has.sum() < 100 and draws.shape == (100, 2)
    # pairs stay pairs: a statistic that never fails has the same draws where the other has some
    _, beside = resample(needs(1), table, label, n=100)
    assert draws[has] == pytest.approx(beside[has]) and np.isfinite(beside).all()
    with pytest.raises(ValueError, match="of 100 resamples of 3 trunks have the statistic"):
        resample(needs(3), table, label, n=100)
    with pytest.raises(ValueError, match="at least one"):
        resample(needs(1), table, label, n=0)
