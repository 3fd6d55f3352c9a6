"""Late fusion with CLIP's encoder: it computes what CLIP computes, from CLIP's own files, and is trained like any other."""

import json
from dataclasses import fields, replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from nmm.architectures import LateFusionConfig
from nmm.architectures.clip import ClipFusionConfig
from nmm.data.batches.loader import collate
from nmm.data.images import MEAN, STD
from nmm.models import build
from nmm.models.io import weights
from nmm.studies import Arm
from nmm.training.run import train

WIDTH, LAYERS, HEADS, PATCH, SIDE = 16, 2, 2, 8, 4
CONFIG = ClipFusionConfig(d_model=32, n_layers=2, n_heads=2, vocab_size=64, patch_dim=3 * PATCH * PATCH, ffn_multiple=8, d_vision=WIDTH,
                          n_vision_layers=LAYERS, n_vision_heads=HEADS, image_patches=SIDE * SIDE)


@pytest.fixture
def clip_file(tmp_path):
    """Random weights as transformers' CLIPModel writes them, and its config.json beside them."""
    torch.manual_seed(1)
    shapes = {"embeddings.class_embedding": (WIDTH,), "embeddings.patch_embedding.weight": (WIDTH, 3, PATCH, PATCH),
              "embeddings.position_embedding.weight": (1 + SIDE * SIDE, WIDTH), "post_layernorm.weight": (WIDTH,),
              **{f"pre_layrnorm.{end}": (WIDTH,) for end in ("weight", "bias")}}
    for i in range(LAYERS):
        linear = {"self_attn.q_proj": (WIDTH, WIDTH), "self_attn.k_proj": (WIDTH, WIDTH), "self_attn.v_proj": (WIDTH, WIDTH),
                  "self_attn.out_proj": (WIDTH, WIDTH), "mlp.fc1": (4 * WIDTH, WIDTH), "mlp.fc2": (WIDTH, 4 * WIDTH)}
        for name, shape in linear.items():
            shapes |= {f"encoder.layers.{i}.{name}.weight": shape, f"encoder.layers.{i}.{name}.bias": shape[:1]}
        for name in ("layer_norm1", "layer_norm2"):
            shapes |= {f"encoder.layers.{i}.{name}.{end}": (WIDTH,) for end in ("weight", "bias")}
    tensors = {f"vision_model.{name}": 0.3 * torch.randn(shape) for name, shape in shapes.items()}
    save_file({**tensors, "text_model.final_layer_norm.weight": torch.ones(3)}, tmp_path / "clip.safetensors")
    settings = {"vision_config": {"num_attention_heads": HEADS, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    return tmp_path / "clip.safetensors"


def reference(t: dict[str, Tensor], pixels: Tensor) -> Tensor:
    """The last states of the patches, by torch's own modules: a convolution over CLIP's pixels and encoder layers, (n, patches, W)."""
    def w(name: str) -> Tensor:
        return t[f"vision_model.{name}"]

    mean, std = torch.tensor([0.48145466, 0.4578275, 0.40821073]), torch.tensor([0.26862954, 0.26130258, 0.27577711])
    seen = (pixels - mean[:, None, None]) / std[:, None, None]
    x = F.conv2d(seen, w("embeddings.patch_embedding.weight"), stride=PATCH).flatten(2).transpose(1, 2)
    x = torch.cat((w("embeddings.class_embedding").expand(len(x), 1, -1), x), 1) + w("embeddings.position_embedding.weight")
    x = F.layer_norm(x, (WIDTH,), w("pre_layrnorm.weight"), w("pre_layrnorm.bias"))
    for i in range(LAYERS):
        at = f"encoder.layers.{i}."
        attend = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        with torch.no_grad():
            for end, ours in (("weight", attend.in_proj_weight), ("bias", attend.in_proj_bias)):
                ours.copy_(torch.cat([w(f"{at}self_attn.{name}_proj.{end}") for name in "qkv"]))
            attend.out_proj.weight.copy_(w(f"{at}self_attn.out_proj.weight"))
            attend.out_proj.bias.copy_(w(f"{at}self_attn.out_proj.bias"))
        h = F.layer_norm(x, (WIDTH,), w(f"{at}layer_norm1.weight"), w(f"{at}layer_norm1.bias"))
        x = x + attend(h, h, h, need_weights=False)[0]
        h = F.layer_norm(x, (WIDTH,), w(f"{at}layer_norm2.weight"), w(f"{at}layer_norm2.bias"))
        h = F.linear(h, w(f"{at}mlp.fc1.weight"), w(f"{at}mlp.fc1.bias"))
        x = x + F.linear(h * torch.sigmoid(1.702 * h), w(f"{at}mlp.fc2.weight"), w(f"{at}mlp.fc2.bias"))
    return x[:, 1:]


def test_it_computes_what_clip_computes(clip_file):
    model = build(CONFIG)
    weights.initialise_from(model, encoder=clip_file)
    pixels = torch.rand(3, 3, SIDE * PATCH, SIDE * PATCH)
    ours = (pixels - torch.from_numpy(MEAN)[:, None, None]) / torch.from_numpy(STD)[:, None, None]
    patches = ours.unfold(2, PATCH, PATCH).unfold(3, PATCH, PATCH).permute(0, 2, 3, 4, 5, 1).reshape(3, SIDE * SIDE, -1)
    with torch.no_grad():
        found = model.vision(patches, torch.ones(patches.shape[:2], dtype=torch.bool))
        assert torch.allclose(found, reference(load_file(clip_file), pixels), atol=1e-4)


def test_every_weight_is_counted():
    assert sum(each.numel() for each in build(CONFIG).parameters()) == CONFIG.counts.all
    asked = {"context": 64.0, "tokens": {"text": 100.0, "image": 160.0}, "targets": 50.0, "patches_per_image": 16.0}
    assert CONFIG.flops(**asked)["encoder"] > 6 * CONFIG.counts.vision_blocks * 160
    assert CONFIG.flops(**asked, frozen_encoder=True)["encoder"] == pytest.approx(CONFIG.flops(**asked)["encoder"] / 3)


def test_what_does_not_fit_is_listed(clip_file):
    with pytest.raises(ValueError, match="does not fit the model's encoder") as error:
        weights.initialise_from(build(replace(CONFIG, d_vision=32, n_vision_layers=3, image_patches=9)), encoder=clip_file)
    for line in ("d_vision: 16 in the file, 32 in the model", "n_vision_layers: 2 in the file, 3", "image_patches: 16 in the file, 9"):
        assert line in str(error.value)
    late = LateFusionConfig(**{item.name: getattr(CONFIG, item.name) for item in fields(LateFusionConfig)})
    with pytest.raises(ValueError, match="Take the architecture late-clip, whose encoder is CLIP's"):
        weights.initialise_from(build(late), encoder=clip_file)
    (clip_file.parent / "config.json").write_text(json.dumps({"num_attention_heads": HEADS, "hidden_act": "gelu"}))
    with pytest.raises(ValueError, match="the encoder has hidden_act = 'gelu', ours can be started from 'quick_gelu' only"):
        weights.initialise_from(build(CONFIG), encoder=clip_file)


def test_images_of_another_size_are_refused(corpus):
    batch = collate([corpus.sources["caption"].train[0]])
    model = build(replace(CONFIG, vocab_size=corpus.vocab_size, image_patches=9))
    with pytest.raises(ValueError, match="an image of 16 patches, and the encoder has learned positions for 9: prepare the corpus"):
        model(batch)


def test_it_is_trained_and_images_are_read_alone(tiny, corpus, one_thread):
    arm = Arm(name="clip", arch="late-clip", settings={"vision_share": 1.0, "image_patches": 16})
    (run,) = replace(tiny, budgets=(6_000,), arms=(arm,)).grid(corpus).values()
    record = train(run, corpus)
    assert record.status == "finished" and record.curve[-1][1] < record.curve[0][1]
    model, batch = build(run.model), collate([corpus.sources["caption"].train[0]])
    other = {**batch, "patches": batch["patches"].clone()}
    other["patches"][0, 16:32] = 0
    with torch.no_grad():
        assert not torch.equal(model(batch), model(other)), "another image says something else"
        first = model(batch)[:26]
        assert torch.equal(first, model(other)[:26]), "the first caption does not see the second image"
        model(collate([corpus.sources["text"].train[0]]))
