"""Everything here that leans on private names of torch and Composer, or goes around what they do; each with its why.

Nothing else in the package touches them, and tests/test_compat.py says of each what to do once a version has changed.
"""

import atexit
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from composer import Callback, Event, State, Trainer
from composer.callbacks import CheckpointSaver
from composer.core.engine import Engine
from composer.loggers import Logger, LoggerDestination
from composer.optim import DecoupledAdamW
from composer.utils import checkpoint, dist
from composer.utils.parallelism import FSDP2Config
from torch import Tensor, nn
from torch.distributed.checkpoint import state_dict
from torch.distributed.fsdp._fully_shard import _fsdp_collectives

from nmm.training import signatures

PER_STEP = tuple(
    event for event in Event if event.value.startswith(("batch_", "before_", "after_")) and not event.value.endswith("_load")
)


def call_listeners_only(trainer: Trainer) -> None:
    """On the 13 events of a step, call the algorithms and callbacks that listen, and nothing else.

    Composer's engine walks through all of them on each event, with markers for a profiler we do not use: of some 7 ms that a
    step takes at d = 16, Composer's own share was 2 to 3 (benchmarks/trainer.py). The order is Composer's: algorithms,
    callbacks, loggers. Call it after the Trainer is built; callbacks added later are not heard.
    """
    engine, state = trainer.engine, trainer.state
    callbacks = sorted(state.callbacks, key=lambda callback: isinstance(callback, LoggerDestination))
    listeners = {
        event: [callback for callback in callbacks if _listens(type(callback), event)] for event in PER_STEP
    }
    run_event = engine.run_event

    def run_listeners(event: Event) -> dict[str, Any]:
        if event not in listeners:
            return run_event(event)
        for algorithm in state.algorithms:
            if algorithm.match(event, state):
                algorithm.apply(event, state, trainer.logger)
        for callback in listeners[event]:
            callback.run_event(event, state, trainer.logger)
        return {}

    engine.run_event = run_listeners  # type: ignore[method-assign]


def _listens(kind: type[Callback], event: Event) -> bool:
    return any(getattr(kind, name) is not getattr(Callback, name) for name in ("run_event", event.value))


class Shared(dict[str, Tensor]):
    """A batch that is not copied: Composer deep-copies each one for training metrics, and we ask for none."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "Shared":
        return self


class FusedDecoupledAdamW(DecoupledAdamW):
    """Composer's DecoupledAdamW with torch's fused kernel for the update; the same state, in one call for all weights.

    torch decays by lr * weight_decay, Composer by (lr / peak lr) * weight_decay: the kernel is given
    weight_decay / peak lr.
    """

    @staticmethod
    def adamw(
        params: list[Tensor], grads: list[Tensor], exp_avgs: list[Tensor], exp_avg_sqs: list[Tensor],
        max_exp_avg_sqs: list[Tensor], state_steps: list[Tensor], *, amsgrad: bool, beta1: float, beta2: float,
        lr: float, initial_lr: float, weight_decay: float, eps: float,
    ) -> None:
        """One update of all parameters in place. Arguments as `DecoupledAdamW.adamw`; `state_steps` count this step already."""
        if params:
            torch._fused_adamw_(
                params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, state_steps, amsgrad=amsgrad, lr=lr, beta1=beta1,
                beta2=beta2, weight_decay=weight_decay / initial_lr if initial_lr else 0.0, eps=eps, maximize=False,
                grad_scale=None, found_inf=None,
            )


def forget_models() -> None:
    """Let go of the models of earlier runs: torch 2.7 caches the names of parameters by model, and with them the model."""
    clear = getattr(state_dict._get_fqns, "cache_clear", None)      # torch 2.11 has no such cache
    if clear:
        clear()


def forget_at_exit() -> None:
    """Take Composer's closing of every Trainer out of what Python does at exit: it keeps all models of a process alive.

    What it closes are callbacks, and ours have nothing to close.
    """
    atexit.unregister(Engine._close)


class _Hybrid(FSDP2Config):
    """Sharded within a node, replicated across nodes; Composer makes the mesh, but its FSDP2 has no setting for it."""

    @property
    def data_parallel_replicate_degree(self) -> int:
        return dist.get_world_size() // dist.get_local_world_size()


def fsdp(*, hybrid: bool, device: torch.device) -> FSDP2Config:
    """Composer's FSDP2, over all ranks or `hybrid`: within nodes.

    Weights are gathered in float32 and cast by autocast as without sharding, so that sharding changes no result. Checkpoints
    are whole: written by rank 0, and read by any number of processes.
    """
    if device.type == "cpu":
        _average_on_cpu()
    return (_Hybrid if hybrid else FSDP2Config)(state_dict_type="full", mixed_precision="FULL")


@cache
def _average_on_cpu() -> None:
    """Let FSDP2 divide gradients itself on a CPU, as it does on one kind of device.

    It asks for an average over shards, and gloo of torch 2.7 gives the sum, silently.
    """
    factors = _fsdp_collectives._get_gradient_divide_factors

    def divided(scatter: Any, reduce: Any, dtype: torch.dtype, device_type: str = "", *more: Any) -> Any:
        return factors(scatter, reduce, dtype, "mtia" if device_type == "cpu" else device_type, *more)

    _fsdp_collectives._get_gradient_divide_factors = divided


def shard_each(module: nn.Module, parts: list[nn.Module]) -> None:
    """Which parts of a model are sharded each on its own: Composer asks the model, by an attribute of this name."""
    module.fsdp_wrap_fn = set(parts).__contains__


@cache
def sign_checkpoints() -> None:
    """Let Composer sign each checkpoint as it writes it, and read none that we have not signed: it unpickles them."""
    load = checkpoint._torch_load_with_validation

    def written(state_dict: dict[str, Any], filename: str) -> None:
        with signatures.signing(Path(filename)) as file:
            torch.save(state_dict, file)

    def read(checkpoint_filepath: str | Path, map_location: str) -> Any:
        signatures.require(Path(checkpoint_filepath))
        return load(checkpoint_filepath, map_location)

    checkpoint._write_checkpoint_file, checkpoint._torch_load_with_validation = written, read


def saved_weights(checkpoint: Path) -> dict[str, Tensor]:
    """The model's weights in one of Composer's checkpoints, by their names in the model: Composer's wrapper is `module`."""
    signatures.require(checkpoint)
    saved = torch.load(checkpoint, map_location="cpu", mmap=True, weights_only=False)      # our own file
    return {name.removeprefix("module."): tensor for name, tensor in saved["state"]["model"].items()}


def name_failures(trainer: Trainer) -> None:
    """Let a checkpoint that cannot be written say where and what to do; torch's own message says neither."""
    for saver in trainer.state.callbacks:
        if isinstance(saver, CheckpointSaver):
            saver._save_checkpoint = _named(saver._save_checkpoint, saver.folder)      # type: ignore[method-assign]


def _named(save: Callable[[State, Logger], None], folder: str) -> Callable[[State, Logger], None]:
    def named(state: State, logger: Logger) -> None:
        try:
            save(state, logger)
        except (OSError, RuntimeError) as error:
            raise OSError(f"cannot write a checkpoint in {folder}: {error}. Free space or choose another folder, then run again") from error

    return named
