"""The studies finetuning, starts and ablations in their smallest forms, through the pipeline, and their records as chapters read them."""

from dataclasses import replace

import pytest

from nmm import runs
from nmm.book import chapter
from nmm.data.generated.world import GRID, IMAGES, World
from nmm.runs import answers
from nmm.runs.starts import started_from
from nmm.studies import MIXTURE, STUDIES, ablations, find_study, finetuning, register, run_study, starts, write_study
from nmm.studies.laptop import LAPTOP
from tests.house.test_toy_study import InProcess


@pytest.fixture
def entered():
    """Studies entered by a test are taken out again."""
    before = dict(STUDIES)
    yield register
    STUDIES.clear()
    STUDIES.update(before)


def test_a_study_trains_those_on_other_corpora_into_its_folder(entered, tmp_path, one_thread):
    arms = {"arms": (replace(ablations.EARLY_OWN, budgets=(6_000,)),), "seeds": (0,), "also": ()}
    for name in ("context", "resolution"):
        entered(replace(find_study(f"ablations-smoke-{name}"), name=f"few-{name}", **arms))
    entered(replace(find_study("ablations-smoke"), name="few", **{**arms, "also": ("few-context", "few-resolution")}))
    summary, folder = run_study("few", executor=InProcess(), work=tmp_path)
    assert summary.whole and len(summary.finished) == 3 and folder == tmp_path / "runs" / "few"
    table = runs.load(folder).set_index("study")
    assert len(set(table["corpus"])) == 3 and len(list((tmp_path / "corpora").iterdir())) == 3
    share = table["D_image"] / table["D"]
    assert share["few-resolution"] > 1.5 * share["few"] and share["few-context"] == pytest.approx(share["few"], rel=0.1)
    again, _ = run_study("few", executor=InProcess(), work=tmp_path)
    assert len(again.skipped) == 3 and str(again).startswith("0 trained, 3 already there")
    assert len(write_study("few", tmp_path / "jobs", work=tmp_path)) == 3


def test_finetuned_models_are_read_beside_those_before(entered, tmp_path, one_thread):
    arm = replace(finetuning.EARLY, mixtures=("45-45-10",), budgets=(6_000, 9_000))
    tuned = finetuning.finetuned(arm, questions=6_000, warmup=1_000)
    entered(replace(find_study("finetuning-smoke"), name="tuned", widths=(16,), seeds=(0,), arms=(arm, tuned)))
    summary, folder = run_study("tuned", executor=InProcess(), work=tmp_path)
    assert summary.whole and len(summary.finished) == 4
    table = answers.answered(folder)
    assert len(table) == 2 * 5 * 2 and set(table["budget_before"]) == {6_000, 9_000}
    each = answers.by_run(table)
    assert len(each) == 2 and each["accuracy"].between(0, 1).all() and each["trunk"].nunique() == 1
    before = runs.load(folder).set_index("run")
    assert (each["L_before"].to_numpy() == before.loc[each["start"], "L"].to_numpy()).all()
    assert len(answers.quoted(folder)) == 2 * 5 * 2 * 8
    assert set(answers.before_finetuning(folder)["arm"]) == {"early fusion"}
    done = before[before["arm"] == tuned.name]
    assert (done["C_start"] == before.loc[done["start"], "C"].to_numpy()).all()


def test_what_others_start_from_is_told(entered, tmp_path, one_thread):
    arms = tuple(replace(arm, budgets=(6_000,)) for arm in (starts.DECODER, starts.ENCODER, starts.STARTED_LATE[-1]))
    entered(replace(find_study("starts-smoke"), name="begun", seeds=(0,), arms=arms))
    summary, folder = run_study("begun", executor=InProcess(), work=tmp_path)
    assert summary.whole and len(summary.finished) == 3
    first = started_from(folder).set_index("arm")
    assert set(first.index) == {"text decoder", "encoder by contrast"}
    assert first.loc["encoder by contrast", ["retrieved", "colour", "shape", "pattern"]].between(0, 1).all()
    assert first.loc["text decoder", "L_text"] > 0
    (last,) = (row for _, row in runs.load(folder).iterrows() if row["start"])
    assert last["C_exact_start"] == pytest.approx(first["C_exact"].sum()) and last["encoder_lr_scale"] == 0


def test_models_are_matched_as_near_as_widths_allow(shape):
    late = LAPTOP.model(ablations.MIDDLE, vocab_size=756, patch_dim=192, arm=ablations.LATE)
    for width, of in ((ablations.PARAMETERS, lambda model: model.counts.n_total),
                      (ablations.SAME_FLOPS.widths[0], ablations.flops_per_token)):
        below, at, above = (of(LAPTOP.model(width + step, vocab_size=756, patch_dim=192)) for step in (-4, 0, 4))
        assert abs(at - of(late)) <= min(abs(below - of(late)), abs(above - of(late)))


def test_finer_images_come_with_as_much_text():
    def text(grid, tokens):
        world = World(grids=(grid,))
        return tokens * sum(share * (1 - IMAGES[kind] * grid**2 / world.length(kind)) for kind, share in MIXTURE.items())

    for coarse, fine in zip(ablations.BUDGETS, ablations.RESOLUTION.budgets, strict=True):
        assert text(ablations.FINER, fine) == pytest.approx(text(GRID, coarse), rel=2e-3)


def test_tokens_of_the_main_mixture_are_as_a_record_counts_them(shape):
    """FLOPs a token of the generated world are those of a run on the corpus made of it."""
    table = runs.load(chapter.find("runs/architectures"))
    for arm in (ablations.EARLY, ablations.LATE):
        own = table[(table["arm"] == arm.name) & (table["d_model"] == ablations.MIDDLE)]
        model = LAPTOP.model(ablations.MIDDLE, vocab_size=756, patch_dim=192, arm=arm)
        assert ablations.flops_per_token(model) == pytest.approx((own["C_exact"] / own["D"]).mean(), rel=2e-3)


@pytest.mark.parametrize("arm", [starts.STARTED_EARLY, *starts.STARTED_LATE], ids=lambda arm: arm.name)
def test_models_from_scratch_are_trained_with_more_flops_than_any_started_one_and_its_start(arm):
    study = find_study("starts")

    def flops(one, weights, frozen=False):
        return one.budgets[-1] * ablations.flops_per_token(study.model(44, vocab_size=756, patch_dim=192, arm=one), weights, frozen)

    own = {part: study.mixtures[name] for part, name in (("decoder", "text"), ("encoder", "captions"))}
    start = sum(flops(one, own[part]) for part, one in (("decoder", starts.DECODER), ("encoder", starts.ENCODER)) if part in arm.start)
    native = starts.NATIVE_EARLY if arm is starts.STARTED_EARLY else starts.NATIVE_LATE
    assert flops(native, MIXTURE) > 1.03 * (start + flops(arm, MIXTURE, arm.encoder_lr_scale == 0))


def test_started_runs_read_other_documents_than_their_start():
    """What a start reads and what the run from it reads are less than a source, from its two ends."""
    study = find_study("starts")
    for kind, before in (("text", starts.DECODER), ("caption", starts.ENCODER)):
        assert before.budgets[-1] + starts.MULTIMODAL[-1] * MIXTURE[kind] < study.max_tokens
    assert [arm.name for arm in study.arms if not arm.backwards] == [starts.DECODER.name, starts.ENCODER.name]


@pytest.mark.parametrize("name", ["finetuning", "starts", "ablations"])
def test_at_least_four_seeds_wherever_two_arms_are_compared(name):
    """Three decide nothing under the rule of `paired.MIN_SEEDS`."""
    study = find_study(name)
    assert all(len(study.of(arm).seeds) >= 4 for arm in study.arms)
