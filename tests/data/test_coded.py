"""A corpus of codes: the same sequences with a code where a patch stood, in one vocabulary."""

import json
from dataclasses import replace

import numpy as np
import pytest

from nmm.data.batches.infilling import SENTINELS
from nmm.data.batches.loader import collate
from nmm.data.batches.mixture import Mixture, image_share
from nmm.data.codes import fit_means
from nmm.data.corpus import show, store
from nmm.data.corpus.coded import coded_corpus
from nmm.data.corpus.embedded import embedded_corpus
from nmm.data.corpus.examples import write_examples
from nmm.data.corpus.formats import known
from nmm.data.corpus.prepare import prepare
from nmm.data.corpus.scenes import patches_corpus, scenes_corpus
from nmm.data.generated.scenes import CONTEXT, KINDS, LENGTHS, Scenes, mixture
from nmm.data.generated.world import render
from nmm.studies import MIXTURE

WEIGHTS = {"text": 0.4, "caption": 0.3, "image": 0.3}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return scenes_corpus(tmp_path_factory.mktemp("scenes") / "coded", tokens=30_000, weights=WEIGHTS)


@pytest.fixture(scope="module")
def patches(corpus):
    return patches_corpus(corpus.folder.with_name("coded-patches"), 30_000, WEIGHTS)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Small JPEGs in the study's formats, seen at 64 pixels: 8 x 8 patches."""
    folder = tmp_path_factory.mktemp("real")
    prepare(write_examples(folder / "files"), folder / "patches", validation=0.2, image_size=64, patch=8, context=512, vocab_size=400)
    return store.open(folder / "patches")


def documents(row):
    return [row.tokens[row.documents == number].tolist() for number in range(int(row.documents.max()) + 1)]


def test_one_vocabulary_of_text_sentinels_and_codes(corpus, patches):
    codes = corpus.geometry.codes
    assert corpus.vocab_size == patches.vocab_size + SENTINELS + codes and codes == 240
    assert corpus.patch_dim == 0 and corpus.geometry.modalities == ("image",)
    tokenizer = corpus.tokenizer
    assert tokenizer.inner.id_to_token(corpus.vocab_size - codes) == "<|code 0|>"
    assert tokenizer.inner.id_to_token(patches.vocab_size) == "<|mask 0|>"
    assert corpus.token_kinds[-2:] == [(patches.vocab_size, "special"), (corpus.vocab_size - codes, "code")]


def test_codes_stand_where_patches_stood(corpus, patches):
    first = corpus.vocab_size - corpus.geometry.codes
    for kind in KINDS:
        before, after = patches.sources[kind].validation, corpus.sources[kind].validation
        assert len(before) == len(after) and (before.tokens == after.tokens).all() and (before.image_tokens == after.image_tokens).all()
        for number in range(3):
            row, old = after[number], before[number]
            seen = known("scene").decode(old.data, old.lengths.tolist(), old.geometry, [None] * len(old.data)).reshape(-1, 16, 192)
            for start, data, image in zip(row.starts, row.data, seen):
                codes = corpus.image_tokenizer.encode(image)
                assert (row.tokens[start:start + 16] == first + codes).all()
                assert np.frombuffer(data, "<u2").tolist() == codes.tolist()


def test_every_second_caption_has_its_text_first(corpus, patches):
    marker, end = corpus.tokenizer.markers["image"], corpus.tokenizer.end
    before, after = (each.sources["caption"].validation for each in (patches, corpus))
    firsts = []
    for number in range(20):
        for old, new in zip(documents(before[number]), documents(after[number])):
            firsts.append(new[0] == marker)
            text = old[17:-1]
            assert new[-1] == end
            assert new[1 if firsts[-1] else 21:][:16] == [token for token in new if token >= corpus.vocab_size - 240]
            assert (new[17:-1] if firsts[-1] else new[:20]) == text
    assert firsts == [not number % 2 for number in range(len(firsts))] or firsts == [bool(number % 2) for number in range(len(firsts))]


def test_samples_show_codes_as_the_model_sees_them(corpus):
    page = show.samples_html(corpus, per_source=1, split="validation")
    assert page.count("&lt;|code ") == 2 * 16 and "<img" not in page


def test_batches_hold_codes_as_ids_and_no_patches(corpus):
    split = corpus.sources["caption"].train
    batch = collate([split.augmented(number, 0, 7) for number in range(2)])
    assert "patches" not in batch
    assert ((batch["input_ids"] >= corpus.vocab_size - 240) == (batch["modality"] == 1)).all()
    assert batch["draws"].tolist() == [[7, split.source, 0, 0], [7, split.source, 1, 0]]
    assert "draws" not in collate([split[0]])


@pytest.mark.parametrize("rho", [0, 0.05, 0.2, 4 / 9, 0.6, 1])
def test_a_mixture_has_its_share_of_images(corpus, rho):
    weights = mixture(rho)
    order = Mixture(corpus, weights, seed=0, max_epochs=40)
    assert sum(weights.values()) == pytest.approx(1, abs=1e-5)
    assert image_share(corpus, order.realised(400)) == pytest.approx(rho, abs=0.015)


def test_scenes_fill_their_context(corpus):
    for kind, source in corpus.sources.items():
        assert source.train.tokens.mean() > 0.94 * CONTEXT, kind
        assert (source.train.tokens % LENGTHS[kind] == 0).mean() > 0.9, "documents are whole"


@pytest.mark.parametrize("shared", [0, 0.5, 1])
def test_texts_tell_of_what_images_show_as_far_as_they_share(shared):
    world = Scenes(shared=shared)
    names = {number: kind for number, kind in zip(range(len(world.vocabulary)), np.repeat(
        [kind for _, kind in world.token_kinds], np.diff([first for first, _ in world.token_kinds] + [len(world.vocabulary)])))}
    same = []
    for document in list(world.documents("caption", 38 * 300, 0))[:300]:
        shown = np.frombuffer(document.segments[0].data, np.uint8).reshape(4, 4)
        told = document.segments[1].ids.reshape(4, 5)
        assert [names[token] for token in told[0]] == ["place", "colour", "shape", "pattern", "name"]
        same.append((world.tell(shown[None]).reshape(4, 5) == told).all(1))
    rates = np.mean(same, axis=0)
    assert (rates[:int(4 * shared)] == 1).all() and (rates[int(4 * shared):] < 0.05).all()
    assert world.shared_information() == pytest.approx(4 * shared * world.object_entropy)


def test_floors_are_the_entropies_without_ends_and_markers(corpus):
    """A text alone has 19 words and an end to foresee, an image 16 codes and an end: ends cost nothing."""
    world, images = Scenes(), corpus.image_tokenizer
    floors, entropy = world.floors(images), world.entropy(images)
    assert floors["text"] * 19 == pytest.approx(entropy["text"] * 20)
    assert floors["image"] * 16 == pytest.approx(entropy["image"] * 17)


def test_floors_of_held_out_scenes_have_their_luck(corpus):
    """Those of many scenes are the entropies; those held out are the corpus's own, word by word and code by code."""
    world, images = Scenes(), corpus.image_tokenizer
    rng = np.random.default_rng(5)
    assert world.floors_of({"text": world.objects(rng, 20_000), "image": world.objects(rng, 20_000)}, images) == pytest.approx(
        world.floors(images), rel=2e-3)
    held, floor = world.held_out(100), world.floors(images)
    luck = {name: value / floor[name] - 1 for name, value in world.floors_of(held, images).items()}
    assert 0.005 < luck["text"] < 0.008 and -0.002 < luck["image"] < -0.001, luck      # counted by another hand too
    told, shown = world.tell(held["text"]), images.encode(render([scene.tobytes() for scene in held["image"]]))
    first = corpus.vocab_size - images.codes
    for kind, expected, skip in (("text", told, 0), ("image", first + shown, 1)):
        sequences = [corpus.sources[kind].validation[number] for number in range(100)]
        documents = [one.tokens[one.documents == number] for one in sequences for number in range(one.documents.max() + 1)]
        assert (np.stack(documents)[:, skip:-1] == expected).all(), kind


def test_what_codes_tell_is_counted_exactly(corpus):
    """The entropy of the codes against that of a quarter of a million images."""
    world, images = Scenes(), corpus.image_tokenizer
    objects = world.objects(np.random.default_rng(5), 20_000)
    codes = images.encode(render([scene.tobytes() for scene in objects])).reshape(-1, 4, 4)
    for column, stated in enumerate(world.code_entropy(images)):
        _, counts = np.unique(codes[:, column], axis=0, return_counts=True)
        share = counts / counts.sum()
        counted = -(share * np.log(share)).sum() + (len(counts) - 1) / (2 * counts.sum())       # Miller and Madow's correction
        assert counted == pytest.approx(stated, abs=0.03)
        assert stated < world.object_entropy, "codes lose some of it"


def test_real_images_of_any_prepared_corpus(real, tmp_path):
    rows = [real.sources["caption"].train[number] for number in range(len(real.sources["caption"].train))]
    seen = np.concatenate([known("jpeg").decode(row.data, row.lengths.tolist(), row.geometry, [None] * len(row.data)) for row in rows])
    tokenizer = fit_means(seen, 60)
    coded = coded_corpus(real, tokenizer, tmp_path / "coded")
    assert coded.patches_per_image == 64 and coded.image_tokenizer.hash == tokenizer.hash
    before, after = real.sources["interleaved"].train[0], coded.sources["interleaved"].train[0]
    text = (after.tokens < real.vocab_size)
    assert (after.starts == before.starts).all(), "interleaved documents keep their order"
    assert (after.tokens[text] == before.tokens[text]).all() and (~text).sum() == before.lengths.sum() > 0
    assert coded.tokenizer.decode(after.tokens[:8]) == real.tokenizer.decode(before.tokens[:8])
    again = coded_corpus(real, tokenizer, tmp_path / "coded")
    assert again.hash == coded.hash


def test_its_hash_is_that_of_its_image_tokenizer_too(corpus, patches, tmp_path):
    other = replace(corpus.image_tokenizer, weights={
        **corpus.image_tokenizer.weights, "decoder.1.bias": corpus.image_tokenizer.weights["decoder.1.bias"] + 1e-3})
    assert coded_corpus(patches, other, tmp_path / "other").hash != corpus.hash
    with pytest.raises(ValueError, match="already holds a corpus made from other data"):
        coded_corpus(patches, corpus.image_tokenizer, tmp_path / "other")
    other.write(tmp_path / "mine.safetensors")
    moved = tmp_path / "moved"
    moved.mkdir()
    (moved / "corpus.json").write_text(json.dumps(corpus.description))
    other.write(moved / "image_tokenizer.safetensors")
    with pytest.raises(ValueError, match=f"is image tokenizer {other.hash}, of another corpus: .* {corpus.image_tokenizer.hash}"):
        store.open(moved).image_tokenizer
    (moved / "image_tokenizer.safetensors").unlink()
    with pytest.raises(ValueError, match="is missing: the images of this corpus are codes"):
        store.open(moved).image_tokenizer


def test_bad_input_is_named(corpus, patches, real, tmp_path):
    with pytest.raises(ValueError, match="are codes already"):
        coded_corpus(corpus, corpus.image_tokenizer, tmp_path / "x")
    small = fit_means(np.random.default_rng(0).normal(size=(50, 48)), 4)
    with pytest.raises(ValueError, match="takes patches of 48 numbers, and those of .* have 192"):
        coded_corpus(patches, small, tmp_path / "x")
    with pytest.raises(ValueError, match="are patches, and no image tokenizer made codes"):
        patches.image_tokenizer
    for rho in (-0.1, 1.1):
        with pytest.raises(ValueError, match=f"rho is the share of image tokens, between 0 and 1: got {rho}"):
            mixture(rho)
    with pytest.raises(ValueError, match="shared is 0.3"):
        Scenes(shared=0.3)
    with pytest.raises(ValueError, match="image size 60 is not a multiple of patch 8"):
        prepare([], tmp_path / "y", image_size=60, patch=8, context=128, validation=0.1, vocab_size=300)
    with pytest.raises(ValueError, match="weights {'audio': 1}"):
        scenes_corpus(tmp_path / "z", tokens=1000, weights={"audio": 1})


def test_the_studys_own_corpus_has_codes_too(tmp_path):
    """Captions, interleaved documents and text of the generated world, through the same call."""
    generated = embedded_corpus(tmp_path / "patches", tokens=4_000, weights=MIXTURE)
    rows = [generated.sources["caption"].train[number] for number in range(8)]
    seen = np.concatenate([known("scene").decode(row.data, row.lengths.tolist(), row.geometry, [None] * len(row.data)) for row in rows])
    coded = coded_corpus(generated, fit_means(seen, 40), tmp_path / "coded")
    before, after = generated.sources["interleaved"].train[0], coded.sources["interleaved"].train[0]
    spans = np.zeros(coded.context, bool)
    for start, length in zip(after.starts, after.lengths):
        spans[start:start + length] = True
    assert (after.tokens[~spans] == before.tokens[~spans]).all() and (after.tokens[spans] >= coded.vocab_size - 40).all()
    assert len(after.data) == 4 and [kind for _, kind in coded.token_kinds][-1] == "code"
