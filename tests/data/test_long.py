"""Long documents: what returns is what was said, from all distances; and their entropy, counted once more by hand."""

import hashlib
import math
from itertools import islice

import numpy as np
import pytest

from nmm.data.corpus.embedded import embedded_corpus, entropy
from nmm.data.documents import Span
from nmm.data.generated.long import CAST, FRESH, KINDS, LINE, RECENCY, SCENE, SHORTEST, Chronicles
from nmm.data.generated.world import N_NAMES, PATCHES_PER_IMAGE, World

WORLD = World(0)


def flat(document) -> list[int]:
    """Ids of a document as a sequence holds them, -1 for patches, without its end."""
    ids = []
    for segment in document.segments:
        ids += [WORLD.vocabulary.index("<|image|>")] + [-1] * segment.positions if isinstance(segment, Span) else segment.ids.tolist()
    return ids


def events(document, kind) -> list[tuple[int, int, list[list[int]]]]:
    """Where each event begins, how many characters had entered, and its lines: four of a scene, one of a return."""
    ids, found, entered, at = flat(document), [], 0, 0
    opening = SCENE[kind] - CAST * LINE
    begins = WORLD.vocabulary.index("<|image|>" if kind == "interleaved" else "first")
    while at < len(ids):
        count, start = (CAST, at + opening) if ids[at] == begins else (1, at)
        found.append((at, entered, [ids[start + j * LINE:start + (j + 1) * LINE] for j in range(count)]))
        entered += CAST * (count == CAST)
        at = start + count * LINE
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_what_returns_is_what_was_said(kind):
    for document in islice(Chronicles(WORLD, 700).documents(kind, 10**6, seed=0), 12):
        ids = flat(document)
        assert len(ids) == 699, "and an end"
        said, images = {}, iter([segment for segment in document.segments if isinstance(segment, Span)])
        for _, entered, lines in events(document, kind):
            if len(lines) == CAST:
                assert entered == len(said)
                if kind == "interleaved":
                    objects = np.frombuffer(next(images).data, np.uint8).reshape(CAST, 4)
                    shown = [[WORLD.first_id(what) + value for what, value in zip(("colour", "shape", "pattern"), row[1:], strict=True)]
                             for row in objects.tolist()]
                    assert [line[1:4] for line in lines] == shown, "the image shows who enters"
                for line in lines:
                    assert line[0] not in said, "names are given once"
                    said[line[0]] = line
            else:
                assert said[lines[0][0]][:len(lines[0])] == lines[0], "word for word, but where the document ends"


def test_references_point_back_over_all_distances():
    """From a line to the whole document: each octave below half its length has its share of the returns."""
    distances = []
    for document in islice(Chronicles(WORLD, 2048).documents("text", 10**6, seed=1), 40):
        last = {}
        for at, _, lines in events(document, "text"):
            for j, line in enumerate(lines):
                place = at + (1 + j * LINE if len(lines) == CAST else 0)
                if line[0] in last and len(lines) == 1:
                    distances.append(place - last[line[0]])
                last[line[0]] = place
    share = np.histogram(distances, [0, 16, 32, 64, 128, 256, 512, 1024, 2048])[0] / len(distances)
    assert (share[:-1] > 0.05).all() and share.max() < 0.25, share
    assert share[-1] > 0.01, "some return from the other half of the document"


@pytest.mark.parametrize("kind", KINDS)
def test_the_entropy_by_position_is_the_mean_surprisal(kind):
    """Probabilities by the definition, event by event, over many documents: within three of its own deviations in every bin."""
    length, bins = 600, 6
    chronicles = Chronicles(WORLD, length)
    p, totals = WORLD.kind_probability, []
    for document in islice(chronicles.documents(kind, 10**7, seed=2), 300):
        nats, targets, recent = np.zeros(length), np.zeros(length), []
        for at, entered, lines in events(document, kind):
            fits = entered + CAST <= N_NAMES and length - 1 - at >= SCENE[kind]
            chance = FRESH / (FRESH + entered) if fits else 0.0
            if len(lines) == CAST:
                targets[at] += 1
                nats[at] -= math.log(chance)
                for j, line in enumerate(lines):
                    place = at + SCENE[kind] - (CAST - j) * LINE
                    colour, shape, pattern = (line[n] - WORLD.first_id(what) for n, what in ((1, "colour"), (2, "shape"), (3, "pattern")))
                    nats[place] += math.log(N_NAMES - entered - j)
                    if kind == "text":
                        nats[place + 1] -= math.log(p[colour].sum())
                        nats[place + 2] -= math.log(p[colour, shape].sum() / p[colour].sum())
                        nats[place + 3] -= math.log(p[colour, shape, pattern] / p[colour, shape].sum())
                    kinds = tuple(np.array([value]) for value in (colour, shape, pattern))
                    words = np.array(line[4:]) - WORLD.first_id("word")
                    likely = [WORLD.likely_remarks(*kinds)[0]]
                    for n in (1, 2):
                        context = [np.array([value]) for value in [0, 0, 0, *words[:n]][-4:]]
                        likely.append(WORLD.likely_words(*context)[0])
                    ranks = [np.flatnonzero(row == word)[0] for row, word in zip(likely, words, strict=True)]
                    nats[place + 4:place + 7] -= np.log(WORLD._successor_probability[ranks])
                    targets[place:place + LINE] += 1
                    recent.insert(0, line[0])
            else:
                rank = recent.index(lines[0][0])
                weights = (np.arange(entered) + 1.0) ** -RECENCY
                nats[at] -= math.log((1 - chance) * weights[rank] / weights.sum())
                targets[at:at + LINE] += 1
                recent.insert(0, recent.pop(rank))
        nats[0] = targets[0] = 0
        targets[length - 1] = 1
        totals.append(np.stack([nats, targets]).reshape(2, bins, -1).sum(2))
    found, spread = np.mean(totals, axis=0), np.std(totals, axis=0) / 300**0.5
    targets, nats = chronicles.by_position(kind)
    expected = np.stack([nats, targets]).reshape(2, bins, -1).sum(2)
    assert (abs(found - expected) <= 3 * spread + 1e-9).all(), ((found - expected) / np.maximum(spread, 1e-12)).round(1)
    means = expected[0] / expected[1]
    assert means[0] > means[1] > means[2], "the best possible loss falls with the position"
    assert chronicles.entropy()[kind] == pytest.approx(nats.sum() / targets.sum())


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("long")
    return embedded_corpus(folder, tokens=30_000, weights={"interleaved": 0.5, "text": 0.5}, kinds=KINDS, long=1024)


def test_a_corpus_has_one_document_a_sequence(corpus):
    assert corpus.context == 1024 and list(corpus.sources) == list(KINDS)
    for source in corpus.sources.values():
        for split in (source.train, source.validation):
            sequence = split[len(split) - 1]
            assert (sequence.documents == 0).all(), "no padding, no second document"
            assert sequence.tokens[-1] == corpus.tokenizer.end
        assert source.train.tokens.sum() >= 15_000
        assert len(source.validation) == 128
    image = corpus.sources["interleaved"].train[0]
    assert set(image.lengths.tolist()) == {PATCHES_PER_IMAGE}


def test_the_same_documents_always():
    """And others only with another `LONG_VERSION`: records of long runs rest on them."""
    state = hashlib.sha256()
    for kind in KINDS:
        short, long = (list(Chronicles(WORLD, 512).documents(kind, tokens, seed=0)) for tokens in (2_000, 8_000))
        assert [one.digest() for one in short] == [one.digest() for one in long[:len(short)]]
        for document in long:
            state.update(document.digest())
    assert state.hexdigest()[:16] == "753c45a790fa0ae8"


def test_entropy_of_the_long_corpus():
    assert entropy(0, KINDS, 1024) == Chronicles(WORLD, 1024).entropy()
    assert entropy(0, ("text",), 1024).keys() == {"text"}


@pytest.mark.parametrize(("call", "words"), [
    (lambda: Chronicles(WORLD, SHORTEST - 1), f"at least {SHORTEST} tokens, a scene and a return: got {SHORTEST - 1}"),
    (lambda: next(Chronicles(WORLD, 512).documents("caption", 1, 0)), "of data type interleaved or text: got 'caption'"),
    (lambda: entropy(0, ("caption",), 512), "of data type interleaved or text: got 'caption'"),
    (lambda: Chronicles(WORLD, 512).by_position("audio"), "interleaved or text: got 'audio'"),
])
def test_what_is_no_long_document_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_long_documents_have_one_resolution(tmp_path):
    with pytest.raises(ValueError, match="one resolution, 4: got grids"):
        embedded_corpus(tmp_path, tokens=1000, weights={"text": 1.0}, kinds=("text",), grids=(8,), long=512)
