"""The course of a score over layers: a plateau is told from a slope, and neither from few seeds."""

import numpy as np
import pytest

from nmm.laws.use import depth

VALLEY = np.array([0.9, 0.31, 0.3, 0.29, 0.3, 0.5])
SLOPE = np.array([0.9, 0.8, 0.6, 0.4, 0.2, 0.1])


def seeds(profile, n=4, scatter=0.01):
    return profile + scatter * np.random.default_rng(0).standard_normal((n, len(profile)))


def test_the_ends_stand_above_the_inner_layers_by_what_was_planted():
    found = depth.course(seeds(VALLEY, scatter=0.0))
    assert found.first.value == pytest.approx(0.6) and found.last.value == pytest.approx(0.2)
    assert found.drift.value == pytest.approx(np.polyfit(range(4), VALLEY[1:-1], 1)[0] * 3)
    assert found.among == pytest.approx(0.02) and found.layers == 6


def test_a_plateau_is_told_from_a_slope():
    assert depth.course(seeds(VALLEY)).plateau == "flat"
    assert depth.course(seeds(SLOPE)).plateau == "not flat"
    assert depth.course(seeds(VALLEY, scatter=0.4)).plateau == "unresolved"


def test_few_seeds_and_few_layers_decide_nothing():
    assert depth.course(seeds(VALLEY, n=3)).plateau == "unresolved"
    three = depth.course(seeds(VALLEY[:3]))
    assert three.drift is None and three.plateau == "unresolved" and three.first.resolved


@pytest.mark.parametrize("scores", [VALLEY, np.ones((4, 2)), np.ones((0, 5)), np.full((4, 5), np.nan)])
def test_bad_scores_are_refused(scores):
    with pytest.raises(ValueError, match="finite scores"):
        depth.course(scores)
