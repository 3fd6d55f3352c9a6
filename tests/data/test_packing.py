"""Packing: nothing lost, nothing reordered, no image cut, little wasted."""

import numpy as np
import pytest

from nmm.data.corpus.packing import (
    Encoded,
    SplitPacker,
    WholePacker,
    best_fit_decreasing,
    better_context,
    encode,
    packer,
)
from nmm.data.corpus.tokenizer import Tokenizer
from nmm.data.documents import Document, Span, Text


def random_documents(seed: int, n: int, patches: int, text: tuple[int, int], images: tuple[int, int]) -> list[Encoded]:
    """Documents whose tokens are numbered from 1 (0 is an image position), so that pieces can be put in order again."""
    random = np.random.default_rng(seed)
    documents = []
    for _ in range(n):
        tokens, starts, number = [], [], 1
        for part in range(random.integers(images[0], images[1] + 1) + 1):
            if part:
                tokens.append(number)  # stands for <|image|>
                number += 1
                starts.append(len(tokens))
                tokens += [0] * patches
            length = int(random.integers(*text))
            tokens += range(number, number + length)
            number += length
        tokens.append(number)  # stands for <|endofdocument|>
        documents.append(Encoded(np.array(tokens, np.int32), np.array(starts, np.int64),
                                 np.full(len(starts), patches), tuple(Span(bytes([s % 256]), "x") for s in starts)))
    return documents


def pack_all(kind: str, documents: list[Encoded], context: int) -> list[list[Encoded]]:
    machine = packer(kind, context)
    return [sequence for d in documents for sequence in machine.add(d)] + list(machine.finish())


def waste(sequences: list[list[Encoded]], context: int) -> float:
    return 1 - sum(len(p) for s in sequences for p in s) / (context * len(sequences))


@pytest.mark.parametrize("seed", range(5))
def test_captions_stay_whole_and_none_is_lost(seed):
    documents = random_documents(seed, 3000, 16, (3, 30), (1, 1))
    sequences = pack_all("caption", documents, 256)
    assert all(sum(map(len, s)) <= 256 for s in sequences)
    packed = {id(d.tokens) for s in sequences for d in s}
    assert packed == {id(d.tokens) for d in documents}
    assert waste(sequences, 256) < 0.05


def test_best_fit_decreasing_is_optimal_where_the_optimum_is_known():
    # pairs 70 + 30 and 55 + 45 fill sequences of 100 exactly
    lengths = [30, 55, 70, 45] * 20
    assert len(best_fit_decreasing(lengths, 100)) == 40


@pytest.mark.parametrize("seed", range(5))
def test_interleaved_documents_come_back_in_order_and_no_image_is_cut(seed):
    documents = random_documents(seed, 300, 16, (0, 120), (0, 4))
    sequences = pack_all("interleaved", documents, 128)
    for sequence in sequences:
        assert sum(map(len, sequence)) <= 128
        for piece in sequence:
            zeros = np.flatnonzero(piece.tokens == 0)
            inside = [p for start, length in zip(piece.starts, piece.lengths) for p in range(start, start + length)]
            assert zeros.tolist() == inside and len(piece.spans) == len(piece.starts)
            assert all(start >= 1 for start in piece.starts), "an image is cut from its <|image|> token"
    # Every document's tokens, taken in the order of the pieces' first numbers, are the whole document.
    pieces = [p for s in sequences for p in s]
    assert sum(map(len, pieces)) == sum(map(len, documents))
    for document in documents:
        mine = [p for p in pieces if np.shares_memory(p.tokens, document.tokens)]  # pieces are views
        mine.sort(key=lambda p: p.tokens[p.tokens > 0][0])
        assert np.array_equal(np.concatenate([p.tokens for p in mine]), document.tokens)
        assert [i for p in mine for i in p.spans] == list(document.spans)


@pytest.mark.parametrize(("context", "patches", "text", "images"), [
    (1024, 256, (50, 700), (0, 5)),   # the paper's geometry, OBELICS-like documents
    (256, 64, (20, 300), (1, 8)),
    (1024, 0, (100, 6000), (0, 0)),   # text only
])
def test_waste_of_split_documents_is_below_five_per_cent(context, patches, text, images):
    sequences = pack_all("interleaved", random_documents(0, 2000, patches, text, images), context)
    assert waste(sequences, context) < 0.05


def test_documents_that_are_too_long_are_refused():
    document = random_documents(0, 1, 16, (5, 6), (1, 1))[0]
    with pytest.raises(ValueError, match="does not fit the context of 20"):
        list(WholePacker(20).add(document))
    with pytest.raises(ValueError, match="image of 16 patches does not fit the context of 16"):
        list(SplitPacker(16).add(document))


def test_a_better_context_is_found_for_lengths_that_do_not_divide():
    lengths = [72] * 500 + [71] * 500
    assert 1 - sum(lengths) / 256 / len(best_fit_decreasing(lengths, 256)) > 0.15
    context, found = better_context(lengths, 256, 0.05)
    measured = 1 - sum(lengths) / context / len(best_fit_decreasing(lengths, context))
    assert found < 0.05 and measured < 0.05, (context, found, measured)


def test_encoding_marks_images_and_ends():
    tokenizer = Tokenizer.train(["a b c"], 300)
    document = Document((Text("ab"), Span(b"1", "jpeg"), Text("c")), "d")
    encoded = encode([document], tokenizer, 4)[0]
    first = tokenizer.encode(["ab"])[0].tolist()
    assert encoded.tokens.tolist() == [*first, tokenizer.marker("image"), 0, 0, 0, 0, *tokenizer.encode(["c"])[0], tokenizer.end]
    assert encoded.starts.tolist() == [len(first) + 1] and encoded.lengths.tolist() == [4]
    with pytest.raises(ValueError, match="ids from 7 to 9999"):
        encode([Document((Text(ids=np.array([7, 9999])),), "bad")], tokenizer, 4)
