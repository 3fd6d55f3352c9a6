"""The generated world: its entropy by brute force, its prefixes, its pictures and what can be read from them."""

import math
from collections import Counter

import numpy as np
import pytest

from nmm.config import TASKS
from nmm.data.batches.loader import IGNORE, collate
from nmm.data.corpus.embedded import embedded_corpus
from nmm.data.documents import Span, Text
from nmm.data.generated import draws
from nmm.data.generated import world as generated
from nmm.data.generated.tail import chance_of_a_new_kind, objects_per_token
from nmm.data.generated.world import COLOURS, GRID, PATTERNS, SHAPES, TEXTURES, World, picture, render
from nmm.studies import MIXTURE

WORLD = World(0)
KINDS = len(COLOURS) * len(SHAPES) * TEXTURES


def first(kind: str, n: int, seed: int = 0) -> list:
    """The first `n` documents."""
    return [document for _, document in zip(range(n), WORLD.documents(kind, 10**9, seed), strict=False)]


def ids(document) -> list[int]:
    """Text ids of a document, images left out."""
    return [int(i) for segment in document.segments if isinstance(segment, Text) for i in segment.ids]


def scenes(document) -> list[bytes]:
    return [segment.data for segment in document.segments if isinstance(segment, Span)]


def test_the_vocabulary_has_756_different_words():
    assert len(WORLD.vocabulary) == len(set(WORLD.vocabulary)) == 756


def word_surprise(words: list[int], kind: tuple[int, ...] | None) -> float:
    """-log p of words that go on from each other, under the generator's tables [nats], with no shortcut.

    The first is said of an object of this kind, or is no target.
    """
    _, successors, order_of, orders = WORLD._word_tables
    p = WORLD._successor_probability
    total = 0.0
    if kind is not None:
        said, order = WORLD._remark_tables
        total -= math.log(p[[int(said[WORLD.kind_name[kind], place]) for place in orders[order[kind]]].index(words[0])])
    padded = [0, 0, 0, *words]
    for *four, word in zip(*(padded[at:] for at in range(5)), strict=False):
        context = [np.array([value]) for value in four]
        (three_say,), (four_say,) = (draws.bit(known, generated.N_WORDS, WORLD.seed) for known in (context[1:], context))
        order = orders[order_of[four[2], four[3], 2 * three_say + four_say]]
        total -= math.log(p[[int(successors[four[3], place]) for place in order].index(word)])
    return total


@pytest.mark.parametrize("kind", TASKS)
def test_entropy_is_the_mean_surprise(kind, corpus):
    """-log p of sampled documents per target of the real loader, within four standard errors of the stated entropy."""
    words_from = len(WORLD.vocabulary) - generated.N_WORDS
    per_document = []
    for document in first(kind, 1500):
        total, last = 0.0, None
        for segment in document.segments:
            if isinstance(segment, Span):
                last = tuple(segment.data[-3:])
            else:
                total += word_surprise([int(i) - words_from for i in segment.ids if i >= words_from], last)
        per_document.append(total)
    row = collate([corpus.sources[kind].train[0]])
    targets = int((row["labels"] != IGNORE).sum()) / int(row["document_ids"].max() + 1)
    surprise = np.array(per_document) / targets
    error = surprise.std() / len(surprise) ** 0.5
    assert abs(surprise.mean() - WORLD.entropy()[kind]) < 4 * error, (surprise.mean(), WORLD.entropy()[kind], error)
    assert error < 0.01 * WORLD.entropy()[kind]


def test_which_order_words_have_is_as_good_as_drawn():
    """No three of the four words tell the bit, and no two of three: its mean over another is a half, as near as 389 draws allow."""
    words = np.arange(generated.N_WORDS)
    for fixed in ((7, 300), (0, 0), (7, 300, 11), (0, 0, 0)):
        for place in range(len(fixed) + 1):
            row = [np.full_like(words, value) for value in fixed]
            row.insert(place, words)
            assert abs(draws.bit(row, generated.N_WORDS, 0).mean() - 0.5) < 4 * 0.5 / len(words) ** 0.5
    three = (words, words[::-1], words)
    assert (draws.bit(three, generated.N_WORDS, 0) != draws.bit(three, generated.N_WORDS, 1)).any()


def test_a_model_that_cannot_see_pays_much_more():
    """Entropy of kinds by rows of a caption or a story, against the floor: far more than a fifth, names not counted."""
    p = WORLD.kind_probability
    unseen = -(p * np.log(p)).sum() * GRID
    for kind, targets in (("caption", 27), ("interleaved", 111 / generated.SECTIONS)):
        assert unseen / targets > WORLD.entropy()[kind]


def test_targets_per_document_are_those_of_the_loader(corpus):
    """Words and descriptions are all predicted, but for the first token; an end is, a caption's start and image are not."""
    expected = {"caption": 27, "interleaved": generated.WORDS_PER_STORY + 4 * 17, "text": generated.WORDS_PER_TEXT}
    for kind, number in expected.items():
        batch = collate([corpus.sources[kind].train[k] for k in range(4)])
        documents = sum(int(row.max()) + 1 for row in batch["document_ids"])
        assert int((batch["labels"] != IGNORE).sum()) == number * documents, kind


def descriptions(scene: bytes) -> list[str]:
    """What must be said of a scene."""
    said = []
    for column in range(GRID):
        _, colour, shape, texture = scene[4 * column:4 * column + 4]
        name = WORLD.kind_name[colour, shape, texture]
        said += [COLOURS[colour], SHAPES[shape], PATTERNS[texture], WORLD.vocabulary[WORLD.first_id("name") + name]]
    return said


def test_what_is_said_of_an_image_is_a_function_of_it():
    """Colour, shape, pattern and name of all objects can be read off the scene; words follow."""
    for document in first("caption", 500):
        (scene,) = scenes(document)
        said = [WORLD.vocabulary[i] for i in ids(document)]
        assert said[:16] == descriptions(scene)
        assert len(said) == 16 + generated.WORDS_PER_CAPTION and min(ids(document)[16:]) >= WORLD.first_id("word")


def test_a_story_describes_its_images():
    for document in first("interleaved", 100):
        kinds = [type(segment) for segment in document.segments]
        assert kinds == [Text, *[Span, Text] * 4]
        for k, scene in enumerate(scenes(document)):
            assert [WORLD.vocabulary[int(i)] for i in document.segments[2 * k + 2].ids[:16]] == descriptions(scene)


def test_words_for_a_column_stand_as_far_from_it_in_every_column():
    assert generated.SAID == GRID == generated.PATCHES_PER_IMAGE // GRID


def test_the_first_word_of_a_chain_has_its_distribution():
    unigram = WORLD._word_tables[0]
    counts = Counter(int(document.segments[0].ids[0]) - WORLD.first_id("word") for document in first("text", 4000))
    seen = np.array([counts[w] for w in range(generated.N_WORDS)]) / 4000
    assert abs(seen - unigram).max() < 5 * (unigram.max() / 4000) ** 0.5


def test_kinds_are_heavy_tailed():
    """p ~ (rank + 15)^-1.5 over 24,576 kinds: rare ones together weigh much, and what is drawn follows it."""
    p = np.sort(WORLD.kind_probability.reshape(-1))[::-1]
    assert len(p) == KINDS == 24_576
    assert p.sum() == pytest.approx(1)
    slope = np.polyfit(np.log(np.arange(KINDS) + 15), np.log(p), 1)[0]
    assert slope == pytest.approx(-1.5, abs=1e-6)
    assert p[:10].sum() < 0.5 < p[:200].sum() < 0.95
    drawn = np.frombuffer(b"".join(scene for document in first("caption", 5000) for scene in scenes(document)), np.uint8).reshape(-1, 4)
    flat = np.ravel_multi_index(drawn[:, 1:].T.astype(int), (len(COLOURS), len(SHAPES), TEXTURES))
    seen = np.bincount(flat, minlength=KINDS) / len(flat)
    expected = WORLD.kind_probability.reshape(-1)
    common = expected > 1e-3
    z = (seen - expected)[common] / np.sqrt(expected[common] / len(flat))
    assert abs(z).max() < 5
    assert z.std() == pytest.approx(1, abs=0.25)
    assert np.bincount(drawn[:, 0], minlength=GRID) / len(drawn) == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("kind", TASKS)
def test_a_longer_corpus_begins_with_the_shorter(kind):
    length = generated.LENGTHS[kind]
    short, long = (list(WORLD.documents(kind, n * length, seed=3)) for n in (700, 1900))
    assert len(short) == 700
    assert len(long) == 1900
    assert [d.digest() for d in short] == [d.digest() for d in long[:700]]
    assert len({d.name for d in long}) == 1900


@pytest.mark.parametrize("kind", TASKS)
def test_the_seeds_decide(kind):
    one, same, other = (list(World(world).documents(kind, 2000, seed)) for world, seed in ((0, 1), (0, 1), (0, 2)))
    assert [d.digest() for d in one] == [d.digest() for d in same]
    assert [d.digest() for d in one] != [d.digest() for d in other]
    assert World(1).vocabulary != WORLD.vocabulary


def test_an_unknown_data_type():
    with pytest.raises(ValueError, match="unknown data type 'audio': the generated corpus has caption, interleaved, text"):
        next(WORLD.documents("audio", 10, 0))


def test_patches_are_in_column_major_order():
    """An object in column c and row r is patch 4 c + r, and stands at the same place of the picture."""
    for rows in ((0, 1, 2, 3), (3, 0, 3, 0)):
        scene = bytes(value for row in rows for value in (row, 7, 0, 0))
        patches = render([scene])[0]
        filled = [4 * column + row for column, row in enumerate(rows)]
        assert np.flatnonzero(patches.any(1)).tolist() == filled
        pixels = picture(scene).astype(int).reshape(GRID, 8, GRID, 8, 3)
        for row in range(GRID):
            for column in range(GRID):
                grey = (abs(pixels[row, :, column] - 128) <= 1).all()
                assert grey == (rows[column] != row)


@pytest.mark.parametrize(("scene", "message"), [
    (b"", "a scene is 16 bytes: got lengths .0."), (bytes(15), "a scene is 16 bytes: got lengths .15."),
    (bytes([4, 0, 0, 0] * 4), "row 4 in a scene: it must be below 4"),
    (bytes([0, 16, 0, 0] * 4), "colour 16 in a scene: it must be below 16"),
    (bytes([0, 0, 24, 0] * 4), "shape 24 in a scene: it must be below 24"),
    (bytes([0, 0, 0, 64] * 4), "texture 64 in a scene: it must be below 64"),
])
def test_a_bad_scene_is_refused(scene, message):
    with pytest.raises(ValueError, match=message):
        render([scene])


def test_a_linear_layer_reads_colour_shape_and_texture():
    """One linear layer without bias, whose rows are the mean patches of each class, reads every kind right."""
    axes = [axis.ravel() for axis in np.meshgrid(range(len(COLOURS)), range(len(SHAPES)), range(TEXTURES), indexing="ij")]
    scenes = np.zeros((KINDS, GRID, 4), np.uint8)
    scenes[:, 0, 1:] = np.stack(axes, 1)
    patches = render([scene.tobytes() for scene in scenes])[:, 0]
    for name, value, limit in zip(("colour", "shape", "texture"), axes, (len(COLOURS), len(SHAPES), TEXTURES), strict=True):
        weights = np.stack([patches[value == k].mean(0) for k in range(limit)])
        scores = patches @ weights.T
        assert (scores.argmax(1) == value).all(), f"{name}: {(scores.argmax(1) != value).mean():.2%} misread"
        best, second = np.sort(scores, 1)[:, [-1, -2]].T
        assert (best - second).min() > 1, f"{name}: read with a margin of {(best - second).min()}"


def test_patches_have_unit_mean_square():
    rng = np.random.default_rng(0)
    values = rng.integers(0, [4, 16, 24, 64], (2000, GRID, 4)).astype(np.uint8)
    filled = render([v.tobytes() for v in values])
    filled = filled[filled.any(-1)]
    assert (filled**2).mean() == pytest.approx(1, abs=0.01)


def test_the_corpus_of_the_smoke_study_is_pinned(tmp_path):
    """Its hash is part of every run's name: a change of the generator or of packing must raise `embedded.VERSION`."""
    corpus = embedded_corpus(tmp_path, tokens=80_000, weights=MIXTURE)
    assert corpus.hash == "6e5ba3bfa431c8d1"
    assert (corpus.context, corpus.vocab_size, corpus.patch_dim) == (176, 756, 192)
    for source in corpus.sources.values():
        assert (source.train.tokens < 176).mean() < 0.02, "documents fill sequences without padding, but for what is left over"


def test_image_tokens_are_about_as_many_as_in_the_papers_mixture(corpus):
    """16 of a caption's 44 tokens and 64 of a story's 176, so 33 % of all; the paper's 45-45-10 has 54 %."""
    share = sum(MIXTURE[name] * source.train.image_tokens.sum() / source.train.tokens.sum() for name, source in corpus.sources.items())
    assert share == pytest.approx(0.9 * 64 / 176, abs=0.005)


def test_another_corpus_is_not_written_over(tmp_path):
    embedded_corpus(tmp_path, tokens=2_000, weights=MIXTURE)
    with pytest.raises(ValueError, match=str(tmp_path)):
        embedded_corpus(tmp_path, tokens=2_000, weights=MIXTURE, seed=1)


def test_what_is_left_to_meet_follows_from_the_documents(corpus):
    """Objects per token against those of the corpus; the chance of a new kind against kinds drawn one after the other."""
    captions = corpus.sources["caption"]
    expected = captions.train.image_tokens.sum() / GRID / captions.train.tokens.sum()
    assert objects_per_token({"caption": 1.0}) == pytest.approx(expected, rel=0.02)
    assert objects_per_token({"text": 1.0}) == 0
    rng, p = np.random.default_rng(0), WORLD.kind_probability.reshape(-1)
    kinds = rng.choice(p.size, p=p, size=(1_000, 2_001))
    new = np.mean([row[-1] not in row[:-1] for row in kinds])
    assert new == pytest.approx(chance_of_a_new_kind(WORLD, np.array([2_000]))[0], abs=4 * 0.2 / 1_000**0.5)
    assert chance_of_a_new_kind(WORLD, np.array([0]))[0] == pytest.approx(1)
