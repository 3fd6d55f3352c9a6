"""What `nmm.training.compat` leans on is still there. A failure here, after a new torch or Composer, says what to do."""

import inspect

import pytest
import torch
from composer import Callback, DataSpec, Event, Trainer
from composer.callbacks import CheckpointSaver
from composer.core.engine import Engine
from composer.optim import DecoupledAdamW
from composer.utils.parallelism import FSDP2Config
from torch.distributed.checkpoint import state_dict
from torch.distributed.fsdp._fully_shard import _fsdp_collectives

from nmm.training import compat
from nmm.training.parts import assemble
from nmm.training.run import train
from nmm.training.trainer import make_trainer

pytestmark = pytest.mark.usefixtures("one_thread")


def arguments(function) -> list[str]:
    return list(inspect.signature(function).parameters)


def test_call_listeners_only(run, corpus):
    steps = {event.value for event in compat.PER_STEP}
    assert len(compat.PER_STEP) == 13 and {"batch_start", "after_loss", "batch_end", "batch_checkpoint"} <= steps, (
        "the events of a step changed: see whether compat.PER_STEP still names those that run each step")
    assert arguments(Engine.run_event) == ["self", "event"] and arguments(Callback.run_event) == ["self", "event", "state", "logger"], (
        "Composer calls its events otherwise: compat.call_listeners_only must call listeners as Engine.run_event now does, or go")
    assert all(hasattr(Callback, event.value) for event in Event), (
        "a callback no longer has a method per event: compat._listens looks for one")
    trainer = make_trainer(assemble(run, corpus))
    assert trainer.engine.run_event.__name__ == "run_listeners", (
        "Composer's Engine no longer takes another run_event: call_listeners_only has no effect")


def test_shared_batches():
    source = inspect.getsource(Trainer._train_microbatch)
    assert "deepcopy(self.state.batch)" in source, (
        "Composer copies batches no more: compat.Shared can go, and microbatch_transforms with it")
    assert "microbatch_transforms" in arguments(DataSpec), "DataSpec has no microbatch_transforms: find another place for compat.Shared"


@pytest.mark.parametrize("weight_decay", [0.0, 1e-4, 0.1])
def test_the_fused_optimizer_is_composers(weight_decay):
    """Same weights after 60 steps under a changing rate, to float32's rounding."""
    assert arguments(compat.FusedDecoupledAdamW.adamw) == arguments(DecoupledAdamW.adamw), (
        "Composer's DecoupledAdamW.adamw takes other arguments: compat.FusedDecoupledAdamW overrides it, follow them")
    assert hasattr(torch, "_fused_adamw_"), "torch has no _fused_adamw_: find its fused AdamW's new name for compat.FusedDecoupledAdamW"
    torch.manual_seed(0)
    start = [torch.randn(16, 8), torch.randn(5)]
    pairs = []
    for kind in (DecoupledAdamW, compat.FusedDecoupledAdamW):
        parameters = [torch.nn.Parameter(value.clone()) for value in start]
        optimizer = kind(parameters, lr=0.01, betas=(0.9, 0.95), weight_decay=weight_decay)
        pairs.append((parameters, optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 1 - k / 60)))
    for step in range(60):
        gradients = [torch.randn(value.shape, generator=torch.Generator().manual_seed(step)) for value in start]
        for parameters, optimizer, scheduler in pairs:
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient.clone()
            optimizer.step()
            scheduler.step()
    for one, two, before in zip(pairs[0][0], pairs[1][0], start, strict=True):
        assert torch.allclose(one, two, atol=1e-6, rtol=1e-5)
        assert not torch.allclose(one, before, atol=1e-2)

def test_a_models_names_are_cached_or_not():
    assert callable(getattr(state_dict, "_get_fqns", None)), (
        "torch.distributed.checkpoint.state_dict has no _get_fqns: see whether models of earlier runs stay alive, "
        "else compat.forget_models can go")


def test_composer_closes_at_exit():
    assert "atexit.register(self._close" in inspect.getsource(Engine.__init__), (
        "Composer's Engine no longer closes itself at exit by Engine._close: compat.forget_at_exit can go, or must follow")


def test_fsdp2():
    for name in ("state_dict_type", "mixed_precision"):
        assert name in arguments(FSDP2Config), f"Composer's FSDP2Config has no {name}: compat.fsdp sets it"
    assert isinstance(inspect.getattr_static(FSDP2Config, "data_parallel_replicate_degree"), property), (
        "FSDP2Config.data_parallel_replicate_degree is a property no more: Composer may have hybrid sharding itself, "
        "then compat._Hybrid can go")
    first = arguments(_fsdp_collectives._get_gradient_divide_factors)[:4]
    assert first[0].endswith("group") and first[1].endswith("group") and first[3] == "device_type", (
        f"torch's _get_gradient_divide_factors takes {first}: compat._average_on_cpu replaces it, "
        "and FSDP2 over gloo gave sums for means without")


def test_composer_asks_a_model_what_to_shard():
    from composer.distributed import fsdp2_utils

    assert "fsdp_wrap_fn" in inspect.getsource(fsdp2_utils), (
        "Composer no longer asks a model's fsdp_wrap_fn: compat.shard_each must say in another way which parts are sharded")


def test_checkpoints(run, corpus, tmp_path):
    assert arguments(CheckpointSaver._save_checkpoint) == ["self", "state", "logger"], (
        "CheckpointSaver._save_checkpoint changed: compat.name_failures wraps it, so that a full disk is named")
    calls = []

    def stop(tokens: int) -> None:
        calls.append(tokens)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(run, corpus, scratch=tmp_path, progress=stop)
    (checkpoint,) = tmp_path.glob("ba*-rank0.pt")
    ours = assemble(run, corpus).model.module.state_dict()
    found = compat.saved_weights(checkpoint)
    assert {name: tuple(value.shape) for name, value in found.items()} == {name: tuple(value.shape) for name, value in ours.items()}, (
        "Composer's checkpoints are laid out otherwise: compat.saved_weights reads the model's weights from them")


def test_checkpoints_are_signed():
    """Composer writes and reads every checkpoint by these two, looked up in their module at each call."""
    from composer.callbacks import checkpoint_saver
    from composer.utils import checkpoint

    source = inspect.getsource(checkpoint)
    for definition in ("def _write_checkpoint_file(state_dict: dict[str, Any], filename: str)",
                       "def _torch_load_with_validation(checkpoint_filepath: Union[Path, str], map_location: str)"):
        assert definition in source, (
            f"Composer has no {definition} any more: compat.sign_checkpoints must take the place of what it has now")
    assert "_write_checkpoint_file(state_dict, save_filename)" in inspect.getsource(checkpoint._save_checkpoint)
    assert source.count("torch.load(") == 1, "Composer reads checkpoints elsewhere too: see compat.sign_checkpoints"
    assert "checkpoint.save_checkpoint(" in inspect.getsource(checkpoint_saver.CheckpointSaver._save_checkpoint)
