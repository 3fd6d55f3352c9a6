"""What a run reads: any sources of a data type are trained and measured together, the same for every mixture."""

from dataclasses import replace

import numpy as np
import pytest

from nmm.config import DataConfig
from nmm.data.batches.loader import collate, validation_batches
from nmm.data.batches.mixture import Mixture
from nmm.data.batches.reading import HeldOut, reading, validation_sources
from nmm.data.corpus.tokenizer import Tokenizer
from nmm.data.corpus.write import write_corpus
from nmm.data.generated.world import CONTEXT
from tests.data.test_loader import equal

SETTINGS = {"context": CONTEXT, "image_size": 32, "patch": 8, "identity": "several"}
TABLE_5 = {"caption": {"dfn": 27, "coyo": 11.25, "hqitp": 6.75}, "interleaved": 45, "text": 10}


@pytest.fixture(scope="module")
def several(world, tmp_path_factory):
    """A corpus with the five sources of Table 5, held out by a share of the documents."""
    sizes = {"dfn": ("caption", 40_000), "coyo": ("caption", 20_000), "hqitp": ("caption", 10_000),
             "obelics": ("interleaved", 60_000), "dclm": ("text", 20_000)}
    documents = {name: (kind, world.documents(kind, tokens, seed=k)) for k, (name, (kind, tokens)) in enumerate(sizes.items())}
    return write_corpus(documents, tmp_path_factory.mktemp("several"), Tokenizer(world.tokenizer()), validation=0.2, **SETTINGS)


def test_held_out_sequences_of_several_sources_in_proportion_and_all_of_them(several):
    held_out = validation_sources(several)["caption"]
    assert isinstance(held_out, HeldOut)
    splits = [source.validation for source in several.of_kind("caption")]
    pairs = list(zip(held_out.source.tolist(), held_out.index.tolist()))
    assert sorted(pairs) == [(number, index) for number, split in enumerate(splits) for index in range(len(split))]
    assert all(np.array_equal(held_out[k].tokens, splits[s][i].tokens) for k, (s, i) in enumerate(pairs))
    totals = np.array([split.tokens.sum() for split in splits])
    for n in (10, 30, len(held_out)):
        taken = np.array([sum(splits[s].tokens[i] for s, i in pairs[:n] if s == number) for number in range(3)])
        off = np.abs(taken - taken.sum() * totals / totals.sum()).max()
        assert off <= CONTEXT, f"the first {n} sequences are {off:.0f} tokens off the sources' shares"


def test_validation_does_not_depend_on_the_mixture_and_one_source_is_itself(several, generated):
    again = type(several)(several.folder, several.description)
    for kind, held_out in validation_sources(several).items():
        one, two = (list(validation_batches(rows, 16, limit=40)) for rows in (held_out, validation_sources(again)[kind]))
        assert all(map(equal, one, two)) and sum(len(batch["input_ids"]) for batch in one) == min(40, len(held_out))
    for kind, held_out in validation_sources(generated).items():
        assert held_out is generated.sources[kind].validation


@pytest.mark.parametrize("weights", [TABLE_5, {"dclm": 1}, {"dfn": 1, "obelics": 2, "text": 0}, {"hqitp": 3, "coyo": 1}])
def test_any_mixture_can_be_planned_and_is_measured_on_all_data_types(several, run, weights):
    mixture = Mixture(several, weights, seed=0, max_epochs=4)
    assert list(validation_sources(several)) == ["caption", "interleaved", "text"]
    data = DataConfig(corpus_id=several.hash, mixture="x", weights=mixture.weights, context=CONTEXT, batch_sequences=4,
                      validation_sequences=8, max_epochs=4)
    planned, seen = reading(replace(run, data=data), several)
    assert planned.weights == pytest.approx(mixture.weights)
    assert seen[-2] < run.tokens <= seen[-1]
    realised = planned.realised(4 * len(seen))
    for name, share in mixture.weights.items():
        assert realised[name]["share"] == pytest.approx(share, abs=0.03)


def test_a_corpus_of_text_alone_is_trained_and_measured_on_text(world, run, tmp_path):
    documents = {"text": ("text", world.documents("text", 20_000, seed=0))}
    corpus = write_corpus(documents, tmp_path, Tokenizer(world.tokenizer()), validation=20, **SETTINGS)
    assert list(validation_sources(corpus)) == ["text"]
    data = replace(run.data, corpus_id=corpus.hash, weights={"text": 1})
    mixture, seen = reading(replace(run, data=data), corpus)
    assert seen[-1] >= run.tokens and mixture.names == ["text"]
    assert not collate([corpus.sources["text"].train[0]])["modality"].any()
    with pytest.raises(ValueError, match=r"names 'caption', but the corpus has the sources text \(text\)"):
        reading(replace(run, data=replace(run.data, corpus_id=corpus.hash)), corpus)
    with pytest.raises(ValueError, match="the run was configured for corpus"):
        reading(run, corpus)
