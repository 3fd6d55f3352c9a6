"""Long documents: what returns is what was said or shown, from all distances; and their entropy, counted once more by hand."""

import hashlib
import math
from collections import Counter
from itertools import islice

import numpy as np
import pytest

from nmm.data.corpus.embedded import embedded_corpus, entropy
from nmm.data.documents import Span
from nmm.data.generated.long import CAST, CHOICES, IMAGE, KINDS, LINE, LINES, SHORTEST, TAIL, Chronicles
from nmm.data.generated.world import GRID, PATCHES_PER_IMAGE, World, draw_objects, render

WORLD = World(0)


def flat(document) -> list[int]:
    """Ids of a document as a sequence holds them, -1 for patches, without its end."""
    ids = []
    for segment in document.segments:
        ids += [WORLD.vocabulary.index("<|image|>")] + [-1] * segment.positions if isinstance(segment, Span) else segment.ids.tolist()
    return ids


def events(document) -> list[tuple[int, list[tuple[int, ...]]]]:
    """Where each event begins, and its characters as lines would say them: four that an image shows, or one of a line, which the
    document's end may cut.
    """
    patterns, names, words = Chronicles(WORLD, SHORTEST).tables
    who = {pattern: character for character, pattern in enumerate(patterns.tolist())}
    found, at = [], 0
    for segment in document.segments:
        if isinstance(segment, Span):
            shown = []
            for _, colour, shape, pattern in np.frombuffer(segment.data, np.uint8).reshape(GRID, 4).tolist():
                said = ("pattern", pattern), ("name", names[who[pattern], colour]), ("word", words[who[pattern], shape])
                shown.append(tuple(WORLD.first_id(what) + int(number) for what, number in said))
            found.append((at, shown))
            at += IMAGE
        else:
            ids = segment.ids.tolist()
            found += [(at + start, [tuple(ids[start:start + LINE])]) for start in range(0, len(ids), LINE)]
            at += len(ids)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_what_returns_is_what_was_said(kind):
    for document in islice(Chronicles(WORLD, 700).documents(kind, 10**6, seed=0), 12):
        assert len(flat(document)) == 699, "and an end"
        said = {}
        for _, characters in events(document):
            for line in characters:
                known = said.setdefault(line[0], line)
                assert known[:len(line)] == line, "token for token, but where the document ends"
        assert len(set(line[1:] for line in said.values())) == len(said) <= CAST
        images = [segment for segment in document.segments if isinstance(segment, Span)]
        assert bool(images) == (kind == "interleaved")
        assert render([image.data for image in images]).any() == bool(images), "they can be drawn"


def test_documents_tell_other_things():
    """Each of a character's names and words is as likely as the others, and another document has drawn it anew."""
    documents = list(islice(Chronicles(WORLD, 700).documents("text", 10**7, seed=3), 400))
    most = Counter(events(document)[0][1][0] for document in documents)
    first = Counter({line: count for line, count in most.items() if line[0] == most.most_common(1)[0][0][0]})
    assert len(first) == CHOICES**2 and max(first.values()) < 0.15 * sum(first.values()), "of the pairs of a name and a word"


def test_references_point_back_over_all_distances():
    """From a line to the whole document, in the shares that frequencies say."""
    distances, lines = [], 0
    for document in islice(Chronicles(WORLD, 2048).documents("text", 10**6, seed=1), 60):
        last = {}
        for at, [line] in events(document):
            if line[0] in last:
                distances.append(at - last[line[0]])
            last[line[0]] = at
            lines += 1
    edges = [0, 8, 16, 32, 64, 128, 256, 512, 1024, 2048]
    share = np.histogram(distances, edges)[0] / lines
    f = Chronicles(WORLD, 2048).frequency
    ago, all_lines = np.arange(1, -(-2047 // LINE)), -(-2047 // LINE)
    chance = (f**2 * (1 - f) ** (ago[:, None] - 1)).sum(1) * (all_lines - ago) / all_lines
    assert share == pytest.approx(np.histogram(LINE * ago, edges, weights=chance)[0], abs=0.005)
    assert (share[:-1] > 0.015).all() and share[-1] > 0.002 and share.max() < 0.3, share


@pytest.mark.parametrize("length", [600, SHORTEST, 2 * IMAGE + LINES * LINE + 1])
@pytest.mark.parametrize("kind", KINDS)
def test_the_entropy_by_position_is_the_mean_surprisal(kind, length):
    """Probabilities by the definition, event by event, over many documents: within three of its own deviations in every bin."""
    chronicles, bins = Chronicles(WORLD, length), 6
    frequency = (np.arange(CAST) + 1.0) ** -TAIL / ((np.arange(CAST) + 1.0) ** -TAIL).sum()
    rank = {WORLD.first_id("pattern") + number: rank for rank, number in enumerate(chronicles.tables[0].tolist())}
    totals = []
    for document in islice(chronicles.documents(kind, 10**7, seed=2), 300):
        nats, targets, met = np.zeros(length), np.zeros(length), set()
        targets[length - 1] = 1
        for at, characters in events(document):
            if len(characters) == GRID:
                targets[at] = 1         # the marker; patches are none
            else:
                targets[at:at + LINE] = 1
                surprise = [-math.log(frequency[rank[characters[0][0]]]), *[math.log(CHOICES) * (characters[0][0] not in met)] * 2]
                nats[at:at + len(characters[0])] = surprise[:len(characters[0])]
            met |= {line[0] for line in characters}
        nats[0] = targets[0] = 0
        expected_targets, expected = chronicles.by_position(kind)
        assert (targets[:length] == expected_targets).all()
        totals.append([part.sum() for part in np.array_split(nats[:length], bins)])
    found, spread = np.mean(totals, axis=0), np.std(totals, axis=0) / 300**0.5
    sums = np.array([part.sum() for part in np.array_split(expected, bins)])
    assert (abs(found - sums) <= 3.5 * spread + 1e-9).all(), ((found - sums) / np.maximum(spread, 1e-12)).round(1)
    assert chronicles.entropy()[kind] == pytest.approx(expected.sum() / expected_targets.sum())


@pytest.mark.parametrize("kind", KINDS)
def test_the_best_possible_loss_falls_to_the_end(kind):
    targets, nats = (values.reshape(16, -1).sum(1) for values in Chronicles(WORLD, 2048).by_position(kind))
    floor = nats / targets
    assert floor[0] > 1.15 * floor[1] and floor[1] > 1.05 * floor[-1], "who was not met can only be guessed"
    text = Chronicles(WORLD, 2048).by_position("text")[1][1:-1:LINE]
    assert (np.diff(text) < 0).all(), "a name, line by line"


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


def test_images_show_patches_of_who_is_in_them(corpus):
    patterns = Chronicles(WORLD, SHORTEST).tables[0]
    document = next(Chronicles(WORLD, 1024).documents("interleaved", 1, seed=0))
    image = next(segment for segment in document.segments if isinstance(segment, Span))
    row, colour, shape, pattern = np.frombuffer(image.data, np.uint8).reshape(GRID, 4).T.astype(int)
    assert set(pattern.tolist()) <= set(patterns.tolist()) and max(colour.max(), shape.max()) < CHOICES
    assert np.allclose(render([image.data])[0][np.arange(GRID) * GRID + row], draw_objects(colour, shape, pattern))


def test_the_same_documents_always():
    """And others only with another `LONG_VERSION`: records of long runs rest on them."""
    state = hashlib.sha256()
    for kind in KINDS:
        short, long = (list(Chronicles(WORLD, 512).documents(kind, tokens, seed=0)) for tokens in (2_000, 8_000))
        assert [one.digest() for one in short] == [one.digest() for one in long[:len(short)]]
        for document in long:
            state.update(document.digest())
    assert state.hexdigest()[:16] == "ced24a280027697a"


def test_entropy_of_the_long_corpus():
    assert entropy(0, KINDS, 1024) == Chronicles(WORLD, 1024).entropy()
    assert entropy(0, ("text",), 1024).keys() == {"text"}


@pytest.mark.parametrize(("call", "words"), [
    (lambda: Chronicles(WORLD, SHORTEST - 1), f"at least {SHORTEST} tokens, an image and a line: got {SHORTEST - 1}"),
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
