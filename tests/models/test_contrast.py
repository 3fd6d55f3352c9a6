"""The two towers: counted, blind to each other's inputs, trained by contrast, and a start for late fusion's encoder."""

import math
from dataclasses import fields, replace

import pytest
import torch

from nmm import record as records
from nmm.architectures import ContrastConfig, LateFusionConfig
from nmm.data.batches.loader import collate
from nmm.models import build
from nmm.models.io import weights
from nmm.studies import Arm
from nmm.training.objectives import objective
from nmm.training.run import train


@pytest.fixture
def config(tiny, corpus):
    arm = Arm(name="pairs", arch="contrast", objective="contrast", lr=0.005, settings={"vision_share": 1.0}, mixtures=("caption",),
              budgets=(150_000,))
    own = replace(tiny, mixtures={"caption": {"caption": 1.0}}, arms=(arm,), max_epochs=30)
    return next(iter(own.grid(corpus).values()))


@pytest.fixture
def batch(corpus):
    return objective("contrast").on(corpus).prepare(collate([corpus.sources["caption"].train[number] for number in range(2)]))


def test_every_weight_is_counted(config):
    model = build(config.model)
    assert sum(each.numel() for each in model.parameters()) == config.model.counts.all
    assert config.model.counts.N_v == replace_arch(config.model).counts.N_v


def replace_arch(model: ContrastConfig) -> LateFusionConfig:
    return LateFusionConfig(**{name: getattr(model, name) for name in (item.name for item in fields(LateFusionConfig))})


def test_pairs_are_images_by_captions(config, batch):
    torch.manual_seed(0)
    model = build(config.model)
    logits = model(batch)
    assert logits.shape == (8, 8) and batch["labels"][batch["labels"] >= 0].tolist() == list(range(8))
    images, texts = model.images(batch), model.texts(batch)
    assert torch.allclose(images.norm(dim=1), torch.ones(8)) and torch.allclose(logits, images @ texts.T / model.log_temperature.exp())
    other = {**batch, "patches": batch["patches"].roll(1, 0)}
    assert torch.equal(model.texts(other), texts) and not torch.allclose(model.images(other), images), "text does not see images"
    changed = batch["input_ids"].clone()
    changed[0, 20] = 300
    told = model.texts({**batch, "input_ids": changed})
    assert not torch.allclose(told[0], texts[0]) and torch.equal(told[1:], texts[1:]), "a caption is read alone"


def test_documents_without_an_image_are_refused(config, corpus):
    mixed = objective("contrast").on(corpus).prepare(collate([corpus.sources["text"].train[0]]))
    with pytest.raises(ValueError, match="one image a document, and a batch has 0 images in 2 documents: train it on captions"):
        build(config.model)(mixed)


def test_it_learns_which_belong_together(config, corpus, tmp_path, one_thread):
    record = train(config, corpus, save_weights=tmp_path / "pairs.safetensors")
    assert record.status == "finished", record.reason
    assert record.losses.keys() == {"caption"} and record.L is None and record.losses_by_token is None
    assert record.losses["caption"] < math.log(32) - 0.5, "a guess among 32 costs log 32"
    assert record.metrics["retrieved"]["caption"] > 2 / 32, "a guess is right once in 32"
    assert record.zero_shot["caption"].keys() == {"colour", "shape", "pattern"}
    assert record.flops_exact > 0 and records.read(records.write(record, tmp_path)) == record

    late = build(replace_arch(config.model))
    weights.initialise_from(late, encoder=tmp_path / "pairs.safetensors")
    _, trained = weights.load(tmp_path / "pairs.safetensors")
    assert all(torch.equal(tensor, trained[f"vision.{name}"]) for name, tensor in late.vision.state_dict().items())
    wide = build(replace(replace_arch(config.model), d_vision=32))
    with pytest.raises(ValueError, match="does not fit the model's encoder:\n  d_vision: 16 in the file, 32 in the model"):
        weights.initialise_from(wide, encoder=tmp_path / "pairs.safetensors")
