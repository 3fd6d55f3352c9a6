"""Named studies and models."""

from dataclasses import replace

import pytest

from nmm.architectures.flops import count
from nmm.data.batches.mixture import MIXTURES
from nmm.studies.presets import ARMS, LAPTOP, MIXTURE, PAPER_EARLY, PAPER_LATE, PAPER_MOE, STUDIES, Arm, study


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
    """Same rate and warmup in each arm: they share their course up to the cooldown."""
    plan = study(name)
    for arm in plan.arms:
        for width in plan.widths:
            runs = replace(plan, arms=(arm,)).grid(shape, widths=(width,)).values()
            assert len(runs) == len(plan.budgets) * len(plan.seeds)
            assert len({(run.optim, run.model) for run in runs}) == 1
            assert all(run.optim.warmup_tokens < (1 - run.optim.cooldown) * run.tokens for run in runs)


@pytest.mark.parametrize("name", STUDIES)
def test_no_two_runs_of_a_study_have_one_name(name, shape):
    plan = study(name)
    assert len(plan.grid(shape)) == len(plan.arms) * len(plan.widths) * len(plan.budgets) * len(plan.seeds)


def test_arms_are_of_equal_active_size(shape):
    """A mixture beside its dense model: the same N, more in all; late fusion has the same decoder and an encoder besides."""
    sizes = {name: count(LAPTOP.model(48, vocab_size=512, patch_dim=192, arm=arm)) for name, arm in ARMS.items()}
    assert len({size.N for size in sizes.values()}) == 1
    assert sizes["early"].n_total < sizes["moe by modality"].n_total < sizes["moe"].n_total
    assert sizes["late"].N_v > 0 == sizes["early"].N_v


def test_an_arm_of_no_architecture():
    with pytest.raises(ValueError, match="unknown architecture 'rnn' of an arm: early, late or moe"):
        LAPTOP.model(32, vocab_size=512, patch_dim=192, arm=Arm(arch="rnn"))


def test_the_rate_falls_with_the_width(shape):
    by_width = {run.model.d_model: run.optim.lr for run in study("laptop").grid(shape).values()}
    assert all(lr == pytest.approx(0.01 * (32 / d) ** 0.5) for d, lr in by_width.items())


def test_the_papers_learning_rates():
    """Table 6."""
    assert [preset.lr for preset in PAPER_EARLY.values()] == [1.5e-3, 1.5e-3, 5e-4, 4.2e-4, 4e-4, 3.5e-4]
    assert [preset.lr for preset in PAPER_MOE.values()] == [1.5e-3, 1.5e-3, 5e-4, 4.2e-4, 4e-4, 3.5e-4]
    assert [preset.lr for preset in PAPER_LATE.values()] == [1.5e-3, 1.5e-3, 5e-4, 4.2e-4, 3.8e-4, 3.3e-4]


def test_the_mixture_is_named_as_it_is_weighed(shape):
    run = next(iter(study("laptop").grid(shape).values()))
    assert {name: 100 * weight for name, weight in MIXTURE.items()} == MIXTURES[run.data.mixture]
    assert sum(MIXTURE.values()) == pytest.approx(1)
