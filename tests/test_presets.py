"""Named studies and models."""

import pytest

from nmm.data.mixture import MIXTURES
from nmm.presets import MIXTURE, PAPER_EARLY, STUDIES, study


def test_an_unknown_preset_lists_the_known():
    with pytest.raises(ValueError, match="unknown preset 'desktop': known are laptop, smoke"):
        study("desktop")


def test_the_grid_is_the_product_and_starts_with_the_longest(shape):
    plan = study("laptop")
    grid = plan.grid(shape)
    assert {(run.model.d_model, run.tokens, run.seed) for run in grid.values()} == {
        (width, budget, seed) for width in plan.widths for budget in plan.budgets for seed in plan.seeds}
    cost = [run.tokens * run.model.d_model for run in grid.values()]
    assert cost == sorted(cost, reverse=True)
    assert all(run.id == name for name, run in grid.items())


@pytest.mark.parametrize("name", STUDIES)
def test_runs_of_one_width_differ_in_their_budget_alone(name, shape):
    """Same rate and warmup: they share their course up to the cooldown."""
    for width in study(name).widths:
        runs = study(name).grid(shape, widths=(width,)).values()
        assert len({(run.optim.lr, run.optim.warmup_tokens, run.optim.cooldown) for run in runs}) == 1
        assert all(run.optim.warmup_tokens < (1 - run.optim.cooldown) * run.tokens for run in runs)


def test_the_rate_falls_with_the_width(shape):
    by_width = {run.model.d_model: run.optim.lr for run in study("laptop").grid(shape).values()}
    assert all(lr == pytest.approx(0.01 * (32 / d) ** 0.5) for d, lr in by_width.items())


def test_the_papers_learning_rates():
    """Table 6."""
    assert [preset.lr for preset in PAPER_EARLY.values()] == [1.5e-3, 1.5e-3, 5e-4, 4.2e-4, 4e-4, 3.5e-4]


def test_the_mixture_is_named_as_it_is_weighed(shape):
    run = next(iter(study("laptop").grid(shape).values()))
    assert {name: 100 * weight for name, weight in MIXTURE.items()} == MIXTURES[run.data.mixture]
    assert sum(MIXTURE.values()) == pytest.approx(1)
