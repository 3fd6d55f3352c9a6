"""The study of four modalities: its corpus is all tokens and its floors are true, its grid is what was asked, its smallest one trains."""

from dataclasses import replace

import numpy as np
import pytest

from nmm import record as records
from nmm import runs
from nmm.data.batches.loader import collate
from nmm.data.codes import quality
from nmm.data.corpus.coded import coded_corpus
from nmm.data.corpus.factors import factors, raw_corpus
from nmm.data.corpus.four import VALIDATION_DOCUMENTS, four_corpus
from nmm.data.documents import Span
from nmm.data.generated import four
from nmm.data.generated.world import CONTEXT, World
from nmm.laws.use import compression
from nmm.runs import bits
from nmm.studies import STUDIES, find_study, run_study
from nmm.studies.compression import FOUR, PAIRS, TEXT_ALONE
from nmm.training.objectives import objective

WORLD = World(0)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return four_corpus(tmp_path_factory.mktemp("four") / "four", tokens=20_000, weights=dict.fromkeys(four.KINDS, 0.25))


@pytest.fixture(scope="module")
def coders():
    return four.kept()


def test_one_vocabulary_of_words_and_three_kinds_of_codes(corpus, coders):
    first = corpus.first_codes
    assert list(first) == ["image", "audio", "video"] and first["video"] + four.N_CODES == corpus.vocab_size
    batch = collate([corpus.sources[kind].train[0] for kind in four.KINDS])
    assert not {"patches", "audio", "video"} & batch.keys(), "codes for patches, frames and tubelets"
    for number, modality in ((1, "image"), (2, "audio"), (3, "video")):
        ids = batch["input_ids"][batch["modality"] == number] - first[modality]
        assert len(ids) and ids.min() >= 0 and ids.max() < four.N_CODES
    assert (batch["input_ids"][batch["modality"] == 0] < first["image"]).all()
    assert {modality: corpus.coder(modality).hash for modality in first} == {modality: coder.hash for modality, coder in coders.items()}
    labels = objective("cm3").on(corpus).prepare(batch)["labels"]
    assert (labels >= first["video"]).any() and (labels >= 0).sum() > 500


def test_objects_stand_in_the_uppermost_row_and_texts_come_after_what_they_tell_of():
    for kind in four.MODALITY:
        for document in four.documents(WORLD, kind, 500, 3):
            span, text = document.segments
            assert isinstance(span, Span) and 1 + span.positions + len(text.ids) + 1 == four.LENGTHS[kind]
            if kind in four.OBJECT:
                assert not any(span.data[::four.OBJECT[kind]])
    with pytest.raises(ValueError, match="unknown data type 'image'"):
        next(four.documents(WORLD, "image", 10, 0))


def test_floors_are_the_entropy_of_what_documents_hold(coders):
    """-ln p under the true distribution, averaged over documents that are drawn, for the codes of a note and of an object."""
    lowest = four.floors(WORLD, coders)
    notes = coders["audio"].encode(four.templates()).reshape(-1, four.audio.POSITIONS_PER_NOTE)
    p = four.Melodies(WORLD).kind_probability.reshape(-1)
    _, which = np.unique(notes, axis=0, return_inverse=True)
    surprise = -np.log(np.bincount(which.ravel(), weights=p))[which.ravel()]
    drawn = np.random.default_rng(0).choice(len(p), 40_000, p=p / p.sum())
    assert lowest["audio"]["audio"] == pytest.approx(surprise[drawn].mean() / four.audio.POSITIONS_PER_NOTE, rel=0.01)
    melodies = four.Melodies(WORLD)
    said = np.stack([*np.indices(four.audio.NOTES)[:2], melodies.kind_name], axis=-1).reshape(-1, 3)       # a touch is heard only
    both = {}
    for codes, words, share in zip(map(bytes, notes), map(bytes, said), p, strict=True):
        both.setdefault(codes, {}).setdefault(words, []).append(share)
    left = sum(-sum(shares) * np.log(sum(shares) / sum(map(sum, words.values()))) for words in both.values() for shares in words.values())
    spoken = four.TARGETS["audio"]["text"]
    assert lowest["audio"]["text"] == pytest.approx(four.GRID * left / spoken)
    assert lowest["text"]["text"] == WORLD.entropy()["text"]
    for kind, by in lowest.items():
        assert all(nats >= 0 for nats in by.values()), kind
    said = four._entropy(WORLD.kind_probability.reshape(-1)) + np.log(len(four.MOTIONS))
    film = sum(lowest["video"][name] * count for name, count in four.TARGETS["video"].items())
    assert film == pytest.approx(4 * said), "codes and what is said of them are what is said"
    assert four.entropy(WORLD, coders)["video"] == pytest.approx(film / sum(four.TARGETS["video"].values()))


def test_the_floor_of_the_held_out_documents_is_near_the_entropy_and_that_of_their_codes(coders):
    lowest, found = four.floors(WORLD, coders), four.held_out_floors(WORLD, coders, 300, 0)
    for kind, modality in (("text", "text"), *four.MODALITY.items()):
        assert found[modality] == pytest.approx(lowest[kind][modality], rel=0.05) and found[modality] != lowest[kind][modality]


def test_the_kept_tokenizers_serve_the_corpus(coders):
    for modality, vectors in four.samples(5, 60).items():
        found = quality(coders[modality], vectors)
        assert found.codes == four.N_CODES and found.error < 0.8, modality


def test_all_held_out_documents_are_measured():
    study = find_study("compression")
    assert study.validation_sequences >= VALIDATION_DOCUMENTS // (CONTEXT // max(four.LENGTHS.values()))


def test_what_cannot_be_coded_is_named(corpus, coders, tmp_path):
    raw = raw_corpus(corpus)
    images, others = coders["image"], {name: coders[name] for name in ("audio", "video")}
    with pytest.raises(ValueError, match="is no image, and there is no (audio|video) tokenizer"):
        coded_corpus(raw, images, tmp_path / "a")
    with pytest.raises(ValueError, match="audio tokenizer .* takes 384 numbers at a position, and .* has 64"):
        coded_corpus(raw, images, tmp_path / "b", {"audio": others["video"]})
    with pytest.raises(ValueError, match="shares of caption, text, audio, video"):
        four_corpus(tmp_path / "c", tokens=10, weights={"interleaved": 1.0})


def test_factors_of_codes_are_those_of_what_is_behind_them(corpus):
    found = {(each.kind, each.modality): each for each in factors(corpus) if each.own}
    assert found["caption", "image"].raw == 192 and found["audio", "audio"].raw == 512 and found["video", "video"].raw == 384
    assert all(each.packed < each.raw for each in found.values())
    assert found["text", "text"].tokenizer.startswith("own")
    table = bits.beside(found.values(), {("caption", "image"): 0.01})
    assert table.set_index("modality").loc["image", "model"] == pytest.approx(192 * 0.01 / 8) and table["model"].notna().sum() == 1
    assert bits.written(table)["model bits/B"].tolist().count("-") == len(table) - 1


def test_a_corpus_of_codes_alone_has_no_raw_data(corpus, tmp_path):
    (tmp_path / "moved").symlink_to(corpus.folder)
    from nmm.data.corpus import store
    with pytest.raises(ValueError, match="holds codes, and the pixels and samples behind them are in corpus"):
        raw_corpus(store.open(tmp_path / "moved"))


def test_the_grid(shape):
    grid = list(find_study("compression").grid(shape).values())
    assert len(grid) >= 120 and len({run.id for run in grid}) == len(grid)
    assert len({run.seed for run in grid}) >= 2 and len({run.model.d_model for run in grid}) >= 3
    assert {run.objective for run in grid} == {"cm3"} and all(run.infilling == 0 for run in grid)
    weights = [run.data.weights for run in grid]
    assert TEXT_ALONE in weights and all(pair in weights for pair in PAIRS.values()) and all(each in weights for each in FOUR.values())
    assert all(set(each) == set(four.KINDS) for each in FOUR.values()) and len(FOUR) >= 4


@pytest.mark.slow
def test_from_a_name_to_records(tmp_path, monkeypatch, coders):
    tiny = replace(find_study("compression-smoke"), name="compression-tiny", widths=(8, 16),
                   mixtures={name: {**PAIRS, **FOUR}[name] for name in ("text and audio", "four alike")}, validation_sequences=4)
    monkeypatch.setitem(STUDIES, "compression-tiny", tiny)
    summary, folder = run_study("compression-tiny", work=tmp_path, jobs=1)
    assert summary.whole and len(summary.finished) == 8, str(summary)
    found = records.read(records.paths(folder)[0])
    lowest = four.floors(WORLD, coders)
    for kind, by in found.losses_by_modality.items():
        assert all(by[name] > lowest[kind][name] for name in by), kind
    assert found.entropy == pytest.approx(four.entropy(WORLD, coders))
    nats = found.losses_by_modality["audio"]["audio"]
    assert found.bits_per_byte_by_modality["audio"]["audio"] == pytest.approx(nats / np.log(2) / 512)
    assert found.rho is None
    table = runs.load(folder)
    assert table[list(compression.BITS.values())].notna().all(axis=None)
    whole = table[table["mixture"] == "four alike"]
    D = compression.tokens(whole)
    assert np.allclose(D.sum(axis=1), whole["D"])
    with pytest.raises(ValueError, match="runs without tokens of image, video"):
        compression.tokens(table)
    assert bits.per_nat(folder)["caption", "image"] == pytest.approx(1 / np.log(2) / 192)
    corpus_id = table["corpus"].iloc[0]
    assert bits.best(folder, corpus_id)["video", "video"] == pytest.approx(table["bits_per_byte_video"].min())
    with pytest.raises(ValueError, match=f"tells bits per byte on corpus other; it has runs of {corpus_id}"):
        bits.best(folder, "other")


def test_tokenizers_can_be_trained_again(monkeypatch):
    monkeypatch.setattr(four, "SPANS", 300)
    made = four.train_tokenizers(seed=1, codes=16)
    assert {modality: coder.codes for modality, coder in made.items()} == {"image": 16, "audio": 16, "video": 16}
    assert {coder.trained["world"] for coder in made.values()} == {"1"}
