"""CLIP's vision transformer (transformers' CLIPModel and CLIPVisionModel) in the names of `nmm.models.clip`.

| ours                      | theirs, under vision_model.              |
|---------------------------|------------------------------------------|
| patch_projection          | embeddings.patch_embedding               |
| class_token               | embeddings.class_embedding               |
| positions                 | embeddings.position_embedding            |
| first_norm                | pre_layrnorm (so spelt)                  |
| blocks.i.attention_norm   | encoder.layers.i.layer_norm1             |
| ..qkv                     | ..self_attn.q_proj, k_proj, v_proj       |
| ..attention_out           | ..self_attn.out_proj                     |
| ..ffn_norm                | ..layer_norm2                            |
| ..up, ..down              | ..mlp.fc1, ..mlp.fc2                     |

A patch is their convolution's window, with channels last. They normalise pixels by CLIP's statistics and we by ImageNet's: the
difference is an affine map of pixels, and goes into the projection and its bias. What CLIP does after the last block, the norm and the
projection of the class token, has no place in late fusion and is left out, as are its text tower and temperature.
"""

import re
from typing import Any

import torch
from torch import Tensor

from nmm.data.images import MEAN, STD

PREFIXES = ("vision_model.", "visual.", "vision_tower.")
_CLIP_MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])
_CLIP_STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])
_LAYER = {"attention_norm": ("layer_norm1",), "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
          "attention_out": ("self_attn.out_proj",), "ffn_norm": ("layer_norm2",), "up": ("mlp.fc1",), "down": ("mlp.fc2",)}
_BEFORE = "vision_model."


def is_clip(names: list[str]) -> bool:
    """Whether tensors of these names are transformers' CLIP."""
    return any(name.startswith(f"{_BEFORE}embeddings.patch_embedding.") for name in names)


def convert(theirs: dict[str, Tensor], settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """An encoder in our names, under `vision.`.

    Args:
        theirs: tensors by name.
        settings: of their config.json.
    Returns:
        What it is, as `nmm.models.io.weights` compares it, and its tensors, float32.
    Raises:
        ValueError: a tensor or a setting is missing, or the settings are of another transformer.
    """
    own = settings.get("vision_config", settings)
    for name, value in (("hidden_act", "quick_gelu"), ("layer_norm_eps", 1e-5)):
        if own.get(name, value) != value:
            raise ValueError(f"the encoder has {name} = {own[name]!r}, ours can be started from {value!r} only")
    if not own.get("num_attention_heads"):
        raise ValueError("the settings beside the weights do not say 'num_attention_heads': add it to their config.json")

    def take(name: str) -> Tensor:
        if _BEFORE + name not in theirs:
            raise ValueError(f"{_BEFORE}{name} is missing: the file must hold the whole vision transformer")
        return theirs[_BEFORE + name].float()

    window, width = take("embeddings.patch_embedding.weight"), len(theirs[_BEFORE + "embeddings.patch_embedding.weight"])
    scale = torch.from_numpy(STD) / _CLIP_STD
    shift = (torch.from_numpy(MEAN) - _CLIP_MEAN) / _CLIP_STD
    ours = {
        "patch_projection.weight": (window * scale[:, None, None]).permute(0, 2, 3, 1).flatten(1),
        "patch_projection.bias": (window * shift[:, None, None]).sum((1, 2, 3)),
        "class_token": take("embeddings.class_embedding").flatten(), "positions": take("embeddings.position_embedding.weight"),
        **{f"first_norm.{end}": take(f"pre_layrnorm.{end}") for end in ("weight", "bias")},
    }
    pattern = re.compile(re.escape(_BEFORE) + r"encoder\.layers\.(\d+)\.")
    layers = 1 + max((int(found[1]) for name in theirs if (found := pattern.match(name))), default=-1)
    for i in range(layers):
        for name, sources in _LAYER.items():
            for end in ("weight", "bias"):
                ours[f"blocks.{i}.{name}.{end}"] = torch.cat([take(f"encoder.layers.{i}.{source}.{end}") for source in sources])
    told = {"d_vision": width, "n_vision_layers": layers, "n_vision_heads": own["num_attention_heads"], "patch_dim": window[0].numel(),
            "image_patches": len(ours["positions"]) - 1}
    return told, {f"vision.{name}": tensor for name, tensor in ours.items()}
