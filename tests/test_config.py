"""Run configurations: their names last, they survive JSON, and contradictions are refused."""

import json
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from nmm import record
from nmm.architectures import EarlyFusionConfig, LateFusionConfig, MoEConfig
from nmm.config import DataConfig, ExecutionConfig, InitConfig, OptimConfig, RunConfig, content_hash, from_dict, to_dict
from nmm.studies import STUDIES, find_study


@pytest.fixture
def config(shape) -> RunConfig:
    return next(iter(find_study("laptop").grid(shape).values()))


def test_names_of_runs_last():
    """Pinned: records are found by these names, so neither a new setting nor another order of fields may move them."""
    laptop = RunConfig(
        model=EarlyFusionConfig(d_model=64, n_layers=3, n_heads=4, vocab_size=512, patch_dim=192, ffn_multiple=8, rope_base=100.0),
        data=DataConfig(corpus_id="0123456789abcdef", mixture="45-45-10", weights={"caption": 0.45, "interleaved": 0.45, "text": 0.10},
                        context=130, batch_sequences=4, validation_sequences=256),
        optim=OptimConfig(lr=0.01 * 0.5**0.5, warmup_tokens=20_000), tokens=2_000_000, seed=0,
    )
    assert laptop.id == "2c7685e79ccd37c8"
    smoke = replace(
        laptop, model=replace(laptop.model, d_model=32, n_heads=2), data=replace(laptop.data, validation_sequences=32),
        optim=OptimConfig(lr=0.01, warmup_tokens=4_000), tokens=80_000,
    )
    assert smoke.id == "d91b2f04152751be"


RUNS = Path(__file__).parents[1] / "runs"


# records of the first schema are of recipes before
OF_TODAY = [
    RUNS / name for name in STUDIES
    if any('"schema": 2' in path.read_text() for path in (RUNS / name).glob("????????????????.json"))
]


# trained over several sessions of a machine that is shared: records are published as they come
IN_TRAINING = {"study", "long-context", "resolution"}


@pytest.mark.parametrize("folder", OF_TODAY, ids=lambda folder: folder.name)
def test_committed_records_are_those_of_their_preset(folder):
    """The published runs are what the preset of that name would train today."""
    records = [record.read(path) for path in record.paths(folder)]
    preset = find_study(folder.name)
    by_study = {name: [record.config for record in records if record.config.origin.study == name] for name in (preset.name, *preset.also)}
    assert sum(map(len, by_study.values())) == len(records)
    for name, configs in by_study.items():          # those that belong to it have corpora of their own
        if not configs and folder.name in IN_TRAINING:
            continue
        data, model = configs[0].data, configs[0].model
        shape = SimpleNamespace(hash=data.corpus_id, context=data.context, vocab_size=model.vocab_size, patch_dim=model.patch_dim,
                                audio_dim=model.audio_dim, video_dim=model.video_dim)
        found, asked = {config.id for config in configs}, set(find_study(name).grid(shape))
        assert found == asked or (folder.name in IN_TRAINING and found < asked)
    assert [record.reason for record in records if record.status == "failed"] == []


def test_a_setting_at_its_default_does_not_name_a_run(config):
    assert replace(config, model=replace(config.model, ffn_multiple=256)).id != config.id
    plain = to_dict(config)
    del plain["optim"]["beta1"], plain["data"]["max_epochs"]
    assert from_dict(plain).id == config.id


def test_every_setting_names_a_run(config):
    changed = {config.id, replace(config, tokens=config.tokens + 1).id, replace(config, seed=1).id}
    other = {"d_model": 160, "n_layers": 4, "n_heads": 4, "vocab_size": 513, "patch_dim": 0, "ffn_multiple": 16,
             "rope_base": 10.0, "corpus_id": "f" * 16, "mixture": "other", "weights": {"text": 1.0}, "context": 131,
             "batch_sequences": 5, "validation_sequences": 7, "max_epochs": 2, "backwards": True, "lr": 1.0, "warmup_tokens": 1,
             "cooldown": 0.1, "beta1": 0.8, "beta2": 0.9, "weight_decay": 0.5, "clip": 2.0, "encoder_lr_scale": 0.5, "qk_norm": "width",
             "expert_lr_scale": 0.5, "audio_dim": 64, "video_dim": 384, "decoder": "0" * 16}
    for part in ("model", "data", "optim"):
        for field in fields(getattr(config, part)):
            inner = replace(getattr(config, part), **{field.name: other[field.name]})
            changed.add(replace(config, **{part: inner}).id)
    changed.add(replace(config, init=InitConfig(decoder=other["decoder"])).id)
    assert len(changed) == 3 + len(other)


def test_only_the_precision_of_the_execution_names_a_run(config):
    """The same run on more GPUs, in smaller microbatches or with other kernels is the same run."""
    elsewhere = ExecutionConfig(sharding="full", compile=True, checkpoint_activations=True, microbatch_sequences=2, workers=3,
                                attention="sdpa", experts="loop")
    assert all(getattr(elsewhere, item.name) != item.default for item in fields(elsewhere) if item.name != "precision")
    assert replace(config, execution=elsewhere).id == config.id
    assert replace(config, execution=ExecutionConfig(precision="bf16")).id != config.id


@pytest.mark.parametrize(("change", "message"), [
    ({"precision": "fp16"}, "precision must be one of fp32, bf16: got 'fp16'"),
    ({"sharding": "fsdp"}, "sharding must be one of none, full, hybrid: got 'fsdp'"),
    ({"attention": "flash"}, "attention must be one of auto, flex, sdpa"),
    ({"compile": "yes"}, "compile must be true or false: got 'yes'"),
    ({"microbatch_sequences": -1}, "microbatch_sequences must not be negative: got -1"),
])
def test_a_contradiction_in_the_execution_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        ExecutionConfig(**change)


LATE = LateFusionConfig(d_model=64, n_layers=2, n_heads=4, vocab_size=512, patch_dim=192, ffn_multiple=8, d_vision=32,
                        n_vision_layers=2, n_vision_heads=2)
SPARSE = MoEConfig(d_model=64, n_layers=2, n_heads=4, vocab_size=512, patch_dim=192, ffn_multiple=8)


@pytest.mark.parametrize(("model", "change", "message"), [
    (LATE, {"n_vision_heads": 5}, "n_vision_heads must divide d_vision .*d_vision=32, n_vision_heads=5"),
    (LATE, {"n_vision_layers": 0}, "n_vision_layers must be positive"),
    (LATE, {"patch_dim": 0}, "late fusion needs images"),
    (LATE, {"audio_dim": 64}, "late fusion encodes images only"),
    (SPARSE, {"n_experts": 2, "top_k": 3}, "a token cannot take 3 of 2 experts"),
    (SPARSE, {"top_k": 0}, "top_k must be positive"),
    (SPARSE, {"routing": "random"}, "routing must be one of learned, modality: got 'random'"),
    (SPARSE, {"routing": "modality"}, "n_experts must be 2 and top_k 1, got 8 and 1"),
    (SPARSE, {"load_balance": -0.1}, "must not be negative: got 0 and -0.1"),
])
def test_a_contradiction_in_another_architecture_is_refused(model, change, message):
    with pytest.raises(ValueError, match=message):
        replace(model, **change)


@pytest.mark.parametrize("model", [LATE, SPARSE], ids=["late", "moe"])
def test_every_architecture_survives_json(config, model):
    run = replace(config, model=model, optim=replace(config.optim, encoder_lr_scale=0.1), execution=ExecutionConfig(compile=True))
    assert from_dict(json.loads(json.dumps(to_dict(run)))) == run


def test_an_encoder_to_start_from_needs_late_fusion(config):
    with pytest.raises(ValueError, match="a model of arch 'early' has no encoder"):
        replace(config, init=InitConfig(encoder="0" * 16))
    assert replace(config, model=LATE, init=InitConfig(encoder="0" * 16)).init.encoder


def test_a_frozen_encoder_needs_late_fusion(config):
    frozen = replace(config.optim, encoder_lr_scale=0.0)
    with pytest.raises(ValueError, match="encoder_lr_scale is 0, but a model of arch 'early' has no encoder to freeze: leave it at 1"):
        replace(config, optim=frozen)
    assert replace(config, model=LATE, optim=frozen).optim.encoder_lr_scale == 0


def test_a_run_names_the_runs_that_it_starts_from(config):
    init = InitConfig(decoder="run:0123456789abcdef", encoder="f" * 16)
    assert init.parts == {"decoder": "run:0123456789abcdef", "encoder": "f" * 16}
    assert init.runs == {"decoder": "0123456789abcdef"}
    with pytest.raises(ValueError, match="init.model is all of a model: leave out"):
        replace(init, model="run:0123456789abcdef")
    run = replace(config, init=InitConfig(model="run:0123456789abcdef"))
    assert from_dict(json.loads(json.dumps(to_dict(run)))) == run and run.id != config.id


def test_equal_numbers_give_equal_names(config):
    """1 and 1.0 are equal in Python and differ in JSON: the name must not."""
    one = replace(config, optim=replace(config.optim, lr=1.0), data=replace(config.data, weights={"caption": 1.0, "text": 2.0}))
    two = replace(config, optim=replace(config.optim, lr=1), data=replace(config.data, weights={"text": 2, "caption": 1}))
    assert one == two
    assert one.id == two.id


def test_json_round_trip(config):
    again = from_dict(json.loads(json.dumps(to_dict(config))))
    assert again == config
    assert again.id == config.id
    assert to_dict(again) == to_dict(config)


def test_weights_may_be_nested_as_in_table_5(config):
    nested = {"caption": {"dfn": 27, "coyo": 11.25, "hqitp": 6.75}, "interleaved": 45, "text": 10}
    run = replace(config, data=replace(config.data, weights=nested))
    assert from_dict(json.loads(json.dumps(to_dict(run)))) == run
    whole = {**nested, "caption": {"dfn": 27.0, "coyo": 11.25, "hqitp": 6.75}}
    assert replace(config, data=replace(config.data, weights=whole)).id == run.id != config.id


@pytest.mark.parametrize(("part", "valid"), [("model", "d_model, n_layers"), ("data", "corpus_id, mixture"), ("optim", "lr, warmup_tokens"),
                                             (None, "model, data, optim, tokens, seed, objective, infilling, init, execution")])
def test_an_unknown_key_lists_the_valid_ones(config, part, valid):
    plain = to_dict(config)
    (plain[part] if part else plain)["depth"] = 3
    with pytest.raises(ValueError, match=f"unknown key 'depth' .*valid are {valid}"):
        from_dict(plain)


def test_what_is_missing_is_named(config):
    plain = to_dict(config)
    del plain["optim"]["lr"]
    with pytest.raises(ValueError, match="OptimConfig.*'lr'"):
        from_dict(plain)
    with pytest.raises(ValueError, match="unknown architecture None: known are early, late, contrast, moba, moe"):
        from_dict({})


@pytest.mark.parametrize(("change", "message"), [
    ({"d_model": 48, "n_heads": 5}, "n_heads must divide d_model .*d_model=48, n_heads=5"),
    ({"d_model": 48, "n_heads": 16}, "even width"),
    ({"d_model": 0}, "d_model must be positive and finite: got 0"),
    ({"rope_base": float("nan")}, "rope_base must be positive and finite: got nan"),
    ({"patch_dim": -1}, "patch_dim must be 0 .*got -1"),
    ({"vocab_size": "512"}, "vocab_size must be .*got '512'"),
    ({"n_layers": 2.5}, "n_layers must be .*got 2.5"),
])
def test_a_contradiction_in_a_model_is_refused(config, change, message):
    with pytest.raises(ValueError, match=message):
        replace(config.model, **change)


@pytest.mark.parametrize(("part", "change", "message"), [
    ("data", {"weights": {}}, "weights must be finite and non-negative with a positive sum"),
    ("data", {"weights": {"caption": -1.0, "text": 2.0}}, "weights must be finite and non-negative"),
    ("data", {"weights": {"caption": float("nan")}}, "weights must be finite"),
    ("data", {"weights": {"caption": {"dfn": 27.0, "coyo": -11.25}, "text": 10.0}}, "weights must be finite and non-negative"),
    ("data", {"weights": {"caption": {"dfn": 0.0}, "text": 0.0}}, "with a positive sum"),
    ("data", {"context": 0}, "context must be positive"),
    ("data", {"max_epochs": 1.5}, "max_epochs must be .*got 1.5"),
    ("optim", {"lr": float("inf")}, "lr must be positive and finite: got inf"),
    ("optim", {"cooldown": 1.1}, "between 0 and 1: got 1.1"),
    ("optim", {"warmup_tokens": -1}, "must not be negative: got -1"),
])
def test_a_contradiction_elsewhere_is_refused(config, part, change, message):
    with pytest.raises(ValueError, match=message):
        replace(getattr(config, part), **change)


@pytest.mark.parametrize("tokens", [0, -5, 519, 2e6, True])
def test_a_budget_is_a_whole_number_of_at_least_one_step(config, tokens):
    with pytest.raises(ValueError, match="tokens"):
        replace(config, tokens=tokens)


def test_an_architecture_that_nobody_knows(config):
    plain = to_dict(config)
    plain["model"]["arch"] = "perceiver"
    with pytest.raises(ValueError, match="unknown architecture 'perceiver': known are early"):
        from_dict(plain)


def test_content_hash_ignores_the_order_of_keys_and_refuses_nan():
    assert content_hash({"a": 1, "b": [2]}) == content_hash({"b": [2], "a": 1})
    with pytest.raises(ValueError, match="JSON"):
        content_hash(float("nan"))


def test_hidden_width_is_openlms():
    for d, h in ((800, 2304), (1088, 3072), (1632, 4352), (2208, 5888), (2624, 7168), (3232, 8704)):
        model = EarlyFusionConfig(d_model=d, n_layers=24, n_heads=d // 32, vocab_size=50432, patch_dim=588)
        assert model.d_hidden == h
