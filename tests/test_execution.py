"""However a run is carried out, it is the same run: microbatches, processes, sharding, recomputed activations, compilation."""

import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from nmm.architectures import LateFusionConfig, MoEConfig
from nmm.config import ExecutionConfig, to_dict
from nmm.data.batches.loader import train_batches, validation_batches
from nmm.data.batches.reading import reading, validation_sources
from nmm.models import build, experts
from nmm.models.io.weights import load
from nmm.training import execution
from nmm.training.execution import HeldOutShare, Place
from nmm.training.model import LanguageModel
from nmm.training.objectives import objective
from nmm.training.objectives.objective import targets
from nmm.training.objectives.text import cross_entropy
from nmm.training.parts import assemble
from nmm.training.run import train
from nmm.training.trainer import make_trainer

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")


pytestmark = pytest.mark.usefixtures("one_thread")


def carried_out(config, **settings):
    return replace(config, execution=ExecutionConfig(**settings))


@pytest.fixture(scope="module")
def short(tiny, corpus):
    """Ten steps; seven held-out sequences, which two processes do not share evenly."""
    return next(iter(replace(tiny, budgets=(5_000,), validation_sequences=7).grid(corpus).values()))


@pytest.fixture(scope="module")
def models(short):
    """The short run of each architecture."""
    shape = {name: getattr(short.model, name) for name in ("d_model", "n_layers", "n_heads", "vocab_size", "patch_dim", "rope_base")}
    late = LateFusionConfig(**shape, d_vision=16, n_vision_layers=1, n_vision_heads=1)
    moe = MoEConfig(**shape, n_experts=4)
    return {"early": short, "late": replace(short, model=late), "moe": replace(short, model=moe)}


@pytest.fixture(scope="module")
def alone(models, corpus):
    """Records of the runs in one process, whole batches at once."""
    return {arch: train(config, corpus) for arch, config in models.items()}


def near(record, reference, tolerance=2e-5):
    assert record.losses == pytest.approx(reference.losses, rel=tolerance)
    assert [loss for _, loss in record.curve] == pytest.approx([loss for _, loss in reference.curve], rel=tolerance)
    assert [seen for seen, _ in record.curve] == [seen for seen, _ in reference.curve]
    assert record.tokens == reference.tokens


@pytest.mark.parametrize("arch", ["early", "late"])
@pytest.mark.parametrize("size", [1, 3])
def test_microbatches_add_up_to_the_batch(models, alone, corpus, arch, size):
    """They have different numbers of targets; the last one is shorter where 3 does not divide 4."""
    near(train(carried_out(models[arch], microbatch_sequences=size), corpus), alone[arch])


def test_a_mixtures_balance_is_that_of_each_microbatch(models, alone, corpus):
    """So accumulation is exact without the balancing loss, and near with it."""
    near(train(carried_out(models["moe"], microbatch_sequences=2), corpus), alone["moe"], tolerance=1e-2)
    free = replace(models["moe"], model=replace(models["moe"].model, load_balance=0.0))
    near(train(carried_out(free, microbatch_sequences=1), corpus), train(free, corpus))


def test_recomputed_activations_change_nothing(models, alone, corpus):
    for arch, config in models.items():
        record = train(carried_out(config, checkpoint_activations=True), corpus)
        assert record.losses == alone[arch].losses, arch
        assert record.curve == alone[arch].curve, arch


def test_data_loading_processes_change_nothing(short, alone, corpus):
    record = train(carried_out(short, workers=1), corpus)
    assert (record.losses, record.curve) == (alone["early"].losses, alone["early"].curve)


def test_only_blocks_are_wrapped_and_names_stay(models):
    for config in models.values():
        module = build(config.model)
        names = list(module.state_dict())
        execution.prepare(module, ExecutionConfig(checkpoint_activations=True), CPU)
        assert list(module.state_dict()) == names
        assert len(execution.blocks(module)) == config.model.n_layers + getattr(config.model, "n_vision_layers", 0)
        sharded = [part for part in module.modules() if module.fsdp_wrap_fn(part)]
        assert sharded == execution.blocks(module)


@pytest.mark.slow
def test_compiled_blocks_compute_the_same(short, alone, corpus):
    record = train(carried_out(short, compile=True), corpus)
    near(record, alone["early"], tolerance=1e-4)


@pytest.mark.parametrize("arch", ["early", "late", "moe"])
def test_bfloat16_is_near_float32(models, alone, corpus, arch):
    """Weights, gradients and the loss stay in float32."""
    config = carried_out(models[arch], precision="bf16")
    assert config.id != models[arch].id
    parts = assemble(config, corpus)
    model, trainer = parts.model, make_trainer(parts)
    trainer.fit()
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    batch = trainer.state.batch
    assert model(batch).dtype == torch.bfloat16
    loss = model.loss(model(batch), batch)
    assert (loss["total"] if arch == "moe" else loss).dtype == torch.float32
    reference = dict(alone[arch].curve)
    points = dict(parts.curve.points)
    assert points != reference
    assert points == pytest.approx(reference, rel=0.02)


def test_the_balancing_loss_is_trained_and_not_measured(models, alone, corpus):
    config = models["moe"]
    parts = assemble(config, corpus)
    batch = next(iter(parts.batches))
    logits = parts.model(batch)
    loss = parts.model.loss(logits, batch)
    balance = parts.model.module.balance_loss
    assert float(balance.detach()) >= 0.9
    expected = float(cross_entropy(logits, targets(batch)).detach()) + 0.01 * float(balance.detach())
    assert float(loss["total"].detach()) == pytest.approx(expected)
    record = alone["moe"]
    assert record.routing.keys() == record.losses.keys()
    held_out = validation_sources(corpus)["caption"]
    tokens = sum(int(held_out[k].documents.size - (held_out[k].documents < 0).sum()) for k in range(7))
    for layer in record.routing["caption"]:
        assert sum(sum(expert) for expert in layer) == tokens
    assert alone["early"].routing is None


def test_without_targets_the_loss_is_zero_and_has_a_gradient():
    logits = torch.randn(0, 5, requires_grad=True)
    loss = cross_entropy(logits, torch.zeros(0, dtype=torch.int64))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert logits.grad.shape == (0, 5)


def test_a_batch_without_images_uses_the_same_layers(models, corpus):
    mixture, _ = reading(models["early"], corpus)
    batch = next(iter(train_batches(mixture, batch_size=4, steps=1)))
    text = {**batch, "span_ids": torch.full_like(batch["span_ids"], -1), "modality": torch.zeros_like(batch["modality"]),
            "patches": batch["patches"][:, :0]}
    model = LanguageModel(build(models["early"].model), objective("text"))
    slot = execution.blank_slots(models["early"].model)(text)
    assert torch.equal(model(slot), model(text))
    model.loss(model(slot), slot).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert execution.blank_slots(models["early"].model)(batch).keys() == batch.keys()
    wordy = replace(models["early"].model, patch_dim=0)
    assert execution.blank_slots(wordy)(text)["patches"].shape[1] == 0


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_processes_share_held_out_data(corpus, world_size):
    """Each sequence is measured once; all processes run equally often."""
    held_out = validation_sources(corpus)["caption"]
    shares = [HeldOutShare(held_out, 7, Place(CPU, rank, world_size, 4, 4)) for rank in range(world_size)]
    assert len({len(share) for share in shares}) == 1
    count = 0
    for share in shares:
        for batch in validation_batches(share, 2):
            count += len(targets(batch))
    assert count == sum(len(targets(batch)) for batch in validation_batches(held_out, 4, 7))


def at(monkeypatch, **environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def test_bad_settings_are_named(short, monkeypatch):
    for settings, message in [
        ({"attention": "flex"}, 'attention="flex" needs a CUDA device'),
        ({"sharding": "full"}, "sharding='full' needs several processes, and this is the only one: launch with `composer -n 8"),
    ]:
        with pytest.raises(ValueError, match=message):
            execution.start(carried_out(short, **settings))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match=r"compile=true needs a C\+\+ compiler"):
        execution.start(carried_out(short, compile=True))
    with monkeypatch.context() as patch:
        at(patch, WORLD_SIZE="3", LOCAL_WORLD_SIZE="3")
        with pytest.raises(ValueError, match="3 processes do not divide a batch of 4 sequences"):
            execution.start(short)
    with monkeypatch.context() as patch:
        at(patch, WORLD_SIZE="4", LOCAL_WORLD_SIZE="2")
        with pytest.raises(ValueError, match='sharding="hybrid" needs CUDA devices'):
            execution.start(carried_out(short, sharding="hybrid"))
        at(patch, WORLD_SIZE="4", LOCAL_WORLD_SIZE="3")
        with pytest.raises(ValueError, match="same number of processes on every node"):
            execution.start(carried_out(short, sharding="hybrid"))


def test_grouped_products_where_there_are_none(models, monkeypatch):
    monkeypatch.setattr(experts, "GROUPED", None)       # as in torch 2.7
    with pytest.raises(ValueError, match='experts="grouped" needs'):
        execution.prepare(build(models["moe"].model), ExecutionConfig(experts="grouped"), CPU)


def in_processes(jobs, corpus, folder, processes=2):
    """Train jobs in several processes of one CPU thread each; the records that each of them holds."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    (folder / "jobs.json").write_text(json.dumps(jobs))
    command = [sys.executable, "-m", "tests.processes", str(corpus.folder), str(folder / "jobs.json"), str(folder / "records")]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
                   "NODE_RANK": "0", "WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
    running = [
        subprocess.Popen(command, env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)}, cwd=ROOT,
                         stderr=subprocess.PIPE, text=True)
        for rank in range(processes)
    ]
    errors = [process.communicate()[1] for process in running]
    assert [process.returncode for process in running] == [0] * processes, "\n".join(error[-2000:] for error in errors)
    return [json.loads((folder / f"records-rank{rank}.json").read_text()) for rank in range(processes)]


@pytest.mark.slow
def test_two_processes_train_what_one_trains(models, alone, corpus, tmp_path):
    """DDP and FSDP2 over gloo: losses, tokens and curves of one process, to float32's rounding."""
    cases = {
        "DDP": ("early", {}, {}),
        "DDP, microbatches": ("early", {"microbatch_sequences": 1}, {}),
        "DDP, late fusion": ("late", {}, {}),
        "FSDP2": ("early", {"sharding": "full"}, {"save_weights": str(tmp_path / "sharded.safetensors")}),
        "FSDP2, microbatches, recomputed": ("early", {"sharding": "full", "microbatch_sequences": 1, "checkpoint_activations": True}, {}),
        "FSDP2, late fusion": ("late", {"sharding": "full"}, {}),
        "FSDP2, stopped and gone on": ("early", {"sharding": "full"}, {"scratch": str(tmp_path / "full"), "stop_after": 6}),
        "DDP, stopped and gone on": ("early", {}, {"scratch": str(tmp_path / "none"), "stop_after": 6}),
    }
    jobs = [{"run": to_dict(carried_out(models[arch], **settings)), **more} for arch, settings, more in cases.values()]
    jobs.append({"run": to_dict(carried_out(models["moe"], sharding="full"))})
    first, second = in_processes(jobs, corpus, tmp_path)
    for (case, (arch, _, _)), one, two in zip(cases.items(), first, second, strict=False):
        reference = alone[arch]
        assert one["losses"] == pytest.approx(reference.losses, rel=2e-5), case
        assert [loss for _, loss in one["curve"]] == pytest.approx([loss for _, loss in reference.curve], rel=2e-5), case
        assert one["tokens"] == reference.tokens, case
        assert one["processes"] == 2
        assert (two["losses"], two["curve"], two["tokens"]) == (one["losses"], one["curve"], one["tokens"]), case
    moe = first[-1]
    assert moe["losses"] == pytest.approx(alone["moe"].losses, rel=1e-2), "the balancing loss is that of each process"
    assert [sum(map(sum, layer)) for layer in moe["routing"]["text"]] == [sum(map(sum, layer)) for layer in alone["moe"].routing["text"]]
    config, tensors = load(tmp_path / "sharded.safetensors")
    assert config == models["early"].model
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == {
        name: tuple(tensor.shape) for name, tensor in build(config).state_dict().items()}
