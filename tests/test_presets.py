"""Named studies and models."""

from dataclasses import replace
from math import prod

import pytest

from nmm.config import Origin
from nmm.data.batches.mixture import MIXTURES
from nmm.studies import STUDIES, Arm, find_study, register
from nmm.studies.architectures import ARCHITECTURES, EARLY
from nmm.studies.laptop import LAPTOP
from nmm.studies.presets import PAPER_EARLY, PAPER_LATE, PAPER_MOE


def test_an_unknown_preset_lists_the_known():
    with pytest.raises(ValueError, match="unknown preset 'desktop': known are laptop, seeds, smoke"):
        find_study("desktop")


def test_the_grid_is_the_product_and_starts_with_the_longest(shape):
    plan = find_study("laptop")
    grid = plan.grid(shape)
    assert {(run.model.d_model, run.tokens, run.seed) for run in grid.values()} == {
        (width, budget, seed) for width in plan.widths for budget in plan.budgets for seed in plan.seeds}
    cost = [run.tokens * run.model.d_model for run in grid.values()]
    assert cost == sorted(cost, reverse=True)
    assert all(run.id == name for name, run in grid.items())


@pytest.mark.parametrize("name", STUDIES)
def test_runs_of_one_width_differ_in_their_budget_alone(name, shape):
    """Same rate and warmup in each arm: they share their course up to the cooldown."""
    plan = find_study(name)
    for arm in plan.arms:
        own, mine = plan.of(arm), runs_of(plan, arm, shape)
        for width in own.widths:
            runs = [run for run in mine if run.model.d_model == width]
            assert len(runs) == len(own.budgets) * len(own.seeds) * len(own.mixtures) * starts(plan, arm)
            assert len({(run.optim, run.model) for run in runs}) == 1
            assert len(own.budgets) == 1 or all(run.optim.warmup_tokens < (1 - run.optim.cooldown) * run.tokens for run in runs)


def runs_of(plan, arm, shape):
    """The runs of one arm; of one that starts from others, found in the whole study by its name."""
    return [run for run in (plan if arm.start else plan.of(arm)).grid(shape).values() if run.origin.arm == arm.name]


def starts(plan, arm):
    """How many runs each width and seed of an arm can start from."""
    return prod(len(plan.of(before).budgets) for name in arm.start.values() for before in plan.arms if before.name == name)


@pytest.mark.parametrize("name", STUDIES)
def test_no_two_runs_of_a_study_have_one_name(name, shape):
    plan = find_study(name)
    grids = [plan.of(arm) for arm in plan.arms]
    sizes = [len(own.widths) * len(own.budgets) * len(own.seeds) * len(own.mixtures) * starts(plan, own.arms[0]) for own in grids]
    assert len(plan.grid(shape)) == sum(sizes)


def test_a_sweep_that_is_stopped_has_whole_grids(shape):
    """Seed by seed, and of one seed the longest first."""
    study = find_study("study")
    runs = list(study.grid(shape).values())
    once = replace(study, arms=tuple(arm for arm in study.arms if not arm.last)).grid(shape)
    assert list(once) == [run.id for run in runs[:len(once)]], "what is last comes after all that is not"
    for part in (runs[:len(once)], runs[len(once):]):
        assert [run.seed for run in part] == sorted(run.seed for run in part)
    assert runs[0].tokens * runs[0].model.d_model == max(run.tokens * run.model.d_model for run in runs)


def test_an_arm_has_a_grid_of_its_own(shape):
    """Where it has none, the study's; a deeper model keeps the rest of its arm."""
    few = Arm(name="few", widths=(32,), budgets=(600_000,), seeds=(5,), mixtures=("20-40-40",), settings={"n_layers": 8})
    plan = replace(LAPTOP, arms=(few, Arm(name="all")), mixtures=MIXTURES)
    by_arm = {name: [run for run in plan.grid(shape).values() if run.origin.arm == name] for name in ("few", "all")}
    run, = by_arm["few"]
    assert (run.model.d_model, run.model.n_layers, run.tokens, run.seed, run.data.mixture) == (32, 8, 600_000, 5, "20-40-40")
    assert len(by_arm["all"]) == len(LAPTOP.widths) * len(LAPTOP.budgets) * len(MIXTURES)
    with pytest.raises(ValueError, match="arm 'few' names mixture '20-40-40': study 'laptop' has 45-45-10"):
        replace(LAPTOP, arms=(few,)).grid(shape)


def test_what_is_planned_of_an_arm_is_what_its_grid_has(shape):
    study = find_study("study")
    for name in dict.fromkeys(arm.name for arm in study.arms):
        mine = [run for run in study.grid(shape).values() if run.origin.arm == name]
        planned = study.planned(name)
        assert {(run.data.mixture, run.seed, run.model.d_model, run.tokens) for run in mine} == {
            (*key, *cell) for key, cells in planned.items() for cell in cells}
        assert sum(map(len, planned.values())) == len(mine)
    assert {len(study.planned(EARLY.name)[name, 3]) for name in MIXTURES} == {18}, "four seeds at three widths, of every mixture"
    assert study.planned("no arm") == {}


def test_arms_are_of_equal_active_size(shape):
    """A mixture beside its dense model: the same N, more in all; late fusion has the same decoder and an encoder besides."""
    sizes = {arm.name: LAPTOP.model(48, vocab_size=512, patch_dim=192, arm=arm).counts for arm in ARCHITECTURES.arms}
    assert len({size.N for size in sizes.values()}) == 1
    assert sizes["early fusion"].n_total < sizes["experts by modality"].n_total < sizes["mixture 8-top-1"].n_total
    assert sizes["late fusion"].N_v > 0 == sizes["early fusion"].N_v


def test_an_arm_of_no_architecture():
    with pytest.raises(ValueError, match="unknown architecture 'rnn' of arm 'mine': known are early, late, contrast, moba, moe"):
        LAPTOP.model(32, vocab_size=512, patch_dim=192, arm=Arm(name="mine", arch="rnn"))
    with pytest.raises(ValueError, match="arm 'mine': .*unexpected keyword argument 'depth'"):
        LAPTOP.model(32, vocab_size=512, patch_dim=192, arm=Arm(name="mine", arch="late", settings={"depth": 3}))


def test_the_rate_falls_with_the_width_and_the_heads_grow(shape):
    runs = {run.model.d_model: run for run in find_study("laptop").grid(shape).values()}
    assert runs[24].optim.lr == 0.02 and runs[96].optim.lr == 0.01
    assert {run.model.n_heads for run in runs.values()} == {2} and len({run.model.head_dim for run in runs.values()}) > 1
    assert Arm(name="mine", lr=0.04, lr_power=1).rate(96) == 0.01 and Arm(name="mine", lr=0.04, lr_power=0).rate(96) == 0.04


def test_the_papers_learning_rates():
    """Table 6."""
    assert [preset.lr for preset in PAPER_EARLY.values()] == [1.5e-3, 1.5e-3, 5e-4, 4.2e-4, 4e-4, 3.5e-4]
    assert [preset.lr for preset in PAPER_MOE.values()] == [1.5e-3, 1.5e-3, 5e-4, 4.2e-4, 4e-4, 3.5e-4]
    assert [preset.lr for preset in PAPER_LATE.values()] == [1.5e-3, 1.5e-3, 5e-4, 4.2e-4, 3.8e-4, 3.3e-4]


def test_the_mixture_is_named_as_it_is_weighed(shape):
    run = next(iter(find_study("laptop").grid(shape).values()))
    assert (run.data.mixture, run.data.weights) == ("45-45-10", MIXTURES["45-45-10"])
    assert run.data.weights == {"caption": 0.45, "interleaved": 0.45, "text": 0.1}


def test_a_study_has_its_mixtures(shape):
    plan = replace(LAPTOP, mixtures={name: MIXTURES[name] for name in ("45-45-10", "20-40-40")})
    grid = plan.grid(shape)
    assert len(grid) == 2 * len(LAPTOP.grid(shape))
    assert set(LAPTOP.grid(shape)) < set(grid)
    assert {run.design["mixture"] for run in grid.values()} == set(plan.mixtures)


def test_a_run_knows_where_it_belongs(shape):
    """One design an arm, whatever the width, the budget and the seed; what follows from the width is recorded as its rule."""
    for name in STUDIES:
        plan = find_study(name)
        for arm in plan.arms:
            runs = runs_of(plan, arm, shape)
            assert {(run.origin.study, run.origin.arm) for run in runs} == {(name, arm.name)}
            assert len({str(run.design) for run in runs}) == len(plan.of(arm).mixtures) * starts(plan, arm)
            assert runs[0].design["lr"] == arm.lr and "d_model" not in runs[0].design and "seed" not in runs[0].design
    designs = [str(next(iter(replace(find_study("tuning"), arms=(arm,)).grid(shape).values())).design) for arm in find_study("tuning").arms]
    assert len(set(designs)) == len(designs) == 12
    late = next(run for run in ARCHITECTURES.grid(shape).values() if run.model.arch == "late")
    assert late.origin.grows == ["d_model", "d_vision"]
    assert late.origin.rules == {"lr": 0.014, "vision_share": 1.0}
    sparse = next(run for run in ARCHITECTURES.grid(shape).values() if run.origin.arm == "mixture 8-top-1")
    assert sparse.origin.rules == {"lr": 0.04, "lr_power": 1.0}
    assert replace(late, origin=Origin()).id == late.id and replace(late, origin=Origin()).design == {}


def test_two_studies_of_one_name_are_refused():
    assert register(LAPTOP) is LAPTOP
    with pytest.raises(ValueError, match="two studies are named 'laptop'"):
        register(replace(LAPTOP, seeds=(5,)))
