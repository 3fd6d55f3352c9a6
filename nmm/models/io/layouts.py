"""Decoders of other libraries in the names and conventions of ours: which tensor is which, and what has to be turned.

| ours                       | Llama (Hugging Face)                | OpenLM, DCLM               |
|----------------------------|-------------------------------------|----------------------------|
| embedding                  | model.embed_tokens                  | tok_embeddings             |
| blocks.i.attention_norm    | model.layers.i.input_layernorm      | layers.i.attention_norm    |
| ..attention.qkv            | ..self_attn.q_proj, k_proj, v_proj  | ..attention.in_proj        |
| ..attention.qk_gain        | ..self_attn.q_norm, k_norm          | ..attention.q_norm, k_norm |
| ..attention.out            | ..self_attn.o_proj                  | ..attention.out_proj       |
| ..ffn_norm                 | ..post_attention_layernorm          | ..ffn_norm                 |
| ..ffn.gate_up              | ..mlp.gate_proj, up_proj            | ..feed_forward.w12         |
| ..ffn.out                  | ..mlp.down_proj                     | ..feed_forward.w3          |
| norm                       | model.norm                          | norm                       |
| unembedding                | lm_head                             | output                     |

Theirs is always `.weight`; ours too, but `.gain` of a norm. Besides the names these differ, and are converted exactly:

- rotary pairs: ours and Hugging Face's are (k, k + K/2), Meta's (OpenLM's `llama_rotary`) are (2k, 2k + 1): the rows of
  queries and keys are put in another order;
- fewer keys and values than queries (grouped-query attention): each is repeated for its queries;
- LayerNorm with a gain alone (OpenLM) is RMSNorm of vectors with mean zero: what writes into the residual is centred
  (Ashkboos et al. 2024, "SliceGPT", Sec. 3.1);
- tied embeddings: the output embedding becomes a copy of the input embedding.

How queries and keys are normalised is a setting of ours, `qk_norm`, and must agree: "width" for OpenLM and DCLM, "none"
for Llama and Mistral, "head" for Qwen3.

Sources: open_lm/model.py (OpenLM, Gururangan et al. 2023; DCLM, Li et al. 2024) and modeling_llama.py (transformers).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nmm.models.io.clip_layout import PREFIXES

LLAMA, OPENLM = "Llama (Hugging Face)", "OpenLM"
_BLOCK = {LLAMA: "model.layers.{i}.", OPENLM: "layers.{i}."}
_NAMES: dict[str, dict[str, tuple[str, ...]]] = {
    LLAMA: {
        "embedding.weight": ("model.embed_tokens",),
        "attention_norm.gain": ("input_layernorm",),
        "attention.qkv.weight": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        "attention.qk_gain": ("self_attn.q_norm", "self_attn.k_norm"),
        "attention.out.weight": ("self_attn.o_proj",),
        "ffn_norm.gain": ("post_attention_layernorm",),
        "ffn.gate_up.weight": ("mlp.gate_proj", "mlp.up_proj"),
        "ffn.out.weight": ("mlp.down_proj",),
        "norm.gain": ("model.norm",),
        "unembedding.weight": ("lm_head",),
    },
    OPENLM: {
        "embedding.weight": ("tok_embeddings",),
        "attention_norm.gain": ("attention_norm",),
        "attention.qkv.weight": ("attention.in_proj",),
        "attention.qk_gain": ("attention.q_norm", "attention.k_norm"),
        "attention.out.weight": ("attention.out_proj",),
        "ffn_norm.gain": ("ffn_norm",),
        "ffn.gate_up.weight": ("feed_forward.w12",),
        "ffn.out.weight": ("feed_forward.w3",),
        "norm.gain": ("norm",),
        "unembedding.weight": ("output",),
    },
}
_WHOLE = ("embedding.weight", "norm.gain", "unembedding.weight")    # not in a block
_BUFFERS = ("rotary_emb.inv_freq", "pos_embed.inv_freq")            # follow from the rotary base
# what is said where CLIP's encoder is to start something that does not compute what it does
CLIP_ENCODER = (
    "these are a CLIP vision transformer's tensors. It has learned positions, a class token, LayerNorms and linear layers with biases, and "
    "GELU, where the encoder of late fusion has rotary positions, RMSNorm and SwiGLU: no weights make the one compute what the other does. "
    "Take the architecture late-clip, whose encoder is CLIP's; or train late fusion, or two towers by contrast, and start from their file"
)


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What a decoder's settings say that its tensors do not."""

    n_heads: int
    n_kv_heads: int
    rope_base: float
    norm_eps: float
    interleaved: bool = False       # rotary pairs (2k, 2k + 1)
    centred: bool = False           # LayerNorm, which subtracts the mean
    tied: bool = False              # one matrix for both embeddings


def layout_of(names: Iterable[str]) -> str:
    """The layout that tensors have by their names.

    Raises:
        ValueError: none that is known.
    """
    names = set(_bare(names))
    if "model.embed_tokens.weight" in names and any(".self_attn.q_proj.weight" in name for name in names):
        return LLAMA
    if "tok_embeddings.weight" in names and any(name.endswith(".attention.in_proj.weight") for name in names):
        return OPENLM
    if any(name.startswith(PREFIXES) for name in names):
        raise ValueError(CLIP_ENCODER)
    raise ValueError(
        f"the tensors are of no known layout (own files, {LLAMA}, {OPENLM}); the first are "
        f"{', '.join(sorted(names)[:3])}"
    )


def traits(layout: str, settings: dict[str, Any]) -> Traits:
    """Traits of a decoder from the settings that its library saves beside it (`config.json`).

    Raises:
        ValueError: a setting is missing, or names something that our decoder does not have.
    """
    return _llama(settings) if layout == LLAMA else _openlm(settings)


def _need(settings: dict[str, Any], name: str) -> Any:
    if settings.get(name) is None:
        raise ValueError(f"the settings beside the weights do not say {name!r}: add it to their config.json")
    return settings[name]


def _refuse(settings: dict[str, Any], allowed: dict[str, tuple[Any, ...]]) -> None:
    """Raise if a setting that is there has a value that our decoder cannot have."""
    for name, values in allowed.items():
        if settings.get(name, values[0]) not in values:
            raise ValueError(f"the decoder has {name} = {settings[name]!r}, ours can be started from "
                             f"{' or '.join(map(repr, values))} only")


def _llama(settings: dict[str, Any]) -> Traits:
    _need(settings, "model_type")
    # Other families share the names and not the meaning: Gemma's gains are 1 + weight, Cohere's blocks are parallel
    _refuse(settings, {
        "model_type": ("llama", "mistral", "qwen3"), "hidden_act": ("silu",), "attention_bias": (False,),
        "mlp_bias": (False,),
    })
    rope = settings.get("rope_parameters") or settings.get("rope_scaling") or {}
    _refuse({"rope_type": rope.get("rope_type", rope.get("type", "default"))}, {"rope_type": ("default",)})
    if settings.get("use_sliding_window", True):
        _refuse(settings, {"sliding_window": (None,)})
    heads = _need(settings, "num_attention_heads")
    base = rope.get("rope_theta", settings.get("rope_theta"))
    return Traits(
        n_heads=heads, n_kv_heads=settings.get("num_key_value_heads") or heads,
        rope_base=float(base if base is not None else _need(settings, "rope_theta")),
        norm_eps=_need(settings, "rms_norm_eps"), tied=bool(settings.get("tie_word_embeddings")),
    )


def _openlm(settings: dict[str, Any]) -> Traits:
    settings = {**(settings.get("params_args_dict") or {}), **settings}
    for name in ("model_norm", "positional_embedding_type", "ffn_type"):    # left out, they would depend on the caller
        _need(settings, name)
    _refuse(settings, {
        "model_norm": ("rms_norm", "gain_only_lp_layer_norm", "gain_only_layer_norm"),
        # "head_rotary" turns by the number of the head, an error kept for old checkpoints
        "positional_embedding_type": ("rotary", "llama_rotary"), "ffn_type": ("swiglu", "swiglu_torch"),
        "post_embed_norm": (False,), "moe_freq": (0,),
    })
    heads, rms = _need(settings, "n_heads"), settings["model_norm"] == "rms_norm"
    return Traits(
        n_heads=heads, n_kv_heads=heads, rope_base=10_000.0, norm_eps=settings.get("norm_eps", 1e-5),
        interleaved=settings["positional_embedding_type"] == "llama_rotary", centred=not rms,
        tied=bool(settings.get("weight_tying")),
    )


def convert(layout: str, theirs: dict[str, Tensor], traits: Traits) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A decoder in our names.

    Returns:
        What it is as `nmm.models.io.weights` compares it, `d_model` and the like; and its tensors, float32. A tensor
        without a counterpart keeps its name.
    Raises:
        ValueError: a part of one of our tensors is missing, or the heads do not divide queries, keys and values.
    """
    parts, left = _renamed(layout, {name: theirs[whole] for name, whole in _bare(theirs).items()})
    qk_norm = "none"
    for name, found in parts.items():
        if name.endswith("qkv.weight"):
            parts[name] = _queries_keys_values(found, traits)
        elif name.endswith("qk_gain"):
            head_dim = len(parts[name.replace("qk_gain", "qkv.weight")][0]) // traits.n_heads
            q, k = (gain.view(-1, head_dim) for gain in found)
            gains = torch.stack((q, k.repeat_interleave(len(q) // len(k), 0)))
            parts[name] = [(_half(gains) if traits.interleaved else gains)[:, None, :, None]]
            qk_norm = "head" if len(q) == 1 else "width"
    ours = {name: torch.cat(found) for name, found in parts.items()}
    if traits.tied and "embedding.weight" in ours:
        ours.setdefault("unembedding.weight", ours["embedding.weight"].clone())
    if traits.centred:
        _centre(ours, {"head": traits.n_heads, "width": 1, "none": 0}[qk_norm])
    settings = {"n_heads": traits.n_heads, "rope_base": traits.rope_base, "norm_eps": traits.norm_eps,
                "qk_norm": qk_norm}
    settings["n_layers"] = sum(name.endswith("qkv.weight") for name in ours)
    for name, tensor, axis in (("vocab_size", "embedding.weight", 0), ("d_model", "embedding.weight", 1),
                               ("d_hidden", "blocks.0.ffn.out.weight", 1)):
        if tensor in ours:
            settings[name] = ours[tensor].shape[axis]
    return settings, ours | left


def _bare(names: Iterable[str]) -> dict[str, str]:
    """Names without what wrappers put before all of them, such as "module." or OpenLM's "model.", to the names as they
    are.
    """
    names = list(names)
    first = next((name for name in names if name.endswith(("model.embed_tokens.weight", "tok_embeddings.weight"))), "")
    prefix = first.removesuffix("model.embed_tokens.weight").removesuffix("tok_embeddings.weight")
    return {name.removeprefix(prefix): name for name in names if not name.endswith(_BUFFERS)}


def _renamed(layout: str, theirs: dict[str, Tensor]) -> tuple[dict[str, list[Tensor]], dict[str, Tensor]]:
    """Parts of our tensors by our names, in float32, and what is left over."""
    pattern = re.compile(re.escape(_BLOCK[layout]).replace(r"\{i\}", r"(\d+)"))
    layers = 1 + max((int(found[1]) for name in theirs if (found := pattern.match(name))), default=-1)
    ours, left = {}, dict(theirs)
    for name, sources in _NAMES[layout].items():
        for i in range(1 if name in _WHOLE else layers):
            here, there = ("", "") if name in _WHOLE else (f"blocks.{i}.", _BLOCK[layout].format(i=i))
            names = [f"{there}{source}.weight" for source in sources]
            missing = [source for source in names if source not in left]
            if missing and len(missing) < len(names):
                raise ValueError(f"one tensor of ours is made of {', '.join(names)}: missing {', '.join(missing)}")
            if not missing:
                ours[here + name] = [left.pop(source).float() for source in names]
    return ours, left


def _queries_keys_values(parts: list[Tensor], traits: Traits) -> list[Tensor]:
    """Three matrices of as many heads, rotary pairs in halves."""
    q, k, v = parts if len(parts) == 3 else parts[0].chunk(3)
    if len(q) % traits.n_heads or len(k) * traits.n_heads != len(q) * traits.n_kv_heads or len(v) != len(k):
        raise ValueError(
            f"{traits.n_heads} heads of queries and {traits.n_kv_heads} of keys and values do not fit matrices of "
            f"{len(q)}, {len(k)} and {len(v)} rows: are the settings those of these weights?"
        )
    shape = -1, len(q) // traits.n_heads, q.shape[1]
    repeats = traits.n_heads // traits.n_kv_heads
    q, k, v = q.view(shape), *(part.view(shape).repeat_interleave(repeats, 0) for part in (k, v))
    if traits.interleaved:
        q, k = (part.transpose(1, 2) for part in (q, k))
        q, k = (_half(part).transpose(1, 2) for part in (q, k))
    return [part.flatten(0, 1) for part in (q, k, v)]


def _half(interleaved: Tensor) -> Tensor:
    """Rotary pairs (2k, 2k + 1) of the last dimension as (k, k + K/2)."""
    return torch.cat((interleaved[..., 0::2], interleaved[..., 1::2]), dim=-1)


def _centre(ours: dict[str, Tensor], groups: int) -> None:
    """Make the mean zero of all that a LayerNorm reads: the residual, and queries and keys in the groups normalised
    together.
    """
    for name, tensor in ours.items():
        if name == "embedding.weight":
            tensor -= tensor.mean(1, keepdim=True)
        elif name.endswith(".out.weight"):
            tensor -= tensor.mean(0, keepdim=True)
        elif name.endswith("qkv.weight") and groups:
            qk = tensor[: 2 * len(tensor) // 3].view(2 * groups, -1, tensor.shape[1])
            qk -= qk.mean(1, keepdim=True)
