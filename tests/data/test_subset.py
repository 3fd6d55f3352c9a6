"""A part of a corpus: nested training documents, the same tokenizer and the same held-out sequences."""

import numpy as np
import pytest

from nmm.data.corpus import store
from nmm.data.corpus.examples import write_examples
from nmm.data.corpus.prepare import prepare
from nmm.data.corpus.subset import part_folder, save_description, subset, training_tokens


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return write_examples(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def whole(sources, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    prepare(sources, out, context=256, image_size=32, patch=8, vocab_size=384, validation=0.2, processes=1, progress=False)
    return store.open(out)


@pytest.fixture(scope="module")
def half(whole, sources, tmp_path_factory):
    return subset(whole, sources, tmp_path_factory.mktemp("half"), 0.5)


def texts(split: store.Split, tokenizer) -> set[str]:
    """The documents of a split as text; an image reads as its token alone."""
    return {
        tokenizer.decode(sequence.tokens[sequence.documents == number])
        for sequence in map(split.__getitem__, range(len(split))) for number in range(sequence.documents.max() + 1)
    }


def test_all_of_a_corpus_is_the_corpus(whole, sources, tmp_path):
    assert subset(whole, sources, tmp_path, 1.0).hash == whole.hash


def test_held_out_sequences_stay(whole, half):
    for name, source in whole.sources.items():
        there = half.sources[name].validation
        assert len(there) == len(source.validation) > 0
        for index in range(len(there)):
            assert np.array_equal(there[index].tokens, source.validation[index].tokens)
            assert there[index].data == source.validation[index].data


def test_a_smaller_share_is_part_of_a_larger_one(whole, half, sources, tmp_path):
    quarter = subset(whole, sources, tmp_path, 0.25)
    kept = [texts(corpus.sources["caption"].train, whole.tokenizer) for corpus in (quarter, half, whole)]
    assert kept[0] < kept[1] < kept[2]
    assert 0.3 < len(kept[1]) / len(kept[2]) < 0.7
    assert half.tokenizer.hash == whole.tokenizer.hash


def test_training_tokens_are_those_of_the_shards(whole, half):
    for corpus in (whole, half):
        assert training_tokens(corpus) == {name: int(source.train.tokens.sum()) for name, source in corpus.sources.items()}


def test_a_description_is_a_corpus_without_its_data(half, tmp_path):
    save_description(half, tmp_path / "corpus")
    kept = store.open(tmp_path / "corpus")
    assert (kept.hash, kept.report) == (half.hash, half.report)
    assert training_tokens(kept) == training_tokens(half)
    with pytest.raises(OSError, match="00000.arrow"):
        kept.sources["text"].train[0]


@pytest.mark.parametrize("share", [0.0, 1.5, float("nan")])
def test_a_share_that_is_none(whole, sources, tmp_path, share):
    with pytest.raises(ValueError, match="share of the training documents"):
        subset(whole, sources, tmp_path, share)


def test_runs_on_parts_lie_in_the_folder_of_the_whole(tmp_path):
    assert part_folder(tmp_path, 1) == tmp_path
    assert part_folder(tmp_path, 0.25) == tmp_path / "part-0.25"
