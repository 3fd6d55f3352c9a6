"""Early fusion by what it can and cannot see."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from nmm.architectures import EarlyFusionConfig
from nmm.data.batches.loader import IGNORE, collate
from nmm.models import build, early_fusion
from tests.models.probes import decided_by_the_seed, moved, slopes

CONFIG = EarlyFusionConfig(d_model=32, n_layers=2, n_heads=2, vocab_size=768, patch_dim=192, ffn_multiple=8, rope_base=100.0)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return build(CONFIG)


@pytest.fixture
def batch(corpus):
    return collate([corpus.sources["caption"].train[0], corpus.sources["interleaved"].train[0]])


@pytest.mark.parametrize("row", [0, 1])
def test_text_cannot_see_what_comes_after(model, batch, row):
    text = (batch["span_ids"][row] < 0).nonzero().flatten().tolist()
    for position in text[::7]:
        def change(other, position=position):
            other["input_ids"][row, position] = (other["input_ids"][row, position] + 1) % 768
        changed = moved(model, batch, change)
        assert not changed[1 - row].any(), "another sequence"
        assert not changed[row, :position].any(), f"before position {position}"
        same = batch["document_ids"][row] == batch["document_ids"][row, position]
        assert not changed[row][~same].any(), "another document"
        assert changed[row, position:][same[position:]].all(), "all that follows in its document"


def test_patches_see_each_other_both_ways(model, batch):
    """Each patch of an image changes every position of that image, also those before it, and none before the image."""
    image = (batch["span_ids"][1] == 1).nonzero().flatten()
    first, last = int(image[0]), int(image[-1])
    for slot in (16, 20, 31):       # patches 0, 4 and 15 of the second image
        def change(other, slot=slot):
            other["patches"][1, slot] += 1
        changed = moved(model, batch, change)[1]
        assert not changed[:first].any()
        assert changed[first:last + 1].all()
        assert changed[last + 1:].all(), "one document: all later text"


def test_packed_documents_are_as_if_alone(model, batch):
    """Five captions in one row give the states of five rows with one caption each: RoPE is relative."""
    documents = batch["document_ids"][0]
    with torch.no_grad():
        packed = model.hidden(batch)[0]
        for number in range(int(documents.max()) + 1):
            mine = documents == number
            images = batch["span_ids"][0][mine]
            first_slot = 16 * number
            alone = {
                "input_ids": batch["input_ids"][:1, mine], "labels": batch["labels"][:1, mine],
                "document_ids": torch.zeros_like(images)[None], "span_ids": torch.where(images >= 0, 0, -1)[None],
                "modality": (images >= 0)[None].long(),
                "patches": batch["patches"][:1, first_slot:first_slot + 16],
            }
            assert torch.allclose(model.hidden(alone)[0], packed[mine], atol=1e-5), number


def test_patches_stand_where_the_image_is(model, batch):
    """Position k of the images of a row takes its patch k through the linear layer; words take their embedding."""
    with torch.no_grad():
        x = model.embed(batch)
        for row in range(2):
            is_image = batch["span_ids"][row] >= 0
            patches = batch["patches"][row, :int(is_image.sum())] @ model.patch_projection.weight.T
            assert torch.allclose(x[row, is_image], patches, atol=1e-6)
            assert torch.equal(x[row, ~is_image], model.embedding.weight[batch["input_ids"][row, ~is_image]])


def test_logits_stand_at_the_targets_alone(model, batch):
    labels = batch["labels"]
    logits = model(batch)
    assert logits.shape == (int((labels != IGNORE).sum()), 768)
    everywhere = model.unembedding(model.hidden(batch))
    whole = F.cross_entropy(everywhere.flatten(0, 1), labels.flatten(), ignore_index=IGNORE)
    assert torch.allclose(F.cross_entropy(logits, labels[labels != IGNORE]), whole, atol=1e-6)
    after = (batch["span_ids"][:, 1:] >= 0)
    assert (labels[:, :-1][after] == IGNORE).all(), "no patch is ever a target"


def test_every_weight_learns(model, batch):
    labels = batch["labels"]
    F.cross_entropy(model(batch), labels[labels != IGNORE]).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.shape == parameter.shape
        assert parameter.grad.abs().max() > 0, name


def test_the_gradient_is_the_slope(batch):
    """Finite differences of the loss along a random direction, in double precision."""
    torch.manual_seed(0)
    model = build(CONFIG).double()
    batch["patches"] = batch["patches"].double()
    labels = batch["labels"][batch["labels"] != IGNORE]
    difference, slope = slopes(lambda: F.cross_entropy(model(batch), labels), model.parameters(), 1e-4)
    assert difference == pytest.approx(slope, rel=1e-3)


def test_text_alone_needs_no_images(model, corpus):
    batch = collate([corpus.sources["text"].train[0]])
    blind = build(replace(CONFIG, patch_dim=0))
    assert not any(name.startswith("patch") for name, _ in blind.named_parameters())
    for one in (model, blind):
        assert one(batch).isfinite().all()


def test_images_without_a_projection_are_refused(batch):
    with pytest.raises(ValueError, match="patch_dim = 0: give patch_dim, or drop the sources of images"):
        build(replace(CONFIG, patch_dim=0))(batch)


def test_padding_changes_nothing(model, corpus):
    """Positions after the end of the documents are finite and have no influence."""
    whole = collate([corpus.sources["text"].train[0]])
    fill = {"labels": IGNORE, "input_ids": 0}
    padded = {name: F.pad(value, (0, 6), value=fill.get(name, -1)) for name, value in whole.items() if name != "patches"}
    padded["patches"] = whole["patches"]
    with torch.no_grad():
        assert model.hidden(padded).isfinite().all()
        assert torch.allclose(model(padded), model(whole), atol=1e-5)


def test_the_seed_decides_the_weights():
    decided_by_the_seed(CONFIG, "embedding.weight")


def test_an_untrained_model_guesses(model, batch):
    """The loss of random weights is about that of a uniform guess over the vocabulary: the scales are sane."""
    labels = batch["labels"]
    loss = F.cross_entropy(model(batch), labels[labels != IGNORE]).item()
    assert loss == pytest.approx(torch.log(torch.tensor(768.0)).item() + 0.5, abs=0.3)


def test_a_configuration_of_no_architecture():
    with pytest.raises(ValueError, match="no model of architecture object: known are early"):
        build(object())


def test_the_loader_and_the_model_agree_on_what_is_no_target():
    from nmm.data.batches import loader

    assert loader.IGNORE == early_fusion.IGNORE == F.cross_entropy.__defaults__[2]
