"""Resolution and context are plain settings: from prepared images to a trained step, with the positions that follow."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from nmm.architectures import EarlyFusionConfig, LateFusionConfig
from nmm.config import INPUTS
from nmm.data.batches.loader import IGNORE, collate
from nmm.data.corpus import store
from nmm.data.corpus.prepare import prepare
from nmm.data.corpus.store import Corpus
from nmm.models import build
from nmm.models.attention import PackedMask
from nmm.models.layers import rotary_table
from tests.data.conftest import caption_members, write_tar

# Side, patch [pixels], context [tokens] and the tokens of an image: the paper's is the second
SHAPES = [(112, 14, 1024, 64), (224, 14, 1024, 256), (224, 16, 2048, 196), (336, 14, 4096, 576), (336, 16, 1024, 441)]
SETTINGS = {"vocab_size": 400, "validation": 0.2, "processes": 1, "progress": False}


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """24 captioned images whose short side is 352 pixels."""
    return write_tar(tmp_path_factory.mktemp("photos") / "0.tar", caption_members(range(24), ((352, 400),)))


@pytest.fixture(scope="module")
def prepared(photos, tmp_path_factory):
    """Corpora of the photos by their shape, each made once."""
    made = {}

    def of(side: int, patch: int, context: int) -> Corpus:
        if (side, patch, context) not in made:
            out = tmp_path_factory.mktemp("corpus")
            prepare([("caption", photos)], out, image_size=side, patch=patch, context=context, **SETTINGS)
            made[side, patch, context] = store.open(out)
        return made[side, patch, context]

    return of


def models(corpus: Corpus):
    """The smallest early and late fusion for a corpus."""
    small = {"d_model": 16, "n_layers": 1, "n_heads": 1, "vocab_size": corpus.vocab_size, "patch_dim": corpus.patch_dim, "ffn_multiple": 8}
    torch.manual_seed(0)
    return [build(EarlyFusionConfig(**small)),
            build(LateFusionConfig(d_vision=16, n_vision_layers=1, n_vision_heads=1, **small))]


def loss(model, batch) -> torch.Tensor:
    return F.cross_entropy(model(batch), batch["labels"][batch["labels"] != IGNORE])


@pytest.mark.parametrize(("side", "patch", "context", "tokens"), SHAPES)
def test_every_resolution_and_context_trains(prepared, side, patch, context, tokens):
    """The tokens of an image follow from side and patch; a step down the gradient lowers the loss."""
    corpus = prepared(side, patch, context)
    assert corpus.patches_per_image == tokens and corpus.patch_dim == 3 * patch * patch
    batch = collate([corpus.sources["caption"].train[0]])
    images = int(batch["span_ids"].max()) + 1
    assert batch["input_ids"].shape == (1, context) and images >= 1
    assert batch["patches"].shape == (1, images * tokens, 3 * patch * patch)
    assert int((batch["modality"] == 1).sum()) == images * tokens
    for model in models(corpus):
        before = loss(model, batch)
        before.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.01 * parameter.grad
            assert loss(model, batch) < before, model.config.arch


@pytest.mark.parametrize(("side", "patch", "context", "tokens"), [SHAPES[0], SHAPES[2]])
def test_the_mask_spans_the_whole_context(prepared, side, patch, context, tokens):
    """All patches of an image see each other, and its caption sees all of it, however many they are."""
    corpus = prepared(side, patch, context)
    batch = collate([corpus.sources["caption"].train[0]])
    dense = PackedMask(batch["document_ids"], batch["span_ids"]).dense()[0, 0]
    image = (batch["span_ids"][0] == 0).nonzero().flatten()
    assert len(image) == tokens and dense[image][:, image].all()
    said = int(image[-1]) + 1
    assert dense[said, image].all() and not dense[image, said].any()
    last = (batch["document_ids"][0] == batch["document_ids"][0].max()).nonzero().flatten()
    assert dense[last[-1], last].all() and dense[last[-1]].sum() == len(last), "the last document sees itself alone"


@pytest.mark.parametrize(("head_dim", "base"), [(32, 10_000.0), (16, 100.0)])
def test_positions_up_to_four_thousand(head_dim, base):
    """A longer table begins with the shorter one, and its last angles are right to the precision of float32."""
    cos, sin = rotary_table(4096, head_dim, base, torch.device("cpu"))
    short = rotary_table(1024, head_dim, base, torch.device("cpu"))
    assert cos.shape == (4096, head_dim) and torch.equal(cos[:1024], short[0]) and torch.equal(sin[:1024], short[1])
    frequency = base ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angle = torch.arange(4096, dtype=torch.float64)[:, None] * frequency.repeat(2)
    assert (cos - angle.cos()).abs().max() < 1e-3 and (sin - angle.sin()).abs().max() < 1e-3


def test_an_image_is_encoded_alike_in_every_context(prepared):
    """Late fusion's positions count within the image: neither the context nor its place in the row matters."""
    contexts = [prepared(112, 14, context) for context in (1024, 2048)]
    model = models(contexts[0])[1]
    states = {}
    for corpus in contexts:
        batch = collate([corpus.sources["caption"].train[0]])
        with torch.no_grad():
            encoded = model.project(INPUTS[0], batch)[0].split(64)
        for patches, encoding in zip(batch["patches"][0].split(64), encoded, strict=True):
            states.setdefault(patches.numpy().tobytes(), []).append(encoding)
    twice = [found for found in states.values() if len(found) == 2]
    assert twice, "the contexts share no image"
    for one, other in twice:
        assert torch.allclose(one, other, atol=1e-5)


def test_a_context_too_short_for_one_image(photos, tmp_path):
    with pytest.raises(ValueError, match=r"an image of 576 patches \(size 336, patch 14\) does not fit the context of 512"):
        prepare([("caption", photos)], tmp_path / "out", image_size=336, patch=14, context=512, **SETTINGS)
    with pytest.raises(ValueError, match="image size 224 is not a multiple of patch 15"):
        prepare([("caption", photos)], tmp_path / "out", image_size=224, patch=15, context=1024, **SETTINGS)


def test_images_where_the_model_has_none(prepared):
    corpus = prepared(112, 14, 1024)
    batch = collate([corpus.sources["caption"].train[0]])
    early, late = (model.config for model in models(corpus))
    with pytest.raises(ValueError, match="the batch has images, and the model has patch_dim = 0: give patch_dim, or drop"):
        build(replace(early, patch_dim=0))(batch)
    with pytest.raises(ValueError, match="late fusion needs images for its encoder: patch_dim is 0"):
        replace(late, patch_dim=0)
