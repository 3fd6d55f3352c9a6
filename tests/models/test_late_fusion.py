"""Late fusion: an encoder that sees one image at a time, and early fusion's decoder behind it."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from nmm.architectures import LateFusionConfig
from nmm.config import INPUTS
from nmm.data.batches.loader import IGNORE, collate
from nmm.models import build
from nmm.models.late_fusion import LateFusion
from tests.models.probes import decided_by_the_seed, moved, slopes

CONFIG = LateFusionConfig(d_model=32, n_layers=2, n_heads=2, vocab_size=768, patch_dim=192, ffn_multiple=8, rope_base=100.0,
                          d_vision=16, n_vision_layers=3, n_vision_heads=2)
IMAGES = INPUTS[0]


@pytest.fixture
def model() -> LateFusion:
    torch.manual_seed(0)
    return build(CONFIG)


@pytest.fixture
def batch(corpus):
    """Rows with 4, 4 and no images."""
    return collate([corpus.sources[name].train[0] for name in ("caption", "interleaved", "text")])


def hand_made(*rows: list[int]) -> dict[str, torch.Tensor]:
    """Rows of images with these numbers of patches, a word before each, all in one document."""
    length = max(sum(row) + len(row) for row in rows) + 2
    spans = torch.full((len(rows), length), -1)
    documents = torch.full((len(rows), length), -1)
    for row, images in enumerate(rows):
        at = 0
        for number, patches in enumerate(images):
            spans[row, at + 1:at + 1 + patches] = number
            at += 1 + patches
        documents[row, :at + 2] = 0
    slots = max(sum(row) for row in rows)
    return {"input_ids": torch.ones_like(spans), "labels": torch.full_like(spans, IGNORE), "document_ids": documents,
            "span_ids": spans, "modality": (spans >= 0).long(), "patches": torch.randn(len(rows), slots, CONFIG.patch_dim)}


def test_every_image_is_encoded_as_if_alone(model):
    """Images of several lengths, in rows of several numbers of them: each gives the states of a batch with it alone."""
    torch.manual_seed(1)
    rows = [5, 3], [4], [], [1, 6, 2]
    batch = hand_made(*rows)
    with torch.no_grad():
        encoded = model.project(IMAGES, batch)
        for row, images in enumerate(rows):
            for number, patches in enumerate(images):
                slots = slice(sum(images[:number]), sum(images[:number + 1]))
                image = batch["patches"][row:row + 1, slots]
                alone = model.connector(model.vision(image, torch.ones(1, patches, dtype=torch.bool)))[0]
                assert torch.allclose(encoded[row, slots], alone, atol=1e-5), (row, number)


def test_patches_see_each_other_both_ways_and_no_other_image(model):
    torch.manual_seed(1)
    batch = hand_made([5, 3], [4])
    other = {**batch, "patches": batch["patches"].clone()}
    for slot in (0, 2, 4):
        other["patches"][0, slot] += 1
        with torch.no_grad():
            changed = (model.project(IMAGES, batch) != model.project(IMAGES, other)).any(-1)
        assert changed[0, :5].all() and not changed[0, 5:].any() and not changed[1, :4].any()


def test_the_order_of_patches_is_seen(model):
    """Positions are in the encoder: exchanged patches do not merely exchange their states."""
    torch.manual_seed(1)
    image, filled = torch.randn(1, 4, CONFIG.patch_dim), torch.ones(1, 4, dtype=torch.bool)
    order = torch.tensor([1, 0, 2, 3])
    with torch.no_grad():
        assert not torch.allclose(model.vision(image[:, order], filled), model.vision(image, filled)[:, order], atol=1e-4)


def test_text_sees_earlier_images_alone(model, batch):
    """A patch of the second image of the interleaved row moves that image and what follows it, and no other row."""
    image = (batch["span_ids"][1] == 1).nonzero().flatten()

    def change(other):
        other["patches"][1, 20] += 1

    changed = moved(model, batch, change)
    assert not changed[1, :image[0]].any() and changed[1, image[0]:].all()
    assert not changed[[0, 2]].any()


def test_words_do_not_reach_the_encoder(model, batch):
    other = {**batch, "input_ids": batch["input_ids"] + 1}
    with torch.no_grad():
        assert torch.equal(model.project(IMAGES, batch), model.project(IMAGES, other))


def test_packed_documents_are_as_if_alone(model, batch):
    documents = batch["document_ids"][0]
    with torch.no_grad():
        packed = model.hidden(batch)[0]
        for number in range(int(documents.max()) + 1):
            mine = documents == number
            alone = {name: batch[name][:1, mine] for name in ("input_ids", "labels", "modality", "span_ids")}
            alone["document_ids"] = torch.zeros_like(alone["labels"])
            numbers = batch["span_ids"][0][batch["span_ids"][0] >= 0]
            alone["patches"] = batch["patches"][:1, :len(numbers)][:, torch.isin(numbers, alone["span_ids"])]
            assert torch.allclose(model.hidden(alone)[0], packed[mine], atol=1e-5), number


def test_empty_slots_have_no_influence_and_no_cost(model):
    torch.manual_seed(1)
    batch = hand_made([4, 4, 4], [4], [])
    encoded = []
    model.vision.register_forward_pre_hook(lambda module, inputs: encoded.append(tuple(inputs[0].shape)))

    def change(other):
        other["patches"][1, 4:] = torch.nan
        other["patches"][2] = torch.nan

    assert not moved(model, batch, change).any()
    assert set(encoded) == {(4, 4, CONFIG.patch_dim)}, "four images, whatever the number of slots"


def test_logits_stand_at_the_targets_alone(model, batch):
    labels = batch["labels"]
    assert model(batch).shape == (int((labels != IGNORE).sum()), 768)
    assert model(batch).isfinite().all()


def test_every_weight_learns(model, batch):
    labels = batch["labels"]
    F.cross_entropy(model(batch), labels[labels != IGNORE]).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_the_gradient_is_the_slope(batch):
    """Finite differences of the loss along a random direction, in double precision."""
    torch.manual_seed(0)
    model = build(CONFIG).double()
    labels = batch["labels"][batch["labels"] != IGNORE]
    difference, slope = slopes(lambda: F.cross_entropy(model(batch), labels), [*model.vision.parameters(), model.connector.weight], 1e-4)
    assert difference == pytest.approx(slope, rel=1e-3)


@pytest.mark.parametrize("slots", [0, 64])
def test_a_batch_without_images_runs_the_encoder(model, batch, slots):
    """Text alone, also as a part of a batch that had slots: all weights have a gradient, the encoder's is zero."""
    text = {name: value[2:] for name, value in batch.items()}
    text["patches"] = text["patches"][:, :slots]
    labels = text["labels"][text["labels"] != IGNORE]
    logits = model(text)
    F.cross_entropy(logits, labels).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    assert all(not p.grad.any() for p in (*model.vision.parameters(), model.connector.weight))
    with torch.no_grad():
        model.connector.weight += 1
        assert torch.equal(model(text), logits)


def test_a_frozen_encoder_has_no_backward_pass(model, batch):
    """Without gradients for `vision.`, nothing of it is kept for the backward pass, and the connector still learns."""
    model.vision.requires_grad_(False)
    states = []
    model.vision.register_forward_hook(lambda module, inputs, output: states.append(output))
    labels = batch["labels"]
    F.cross_entropy(model(batch), labels[labels != IGNORE]).backward()
    assert states[0].grad_fn is None
    assert all(parameter.grad is None for parameter in model.vision.parameters())
    assert model.connector.weight.grad.abs().max() > 0


def test_the_encoder_is_under_one_name(model):
    """What learns at the encoder's rate is `vision.`; the connector is not in it."""
    outside = {name.split(".")[0] for name, _ in model.named_parameters() if not name.startswith("vision.")}
    assert outside == {"embedding", "connector", "blocks", "norm", "unembedding"}


def test_initial_scales():
    """The encoder's projections into its residual are smaller by its own depth."""
    torch.manual_seed(0)
    model = build(replace(CONFIG, d_model=128, n_heads=2, d_vision=256, n_layers=1, n_vision_layers=8))
    for weight, expected in (
        (model.vision.blocks[0].attention.out.weight, 256**-0.5 / math.sqrt(16)),
        (model.vision.blocks[0].attention.qkv.weight, 256**-0.5), (model.vision.patch_projection.weight, 192**-0.5),
        (model.connector.weight, 256**-0.5), (model.blocks[0].attention.out.weight, 128**-0.5 / math.sqrt(2)),
    ):
        assert weight.std().item() == pytest.approx(expected, rel=0.03)


def test_the_seed_decides_the_weights():
    decided_by_the_seed(CONFIG, "connector.weight")


def test_the_encoder_has_its_backend_set(model, batch):
    """Execution sets `attention_backend` of all parts that have one: the encoder is among them and heeds it."""
    parts = [name for name, part in model.named_modules() if hasattr(part, "attention_backend")]
    assert parts == ["", "vision"]
    model.vision.attention_backend = "flex"
    with pytest.raises(ValueError, match="needs a CUDA device"):
        model(batch)
