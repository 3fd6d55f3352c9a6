"""Weights in files, and models that start from them: own ones bit by bit, others by what they compute."""

import json
import math
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from nmm.architectures import EarlyFusionConfig, LateFusionConfig, MoEConfig
from nmm.config import InitConfig
from nmm.models import build
from nmm.models.io import weights

SMALL = {"d_model": 32, "n_layers": 2, "n_heads": 2, "vocab_size": 64, "ffn_multiple": 8, "rope_base": 10_000.0}
TEXT = EarlyFusionConfig(patch_dim=0, **SMALL)
EARLY = EarlyFusionConfig(patch_dim=12, **SMALL)
LATE = LateFusionConfig(patch_dim=12, d_vision=16, n_vision_layers=2, n_vision_heads=1, **SMALL)
MOE = MoEConfig(patch_dim=12, n_experts=2, **SMALL)


def made(config, seed: int = 0):
    """A model whose gains are random too."""
    torch.manual_seed(seed)
    model = build(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("gain"):
                parameter.uniform_(0.5, 1.5)
    return model


def saved(path: Path, config, seed: int = 0) -> Path:
    weights.save(made(config, seed), path, config)
    return path


# Own files

@pytest.mark.parametrize("config", [TEXT, LATE, MOE], ids=["text", "late", "moe"])
def test_what_is_saved_is_loaded(tmp_path, config):
    model = made(config)
    path = tmp_path / "new folder" / "model.safetensors"
    digest = weights.save(model, path, config)
    read, tensors = weights.load(path)
    assert read == config and digest == weights.file_hash(path) and len(digest) == 16
    state = model.state_dict()
    assert set(tensors) == set(state) and all(torch.equal(tensors[name], state[name]) for name in state)
    assert [file.name for file in path.parent.iterdir()] == ["model.safetensors"], "nothing half written is left"


def test_the_hash_is_of_the_content(tmp_path):
    first, same, other = (saved(tmp_path / f"{k}.safetensors", TEXT, seed) for k, seed in enumerate((0, 0, 1)))
    assert weights.file_hash(first) == weights.file_hash(same) != weights.file_hash(other)


@pytest.mark.parametrize("config", [EARLY, LATE], ids=["early", "late"])
def test_the_decoder_of_a_text_model(tmp_path, config):
    """Embeddings, blocks and norm are the file's; what reads images is as it was."""
    source, model = made(TEXT, seed=1), made(config)
    weights.save(source, tmp_path / "text.safetensors", TEXT)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    weights.initialise_from(model, decoder=tmp_path / "text.safetensors")
    given = source.state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, given.get(name, before[name])), name
    assert set(given) < set(before)
    text = text_batch(9)
    assert torch.equal(model(text), source(text)), "text is read as before"


def test_encoder_and_decoder_of_different_files(tmp_path):
    decoder, encoder, model = saved(tmp_path / "d.safetensors", LATE, 1), saved(tmp_path / "e.safetensors", LATE, 2), made(LATE)
    connector = model.connector.weight.clone()
    weights.initialise_from(model, decoder=decoder, encoder=encoder)
    d, e = load_file(decoder), load_file(encoder)
    for name, tensor in model.state_dict().items():
        expected = connector if name.startswith("connector") else (e if name.startswith("vision.") else d)[name]
        assert torch.equal(tensor, expected), name


def test_a_mixture_starts_from_its_like(tmp_path):
    path, model = saved(tmp_path / "moe.safetensors", MOE, 1), made(MOE)
    projection = model.patch_projection.weight.clone()
    weights.initialise_from(model, decoder=path)
    state, given = model.state_dict(), load_file(path)
    assert all(torch.equal(state[name], given[name]) for name in given if not name.startswith("patch_projection"))
    assert torch.equal(state["patch_projection.weight"], projection)


def test_all_differences_are_in_one_error(tmp_path):
    path = saved(tmp_path / "text.safetensors", TEXT)
    other = made(replace(EARLY, d_model=64, n_heads=2, n_layers=3, vocab_size=72, rope_base=100.0))
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(ValueError, match="does not fit the model's decoder") as error:
        weights.initialise_from(other, decoder=path)
    for line in ("d_model: 32 in the file, 64 in the model", "n_layers: 2 in the file, 3 in the model",
                 "vocab_size: 64 in the file, 72 in the model; prepare the corpus with the tokenizer of these weights",
                 "rope_base: 10000.0 in the file, 100.0 in the model", "norm.gain: (32,) in the file, (64,) in the model",
                 "blocks.*.attention.qkv.weight: (96, 32) in the file, (192, 64) in the model",
                 "blocks.*.attention.qkv.weight: in the model alone"):
        assert line in str(error.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in other.state_dict().items()), "half started"


@pytest.mark.parametrize(("source", "target", "line"), [
    (TEXT, MOE, "arch: early in the file, moe in the model"), (MOE, EARLY, "arch: moe in the file, early in the model"),
    (MOE, replace(MOE, n_experts=4), "n_experts: 2 in the file, 4 in the model"),
    (TEXT, replace(TEXT, n_heads=1), "n_heads: 2 in the file, 1 in the model"),
])
def test_another_architecture_is_refused(tmp_path, source, target, line):
    with pytest.raises(ValueError, match="does not fit") as error:
        weights.initialise_from(made(target), decoder=saved(tmp_path / "x.safetensors", source))
    assert line in str(error.value)


def test_encoders_that_are_none(tmp_path):
    early = saved(tmp_path / "early.safetensors", EARLY)
    with pytest.raises(ValueError, match="a model of arch 'early', which has no encoder: give one of late fusion"):
        weights.initialise_from(made(LATE), encoder=early)
    with pytest.raises(ValueError, match="arch 'early' has no encoder to start"):
        weights.initialise_from(made(EARLY), encoder=early)
    wide = saved(tmp_path / "wide.safetensors", replace(LATE, d_vision=24, patch_dim=48))
    with pytest.raises(ValueError, match="the model's encoder") as error:
        weights.initialise_from(made(LATE), encoder=wide)
    assert "d_vision: 24 in the file, 16 in the model" in str(error.value)
    assert "patch_dim: 48 in the file, 12 in the model" in str(error.value)


def test_clip_does_not_start_another_encoder_and_the_reason_is_told(tmp_path):
    path = tmp_path / "clip.safetensors"
    save_file({"vision_model.embeddings.patch_embedding.weight": torch.zeros(4, 3, 14, 14)}, path)
    with pytest.raises(ValueError, match="CLIP vision transformer.*learned positions.*Take the architecture late-clip"):
        weights.initialise_from(made(LATE), encoder=path)


# What a run's configuration names

def test_a_run_starts_from_what_it_names(tmp_path):
    path = saved(tmp_path / "text.safetensors", TEXT, seed=1)
    model = made(EARLY)
    weights.start(model, InitConfig(decoder=weights.file_hash(path)), {"decoder": path})
    assert torch.equal(model.embedding.weight, load_file(path)["embedding.weight"])
    fresh = made(EARLY)
    weights.start(fresh, InitConfig())
    assert torch.equal(fresh.embedding.weight, made(EARLY).embedding.weight)


def test_files_and_names_must_agree(tmp_path):
    path = saved(tmp_path / "text.safetensors", TEXT)
    digest, other = weights.file_hash(path), "0123456789abcdef"
    for init, paths, message in (
        (InitConfig(decoder=other), {"decoder": path}, f"has the hash {digest}, but the run's configuration names {other}"),
        (InitConfig(), {"decoder": path}, f"names no decoder weights.*set init.decoder to {digest}"),
        (InitConfig(decoder=digest), {}, f"starts from decoder weights {digest}: give their file"),
        (InitConfig(decoder=digest), {"decoder": path, "head": path}, "unknown part 'head'.*known are decoder, encoder"),
    ):
        with pytest.raises(ValueError, match=message):
            weights.start(made(EARLY), init, paths)


# Files

def test_pickles_are_not_read(tmp_path):
    ran = tmp_path / "ran"

    class Trap:
        def __reduce__(self):
            return (ran.write_text, ("",))

    for name in ("model.pt", "model.safetensors"):
        (tmp_path / name).write_bytes(pickle.dumps({"embedding.weight": Trap()}))
    with pytest.raises(ValueError, match="no .safetensors file: others are pickles"):
        weights.initialise_from(made(EARLY), decoder=tmp_path / "model.pt")
    with pytest.raises(ValueError, match="model.safetensors is damaged or no safetensors file"):
        weights.initialise_from(made(EARLY), decoder=tmp_path / "model.safetensors")
    assert not ran.exists()


def test_a_file_that_was_cut_short(tmp_path):
    path = saved(tmp_path / "x.safetensors", TEXT)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="damaged"):
        weights.load(path)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(OSError, match="does not exist: give a safetensors file"):
        weights.file_hash(tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="holds 0 safetensors files"):
        weights.file_hash(tmp_path)
    (tmp_path / "a.safetensors.index.json").write_text('{"weight_map": {"x": "a-1.safetensors"}}')
    with pytest.raises(ValueError, match="names a-1.safetensors, which is not in"):
        weights.file_hash(tmp_path)
    for content in ("[]", "3", '{"weight_map": {"x": 3}}', '{"weight_map": {"x": "../a.safetensors"}}', '{"weight_map": [1]}',
                    "[" * 100_000):
        (tmp_path / "a.safetensors.index.json").write_text(content)
        with pytest.raises(ValueError, match=r"a\.safetensors\.index\.json is no index of safetensors files"):
            weights.file_hash(tmp_path)


@pytest.mark.parametrize("metadata", [["x"], "x", 3, {"nmm": ["x"]}, {"nmm": "[]"}, {"nmm": "[" * 100_000}, {"nmm": "3"}])
def test_metadata_that_are_none(tmp_path, metadata):
    """The header by hand: the library writes no such file."""
    header = json.dumps({"__metadata__": metadata, "x": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}).encode()
    (tmp_path / "x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0")
    with pytest.raises(ValueError, match=r"x\.safetensors (is damaged|has damaged metadata|was not written by nmm)"):
        weights.load(tmp_path / "x.safetensors")


def test_the_file_of_another_is_no_model(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="was not written by nmm"):
        weights.load(tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="of no known layout .own files, Llama .Hugging Face., OpenLM.; the first are x"):
        weights.initialise_from(made(EARLY), decoder=tmp_path / "x.safetensors")


# Other layouts, against small references written from their papers

def text_batch(length: int) -> dict[str, Tensor]:
    """One document of text in which all but the last position has a target."""
    ids = torch.arange(length)[None] % 64
    same = torch.zeros_like(ids)
    labels = torch.full_like(ids, -100)
    labels[:, :-1] = ids[:, 1:]
    return {"input_ids": ids, "labels": labels, "document_ids": same, "span_ids": same - 1, "modality": same,
            "patches": torch.zeros(1, 0, 12)}


def turned(x: Tensor, base: float, interleaved: bool) -> Tensor:
    """Rotary positions as complex turns, (H, L, K)."""
    K = x.shape[-1]
    pairs = x.unflatten(-1, (-1, 2)) if interleaved else x.unflatten(-1, (2, -1)).transpose(-1, -2)
    angle = torch.arange(x.shape[-2])[:, None] * base ** (-torch.arange(K // 2) * 2 / K)
    z = torch.view_as_complex(pairs.contiguous()) * torch.polar(torch.ones_like(angle), angle)
    out = torch.view_as_real(z)
    return out.flatten(-2) if interleaved else out.transpose(-1, -2).flatten(-2)


def reference(t: dict[str, Tensor], names: dict[str, str], ids: Tensor, *, heads: int, kv_heads: int, norm, base: float,
              interleaved: bool, qk_norm: str = "head") -> Tensor:
    """Logits of a pre-norm decoder with separate projections, (L, V)."""
    x = t[names["embed"]][ids]
    for i in range(2):
        def w(part: str, i=i) -> Tensor:
            return t[names[part].format(i=i)]

        h = norm(x, w("norm1"))
        q, k, v = ((h @ w(part).T) for part in ("q", "k", "v"))
        if qk_norm == "width":
            q, k = norm(q, w("q_norm")), norm(k, w("k_norm"))
        q, k, v = (y.unflatten(-1, (n, -1)).transpose(0, 1) for y, n in ((q, heads), (k, kv_heads), (v, kv_heads)))
        if qk_norm == "head":
            q, k = norm(q, w("q_norm")), norm(k, w("k_norm"))
        q, k = (turned(y, base, interleaved) for y in (q, k))
        k, v = (y.repeat_interleave(heads // kv_heads, 0) for y in (k, v))
        scores = (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(~torch.ones(len(ids), len(ids)).tril().bool(), -torch.inf)
        x = x + (scores.softmax(-1) @ v).transpose(0, 1).flatten(1) @ w("o").T
        h = norm(x, w("norm2"))
        x = x + (F.silu(h @ w("gate").T) * (h @ w("up").T)) @ w("down").T
    return norm(x, t[names["norm"]]) @ t[names["head"]].T


def rms(x: Tensor, gain: Tensor) -> Tensor:
    return x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * gain


def layer(x: Tensor, gain: Tensor) -> Tensor:
    return F.layer_norm(x, gain.shape, gain, eps=1e-5)


def llama_file(folder: Path, *, heads: int = 2, kv_heads: int = 2, tied: bool = False, qk_norm: bool = True, shards: int = 1,
               **settings) -> dict[str, Tensor]:
    """Random weights in the layout of transformers with its config.json."""
    torch.manual_seed(3)
    K, D, h = 32 // heads, 32, 88
    tensors = {"model.embed_tokens.weight": torch.randn(64, D) * 0.2, "model.norm.weight": torch.rand(D) + 0.5}
    if not tied:
        tensors["lm_head.weight"] = torch.randn(64, D) * 0.2
    for i in range(2):
        at = f"model.layers.{i}."
        for name, shape in (("self_attn.q_proj", (D, D)), ("self_attn.k_proj", (kv_heads * K, D)), ("self_attn.v_proj", (kv_heads * K, D)),
                            ("self_attn.o_proj", (D, D)), ("mlp.gate_proj", (h, D)), ("mlp.up_proj", (h, D)), ("mlp.down_proj", (D, h))):
            tensors[f"{at}{name}.weight"] = torch.randn(shape) * 0.2
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{at}{name}.weight"] = torch.rand(D) + 0.5
        if qk_norm:
            for name in ("q_norm", "k_norm"):
                tensors[f"{at}self_attn.{name}.weight"] = torch.rand(K) + 0.5
        tensors[f"{at}self_attn.rotary_emb.inv_freq"] = torch.zeros(K // 2)
    folder.mkdir(exist_ok=True)
    names = sorted(tensors)
    files = {name: f"model-{number:05d}.safetensors" for number in range(shards) for name in names[number::shards]}
    for file in set(files.values()):
        save_file({name: tensors[name] for name in names if files[name] == file}, folder / file)
    if shards > 1:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    (folder / "config.json").write_text(json.dumps({
        "model_type": "qwen3", "hidden_act": "silu", "num_attention_heads": heads, "num_key_value_heads": kv_heads,
        "rope_theta": 500.0, "rms_norm_eps": 1e-5, "tie_word_embeddings": tied, **settings}))
    return tensors


LLAMA_NAMES = {"embed": "model.embed_tokens.weight", "norm": "model.norm.weight", "head": "lm_head.weight"} | {
    short: f"model.layers.{{i}}.{name}.weight" for short, name in {
        "norm1": "input_layernorm", "norm2": "post_attention_layernorm", "q": "self_attn.q_proj", "k": "self_attn.k_proj",
        "v": "self_attn.v_proj", "o": "self_attn.o_proj", "q_norm": "self_attn.q_norm", "k_norm": "self_attn.k_norm",
        "gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj"}.items()}


@pytest.mark.parametrize(("heads", "kv_heads", "tied", "shards", "qk_norm"), [
    (2, 2, False, 1, "none"), (4, 2, True, 3, "head"), (4, 1, False, 2, "head"), (4, 2, False, 1, "none"),
])
def test_llama_computes_the_same(tmp_path, heads, kv_heads, tied, shards, qk_norm):
    """Separate projections, grouped queries, tied embeddings, several files, with QK-norm (Qwen3) and without (Llama)."""
    theirs = llama_file(tmp_path, heads=heads, kv_heads=kv_heads, tied=tied, shards=shards, qk_norm=qk_norm == "head")
    model = build(replace(EARLY, n_heads=heads, rope_base=500.0, qk_norm=qk_norm))
    source = tmp_path if shards > 1 else tmp_path / "model-00000.safetensors"
    weights.start(model, InitConfig(decoder=weights.file_hash(source)), {"decoder": source})
    batch = text_batch(13)
    names = LLAMA_NAMES | ({"head": LLAMA_NAMES["embed"]} if tied else {})
    with torch.no_grad():
        expected = reference(theirs, names, batch["input_ids"][0], heads=heads, kv_heads=kv_heads, norm=rms, base=500.0,
                             interleaved=False, qk_norm=qk_norm)
        assert torch.allclose(model(batch), expected[:-1], atol=1e-4)


def openlm_file(folder: Path, prefix: str = "", **settings) -> dict[str, Tensor]:
    """Random weights in OpenLM's layout: fused projections, QK-norm over the width."""
    torch.manual_seed(4)
    D, h = 32, 88
    tensors = {"tok_embeddings.weight": torch.randn(64, D) + 0.3, "norm.weight": torch.rand(D) + 0.5,
               "output.weight": torch.randn(64, D) * 0.2}
    for i in range(2):
        for name, shape in (("attention.in_proj", (3 * D, D)), ("attention.out_proj", (D, D)), ("feed_forward.w12", (2 * h, D)),
                            ("feed_forward.w3", (D, h))):
            tensors[f"layers.{i}.{name}.weight"] = torch.randn(shape) * 0.3 + 0.05
        for name in ("attention_norm", "ffn_norm", "attention.q_norm", "attention.k_norm"):
            tensors[f"layers.{i}.{name}.weight"] = torch.rand(D) + 0.5
        tensors[f"layers.{i}.attention.pos_embed.inv_freq"] = torch.zeros(D // 2)
    save_file({prefix + name: tensor for name, tensor in tensors.items()}, folder / "open_lm.safetensors")
    (folder / "config.json").write_text(json.dumps({"params_args_dict": {
        "hidden_dim": 32, "n_layers": 2, "n_heads": 2, "qk_norm": True, "model_norm": "gain_only_lp_layer_norm",
        "positional_embedding_type": "rotary", "ffn_type": "swiglu_torch", **settings}}))
    return tensors


OPENLM_NAMES = {"embed": "tok_embeddings.weight", "norm": "norm.weight", "head": "output.weight"} | {
    short: f"layers.{{i}}.{name}.weight" for short, name in {
        "norm1": "attention_norm", "norm2": "ffn_norm", "o": "attention.out_proj", "q_norm": "attention.q_norm",
        "k_norm": "attention.k_norm", "down": "feed_forward.w3"}.items()} | {
    short: f"layers.{{i}}.{short}" for short in ("q", "k", "v", "gate", "up")}


@pytest.mark.parametrize(("norm", "rotary", "prefix"), [
    ("gain_only_lp_layer_norm", "rotary", ""), ("gain_only_lp_layer_norm", "llama_rotary", "model."),
    ("rms_norm", "llama_rotary", "module."),
])
def test_openlm_computes_the_same(tmp_path, norm, rotary, prefix):
    """Fused projections, LayerNorms with a gain alone, either order of rotary pairs."""
    theirs = openlm_file(tmp_path, prefix, model_norm=norm, positional_embedding_type=rotary)
    for i in range(2):
        theirs |= dict(zip((f"layers.{i}.{part}" for part in "qkv"), theirs[f"layers.{i}.attention.in_proj.weight"].chunk(3), strict=True))
        theirs |= dict(zip((f"layers.{i}.gate", f"layers.{i}.up"), theirs[f"layers.{i}.feed_forward.w12.weight"].chunk(2), strict=True))
    model = build(replace(LATE, qk_norm="width"))
    weights.initialise_from(model, decoder=tmp_path)
    batch = text_batch(13)
    with torch.no_grad():
        expected = reference(theirs, OPENLM_NAMES, batch["input_ids"][0], heads=2, kv_heads=2, base=10_000.0,
                             norm=rms if norm == "rms_norm" else layer, interleaved=rotary == "llama_rotary", qk_norm="width")
        assert torch.allclose(model(batch), expected[:-1], atol=2e-4)


@pytest.mark.parametrize(("settings", "message"), [
    ({"model_type": "gemma"}, "model_type = 'gemma', ours can be started from 'llama' or 'mistral' or 'qwen3'"),
    ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "rope_type = 'llama3'"),
    ({"sliding_window": 4096}, "sliding_window = 4096"), ({"hidden_act": "gelu"}, "hidden_act = 'gelu'"),
    ({"num_attention_heads": None}, "do not say 'num_attention_heads'"), ({"rope_theta": None}, "do not say 'rope_theta'"),
    ({"num_attention_heads": 3}, "3 heads of queries and 2 of keys and values do not fit"),
    ({"rms_norm_eps": 1e-6}, "norm_eps: 1e-06 in the file, 1e-05 in the model"),
    ({"rope_theta": 1e4}, "rope_base: 10000.0 in the file, 500.0 in the model"),
])
def test_llamas_that_would_be_read_wrongly(tmp_path, settings, message):
    llama_file(tmp_path, **settings)
    with pytest.raises(ValueError, match=message):
        weights.initialise_from(build(replace(EARLY, rope_base=500.0)), decoder=tmp_path)


@pytest.mark.parametrize(("settings", "message"), [
    ({"model_norm": "default_layer_norm"}, "model_norm = 'default_layer_norm'"), ({"ffn_type": "gelu"}, "ffn_type = 'gelu'"),
    ({"positional_embedding_type": "head_rotary"}, "positional_embedding_type = 'head_rotary'"),
    ({"post_embed_norm": True}, "post_embed_norm = True"), ({"model_norm": None}, "do not say 'model_norm'"),
])
def test_openlms_that_would_be_read_wrongly(tmp_path, settings, message):
    openlm_file(tmp_path, **settings)
    with pytest.raises(ValueError, match=message):
        weights.initialise_from(build(replace(EARLY, qk_norm="width")), decoder=tmp_path)


def test_attention_normalised_otherwise_is_refused(tmp_path):
    llama_file(tmp_path / "llama", qk_norm=False)
    with pytest.raises(ValueError, match="does not fit") as error:
        weights.initialise_from(build(replace(EARLY, rope_base=500.0)), decoder=tmp_path / "llama")
    assert "qk_norm: none in the file, head in the model" in str(error.value)
    openlm_file(tmp_path)
    with pytest.raises(ValueError, match="does not fit") as error:
        weights.initialise_from(build(EARLY), decoder=tmp_path)
    assert "qk_norm: width in the file, head in the model" in str(error.value)


def test_without_settings_nothing_is_guessed(tmp_path):
    llama_file(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="config.json is damaged"):
        weights.initialise_from(build(EARLY), decoder=tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(ValueError, match="put the model's config.json beside them"):
        weights.initialise_from(build(EARLY), decoder=tmp_path)


def test_a_part_that_is_missing_is_named(tmp_path):
    tensors = llama_file(tmp_path)
    del tensors["model.layers.1.self_attn.k_proj.weight"]
    save_file(tensors, tmp_path / "model-00000.safetensors")
    with pytest.raises(ValueError, match="missing model.layers.1.self_attn.k_proj.weight"):
        weights.initialise_from(build(replace(EARLY, rope_base=500.0)), decoder=tmp_path)
    tensors["model.layers.1.self_attn.q_proj.bias"] = torch.zeros(32)
    tensors["model.layers.1.self_attn.k_proj.weight"] = torch.zeros(32, 32)
    save_file(tensors, tmp_path / "model-00000.safetensors")
    with pytest.raises(ValueError, match=r"model.layers.\*.self_attn.q_proj.bias: in the file alone"):
        weights.initialise_from(build(replace(EARLY, rope_base=500.0)), decoder=tmp_path)
