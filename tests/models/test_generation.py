"""What models write: prompts, choices and draws; and the score of what is written about scenes."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nmm.architectures import EarlyFusionConfig
from nmm.data.batches.infilling import rotate
from nmm.data.batches.loader import collate
from nmm.data.corpus.scenes import scenes_corpus
from nmm.data.generated.scenes import WORDS, Scenes, right
from nmm.data.generated.world import render
from nmm.models import build
from nmm.models.generation import Vocabulary, filled, images_of_texts, texts_of_images, write
from nmm.training.probes.writing import WAYS, WRITTEN, Writing

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return scenes_corpus(tmp_path_factory.mktemp("scenes") / "coded", tokens=5_000, weights={"caption": 1.0})


@pytest.fixture(scope="module")
def model(corpus):
    torch.manual_seed(0)
    return build(EarlyFusionConfig(d_model=16, n_layers=2, n_heads=2, vocab_size=corpus.vocab_size, patch_dim=0, ffn_multiple=8))


class Oracle(torch.nn.Module):
    """Foresees the next token of documents that it knows by heart."""

    def __init__(self, vocab_size, documents):
        super().__init__()
        self.config, self.documents = SimpleNamespace(vocab_size=vocab_size), documents

    def forward(self, batch):
        logits = torch.zeros(len(batch["input_ids"]), self.config.vocab_size)
        for row, ids in enumerate(batch["input_ids"].tolist()):
            for known in self.documents:
                if list(known[:len(ids)]) == ids and len(known) > len(ids):
                    logits[row, known[len(ids)]] = 9.0
        return logits


def test_greedy_is_the_models_own_argmax_step_by_step(model, corpus):
    own = Vocabulary(corpus)
    prompts = np.array([[own.marker, 5, 9], [own.marker, 7, 30]])
    found = write(model, prompts, 4, own.only("text"))
    for row, prompt in zip(found, prompts):
        ids = list(prompt)
        for token in row:
            batch = {"input_ids": torch.tensor([ids]), "labels": torch.zeros(1, len(ids), dtype=torch.long)}
            zeros = torch.zeros_like(batch["input_ids"])
            logits = model({**batch, "document_ids": zeros, "span_ids": zeros - 1, "modality": zeros})[-1]
            assert token == logits.masked_fill(~own.only("text"), -torch.inf).argmax()
            ids.append(int(token))
    assert model.training, "left as it was"


def test_draws_follow_their_seed_and_what_is_allowed(model, corpus):
    own = Vocabulary(corpus)
    prompts = np.full((80, 1), own.marker)
    one, same, other = (write(model, prompts, 5, own.only("codes"), temperature=1.0, seed=seed) for seed in (1, 1, 2))
    assert (one == same).all() and (one != other).any()
    assert one.min() >= own.first_code and len(np.unique(one)) > 40
    cold = write(model, prompts, 5, own.only("codes"), temperature=1e-4)
    assert (cold == write(model, prompts, 5, own.only("codes"))).all()


def test_a_model_that_knows_writes_images_texts_and_what_is_missing(corpus):
    """The prompts are those of training: an oracle of the documents, turned and masked, gets all of it right."""
    world, own = Scenes(), Vocabulary(corpus)
    objects = world.objects(np.random.default_rng(0), 3)
    texts, codes = world.tell(objects), corpus.image_tokenizer.encode(render([scene.tobytes() for scene in objects]))
    end, mark = np.full((3, 1), corpus.tokenizer.end), np.full((3, 1), own.marker)
    shown = np.concatenate([mark, own.first_code + codes, texts, end], axis=1)
    told = np.concatenate([texts, mark, own.first_code + codes, end], axis=1)
    masked = [rotate(ids, [span], own.sentinel).ids for ids in shown for span in ((1, 17), (22, 27))]
    oracle = Oracle(corpus.vocab_size, [*shown, *told, *masked])
    assert (images_of_texts(oracle, corpus, texts) == codes).all()
    assert (texts_of_images(oracle, corpus, codes, WORDS) == texts).all()
    assert (filled(oracle, corpus, list(shown), [(1, 17)] * 3) == own.first_code + codes).all()
    assert (filled(oracle, corpus, list(shown), [(22, 27)] * 3) == texts[:, 5:10]).all()


def test_what_is_right_is_counted():
    world = Scenes()
    objects = world.objects(np.random.default_rng(0), 200)
    names = world.kind_name[tuple(objects[:, :, 1:].transpose(2, 0, 1))]
    assert right(world.heard(world.tell(objects)), objects, names) == dict.fromkeys(("place", "colour", "shape", "pattern", "name"), 1.0)
    assert right(world.seen(render([scene.tobytes() for scene in objects])), objects) == dict.fromkeys(
        ("place", "colour", "shape", "pattern"), 1.0)
    other = world.objects(np.random.default_rng(1), 200)
    by_chance = right(world.seen(render([scene.tobytes() for scene in other])), objects)
    assert by_chance["place"] == pytest.approx(0.25, abs=0.05) and by_chance["colour"] < 0.4
    texts = world.tell(objects)
    texts[:, 1] = 2         # no colour
    assert right(world.heard(texts), objects, names)["colour"] == 0.75


def test_what_is_written_is_scored_on_held_out_captions(corpus, model):
    """An oracle of the documents writes all that codes can show; a model that knows nothing is near chance."""
    own, split = Vocabulary(corpus), corpus.sources["caption"].validation
    batch = collate([split[number] for number in range(20)])
    documents = [
        ids[of == number].tolist() for ids, of in zip(batch["input_ids"], batch["document_ids"]) for number in range(int(of.max()) + 1)
    ]
    codes = [[token for token in ids if token >= own.first_code] for ids in documents]
    texts = [[token for token in ids if own.only("text")[token]] for ids in documents]
    known = []
    for image, text in zip(codes, texts):
        shown = [own.marker, *image, *text, corpus.tokenizer.end]
        known += [shown, [*text, own.marker, *image], list(rotate(np.array(shown), [(1, 17)], own.sentinel).ids)]
    probe = Writing(Oracle(corpus.vocab_size, known), corpus)
    probe.sums["caption"] = probe.measure(None, batch)
    (found,) = probe.fields["written"].values()
    assert tuple(found) == WAYS and probe.left == 0 and probe.sums["caption"][0, 0, 1] == 4 * WRITTEN
    assert set(found["text of image"].values()) == {1.0}
    world = Scenes()
    seen = world.seen(corpus.image_tokenizer.decode(np.array(codes[:WRITTEN]) - own.first_code))
    ceiling = right(seen, world.heard(texts[:WRITTEN])[..., :4])
    assert found["image of text"] == found["image filled in"] == pytest.approx(ceiling) and ceiling["place"] > 0.9
    assert not probe.measure(None, batch).any(), "no more are asked about"
    probe.eval_start(SimpleNamespace(dataloader_label="text"), None)
    assert not probe.measure(None, collate([corpus.sources["text"].validation[0]])).any(), "a text alone shows nothing"
    ignorant = Writing(model, corpus)
    ignorant.sums["caption"] = ignorant.measure(None, batch)
    assert all(by["place"] < 0.5 for by in ignorant.fields["written"]["caption"].values())


def test_bad_input_is_named(model, corpus):
    own = Vocabulary(corpus)
    with pytest.raises(ValueError, match="ids from 9999 to 9999 in a prompt"):
        write(model, [[9999]], 1, own.only("text"))
    with pytest.raises(ValueError, match="a prompt of 1 tokens and 9 more do not fit the context of 8"):
        write(model, [[1]], 9, own.only("text"), context=8)
    with pytest.raises(ValueError, match="temperature -1"):
        write(model, [[1]], 1, own.only("text"), temperature=-1)
    with pytest.raises(ValueError, match="codes from 0 to 240"):
        texts_of_images(model, corpus, np.array([[0, 240]]), 3)
    with pytest.raises(ValueError, match="spans of .1, 2.: give those of one length"):
        filled(model, corpus, [np.arange(9)] * 2, [(1, 2), (1, 3)])
    with pytest.raises(ValueError, match="a document of 188 tokens takes 191 with 1 spans masked, and the context is 190"):
        filled(model, corpus, [np.arange(188)], [(1, 2)])
