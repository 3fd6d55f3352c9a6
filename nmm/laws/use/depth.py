"""How a score runs over the layers of a model: what its ends have more than the layers between, and whether those are a plateau."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nmm.laws.use.paired import MIN_SEEDS, Interval, interval

LEAST = 4           # layers, of which two are inner ones; fewer have no plateau to look for
FLAT = 0.5          # of what the first layer stands above the inner ones: a plateau moves by less, ours


@dataclass(frozen=True, kw_only=True)
class Course:
    """A score from the first layer to the last, by seed; inner layers are all but the two at the ends."""

    layers: int
    first: Interval             # the first layer less the mean of the inner ones
    last: Interval              # the last one less it
    drift: Interval | None      # change from the first inner layer to the last inner one, by a line; None with fewer than two
    among: float                # largest less smallest mean of an inner layer

    @property
    def plateau(self) -> str:
        """Whether the inner layers are a plateau: "flat", "not flat", or "unresolved" where the seeds do not tell.

        Flat is a drift whose interval lies within `FLAT` of what the first layer stands above them.
        """
        if self.drift is None or self.drift.seeds < MIN_SEEDS:
            return "unresolved"
        margin = FLAT * abs(self.first.value)
        if -margin <= self.drift.low and self.drift.high <= margin:
            return "flat"
        return "not flat" if self.drift.low > margin or self.drift.high < -margin else "unresolved"


def course(scores: np.ndarray) -> Course:
    """The course of a score over layers.

    Args:
        scores: (seeds, layers).
    Raises:
        ValueError: not a table of finite numbers, or fewer than three layers.
    """
    scores = np.asarray(scores, dtype=float)
    if scores.ndim != 2 or scores.shape[1] < 3 or not len(scores) or not np.isfinite(scores).all():
        raise ValueError(f"a course needs finite scores (seeds, layers) of three layers at least: got shape {scores.shape}")
    inner = scores[:, 1:-1]
    middle, places = inner.mean(axis=1), np.arange(inner.shape[1])
    drift = np.polyfit(places, inner.T, 1)[0] * places[-1] if scores.shape[1] >= LEAST else None
    return Course(layers=scores.shape[1], first=interval(scores[:, 0] - middle), last=interval(scores[:, -1] - middle),
                  drift=None if drift is None else interval(drift), among=float(np.ptp(inner.mean(axis=0))))
