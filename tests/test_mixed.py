"""Next token over text and codes, and causally masked documents: targets, what may be seen, records, and resuming."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nmm import record as records
from nmm import runs
from nmm.config import DataConfig, OptimConfig, RunConfig, from_dict, to_dict
from nmm.data.batches.infilling import SENTINELS
from nmm.data.batches.loader import IGNORE, collate
from nmm.data.corpus import store
from nmm.data.corpus.scenes import scenes_corpus
from nmm.data.generated.scenes import Scenes, mixture
from nmm.models import build
from nmm.studies import STUDIES, Arm, Study, find_study, run_study
from nmm.studies.mixed_modal import RHO
from nmm.training.checkpoints import Stopped
from nmm.training.objectives import objective
from nmm.training.run import train
from tests.house.test_toy_executor import InProcess

pytestmark = pytest.mark.usefixtures("one_thread")

STUDY = Study(name="tiny mixed", widths=(16,), budgets=(12_000,), n_layers=2)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return scenes_corpus(tmp_path_factory.mktemp("scenes") / "coded", tokens=24_000, weights={"text": 0.4, "caption": 0.4, "image": 0.2})


@pytest.fixture(scope="module")
def run(corpus) -> RunConfig:
    return RunConfig(
        model=STUDY.model(16, vocab_size=corpus.vocab_size, patch_dim=corpus.patch_dim),
        data=DataConfig(corpus_id=corpus.hash, mixture="rho 0.3", weights=mixture(0.3), context=corpus.context, batch_sequences=4,
                        validation_sequences=8, max_epochs=2),
        optim=OptimConfig(lr=0.02, warmup_tokens=2000), tokens=12_000, seed=3, objective="cm3",
    )


def rows(corpus, kind="caption", n=4):
    split = corpus.sources[kind].train
    return collate([split.augmented(number, 0, 3) for number in range(n)])


def targets_of(batch, sentinel):
    """Every target that is of the corpus, with its document and row; the sentinels apart."""
    row, at = torch.nonzero(batch["labels"] != IGNORE, as_tuple=True)
    labels = batch["labels"][row, at]
    own = (labels < sentinel) | (labels >= sentinel + SENTINELS)
    found = torch.stack((row, batch["document_ids"][row, at], labels), dim=1)
    return sorted(map(tuple, found[own].tolist())), int((~own).sum())


def test_every_token_but_a_documents_first_is_a_target(corpus):
    goal = objective("cm3").on(corpus)
    batch = rows(corpus)
    prepared = goal.prepare(batch)
    documents, ids = batch["document_ids"], batch["input_ids"]
    assert "draws" not in prepared and (prepared["span_ids"] == -1).all()
    assert (prepared["labels"] != IGNORE).sum() == (documents >= 0).sum() - (documents.max(1).values + 1).sum()
    at = prepared["labels"] != IGNORE
    assert (prepared["labels"][:, :-1][at[:, :-1]] == ids[:, 1:][at[:, :-1]]).all()


@pytest.mark.parametrize("kind", ["text", "caption", "image"])
def test_no_target_is_lost_or_seen_twice(corpus, kind):
    goal = objective("cm3", 1.0).on(corpus)
    batch = rows(corpus, kind)
    plain, none = targets_of(objective("cm3").on(corpus).prepare(batch), goal.sentinel)
    masked = goal.prepare(batch)
    found, sentinels = targets_of(masked, goal.sentinel)
    assert found == plain and none == 0 and sentinels > 0
    assert masked["own"].sum() == (batch["document_ids"] >= 0).sum(), "what the budget counts"
    assert masked["input_ids"].shape[1] % 16 == 0
    assert (masked["modality"] == 1).sum() == (batch["modality"] == 1).sum()


def test_the_share_of_masked_documents_is_the_settings(corpus):
    split = corpus.sources["text"].train
    batch = collate([split.augmented(number, 0, 3) for number in range(40)])
    total = int((batch["document_ids"].max(1).values + 1).sum())
    for share in (0.0, 0.3, 1.0):
        goal = objective("cm3", share).on(corpus)
        prepared = goal.prepare(batch)
        first = (prepared["input_ids"] == goal.sentinel).sum() / 2          # once in its place, once before its span
        assert float(first) / total == pytest.approx(share, abs=0.08)


def test_held_out_documents_are_never_masked(corpus):
    split = corpus.sources["caption"].validation
    batch = collate([split[0], split[1]])
    plain, masked = (objective("cm3", share).on(corpus).prepare(batch) for share in (0.0, 1.0))
    assert all(torch.equal(plain[name], masked[name]) for name in plain) and plain.keys() == masked.keys()


def test_masks_depend_on_the_draw_alone(corpus):
    goal = objective("cm3", 0.5).on(corpus)
    one, same = (goal.prepare(rows(corpus)) for _ in range(2))
    assert torch.equal(one["input_ids"], same["input_ids"])
    split = corpus.sources["caption"].train
    other = goal.prepare(collate([split.augmented(number, 1, 3) for number in range(4)]))      # another epoch
    assert one["input_ids"].shape != other["input_ids"].shape or not torch.equal(one["input_ids"], other["input_ids"])


def test_a_masked_span_cannot_be_read_before_its_place(corpus, run):
    """Perturb the tokens of a moved span: logits before it stay, those behind change."""
    goal = objective("cm3", 1.0).on(corpus)
    batch = goal.prepare(rows(corpus, n=1))
    model = build(run.model).eval()
    ids, documents = batch["input_ids"][0], batch["document_ids"][0]
    at = torch.nonzero((ids == goal.sentinel) & (documents == 0)).flatten()[1] + 1     # the first token of span 0
    changed = {**batch, "input_ids": batch["input_ids"].clone()}
    changed["input_ids"][0, at] = (ids[at] + 1) % 100
    with torch.no_grad():
        before, after = model(batch), model(changed)
    position = torch.nonzero(batch["labels"][0] != IGNORE).flatten()
    first = position < at
    assert first.sum() > 20 and torch.equal(before[first], after[first])
    later = (position >= at) & (documents[position] == 0)
    assert not torch.allclose(before[later], after[later])
    assert torch.equal(before[documents[position] > 0], after[documents[position] > 0]), "nor in another document"


def test_codes_of_an_image_are_seen_from_left_to_right(corpus, run):
    batch = objective("cm3").on(corpus).prepare(rows(corpus, "image", n=1))
    model = build(run.model).eval()
    changed = {**batch, "input_ids": batch["input_ids"].clone()}
    changed["input_ids"][0, 9] += 1
    with torch.no_grad():
        before, after = model(batch), model(changed)
    assert torch.equal(before[:9], after[:9]) and not torch.allclose(before[9:17], after[9:17])


def test_a_run_records_losses_by_modality_rho_and_bits(corpus, run, tmp_path):
    images = corpus.image_tokenizer
    record = train(run, corpus, entropy=Scenes().entropy(images))
    assert record.status == "finished", record.reason
    assert records.read(records.write(record, tmp_path)) == record
    assert record.rho == pytest.approx(0.3, abs=0.02)
    assert record.losses.keys() == record.losses_by_modality.keys() == {"text", "caption", "image"}
    assert record.losses_by_modality["text"].keys() == {"text"}
    caption = record.losses_by_modality["caption"]
    assert min(caption.values()) < record.losses["caption"] < max(caption.values())
    assert record.bits_per_image.keys() == {"caption", "image"}
    assert record.bits_per_image["caption"] == pytest.approx(caption["image"] * 16 / np.log(2))
    words = np.array([corpus.tokenizer.word_bytes[ids].mean() for ids in ([corpus.tokenizer.inner.token_to_id("red")],)])
    assert record.bits_per_byte["text"] == pytest.approx(record.losses["text"] / np.log(2) * 20 / 19 / words.mean(), rel=0.6)
    assert all(record.losses[kind] > record.entropy[kind] for kind in record.losses)
    assert record.losses_by_token["image"].keys() == {"code", "special"}
    assert record.curve[-1][1] < record.curve[0][1]


def test_infilling_is_trained_and_costs_its_sentinels(corpus, run):
    plain, masked = (train(replace(run, tokens=4_000, infilling=share), corpus) for share in (0.0, 1.0))
    assert masked.status == "finished", masked.reason
    assert masked.D == plain.D and masked.rho == plain.rho, "the budget counts tokens of the corpus"
    assert 1.05 < masked.flops_exact / plain.flops_exact < 1.3
    assert masked.tokens["target"] > plain.tokens["target"]
    assert masked.losses != plain.losses


def test_one_epochs_order_is_exact_after_resuming(corpus, run, tmp_path):
    config = replace(run, tokens=6_000, infilling=0.5)
    alone = train(config, corpus)
    asked = []

    def stop() -> bool:
        asked.append(True)
        return len(asked) == 3

    with pytest.raises(Stopped):
        train(config, corpus, scratch=tmp_path / "scratch", stop=stop)
    resumed = train(config, corpus, scratch=tmp_path / "scratch")
    assert resumed.losses == alone.losses and resumed.curve == alone.curve and resumed.tokens == alone.tokens


def test_infilling_names_a_run_and_nothing_does_not(run):
    assert replace(run, infilling=0.5).id != run.id
    assert from_dict(to_dict(replace(run, infilling=0.5))) == replace(run, infilling=0.5)
    before = to_dict(run)
    del before["infilling"]
    assert from_dict(before).id == run.id


def test_bad_input_is_named(corpus, run, tmp_path, tiny):
    with pytest.raises(ValueError, match="infilling is a share of documents, between 0 and 1: got 1.5"):
        replace(run, infilling=1.5)
    with pytest.raises(ValueError, match="objective 'text' masks no spans: infilling must be 0, got 0.5"):
        objective("text", 0.5)
    patches = store.open(corpus.folder.with_name("coded-patches"))
    with pytest.raises(ValueError, match="an image tokenizer is missing: the images of .* are patches"):
        objective("cm3").on(patches)
    for name, bad in (("rho", 1.5),
                      ("written", {"caption": {"text of image": {"place": 1.5}}}),
                      ("bits_per_image", {"image": -1.0}), ("losses_by_modality", {"text": {"text": float("nan")}})):
        with pytest.raises(records.RecordError, match=name):
            records.RunRecord(config=run, status="failed", reason="-", **{name: bad})


def test_the_study_has_its_sizes_shares_budgets_and_seeds():
    study = find_study("mixed-modal")
    assert len(study.widths) >= 5 and len(study.budgets) == 2 and len(study.seeds) == 2
    assert len(RHO) == 9 and RHO[0] == 0 and RHO[-1] == 1
    shape = SimpleNamespace(hash="0" * 16, context=190, vocab_size=428, patch_dim=0, audio_dim=0, video_dim=0)
    grid = study.grid(shape)
    assert 180 <= len(grid) <= 220
    assert {run.objective for run in grid.values()} == {"cm3"}
    assert {run.infilling for run in grid.values()} == {0.0, 0.5}
    families = {replace(run, tokens=run.data.batch_tokens).id for run in grid.values()}
    assert 2 * len(families) == len(grid), "every budget has a trunk"
    apart = find_study("mixed-modal-apart")
    assert apart.scenes == 0 and set(apart.mixtures) < set(study.mixtures) and set(apart.widths) < set(study.widths)


def test_a_study_of_scenes_is_trained_into_records(tmp_path, monkeypatch):
    small = replace(STUDY, name="small scenes", arms=(Arm(name="next token", objective="cm3"),), scenes=0.5, budgets=(4_000, 6_000),
                    warmup_tokens=1_000, batch_sequences=4, validation_sequences=8, mixtures={"rho 0.3": mixture(0.3)})
    monkeypatch.setitem(STUDIES, "small scenes", small)
    summary, folder = run_study("small scenes", executor=InProcess(1), work=tmp_path)
    assert summary.whole and len(summary.finished) == 2, summary
    table = runs.load(folder)
    assert table["rho"].tolist() == pytest.approx([0.3, 0.3], abs=0.02)
    assert table[["L_text", "L_image", "bits_per_image", "bits_per_byte", "E_text"]].notna().all().all()
    assert len(runs.finished(table, "early")) == 2
    found = table["L_text"] - table["E_text"]
    assert (found > 0).all()
    assert (table["L_words"] < table["L_text"] + 0.5).all() and table["L_words"].notna().all()
    one = records.read(next(folder.glob("*.json"))).losses_by_token["text"]
    words = 3 * one["place"] + 4 * sum(one[trait] for trait in ("colour", "shape", "pattern", "name"))
    assert (words + one["special"]) / 20 == pytest.approx(table.set_index("run").loc[next(folder.glob("*.json")).stem, "L_text"], rel=1e-4)
    assert (table["D_image"] / (table["D_image"] + table["D_words"])).to_numpy() == pytest.approx(table["rho"].to_numpy())
    assert (table["D_words"] < table["D_text"]).all(), "ends and markers are no words"
    written = runs.written(folder)
    assert written.groupby("run").size().tolist() == [13, 13] and written["right"].between(0, 1).all()
    assert set(written["way"]) == {"image of text", "text of image", "image filled in"} and set(written["data"]) == {"caption"}
