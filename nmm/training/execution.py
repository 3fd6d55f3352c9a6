"""How a run is carried out on its machine: processes, sharding, precision, compilation, recomputed activations, microbatches."""

import math
import os
import platform
import shutil
from collections.abc import Callable
from collections.abc import Sequence as SequenceABC
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from composer.utils import dist
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nmm.architectures import ModelConfig
from nmm.config import INPUTS, ExecutionConfig, RunConfig
from nmm.data.corpus.store import Sequence
from nmm.training import compat

T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    """Where this process stands among those that train one run."""

    device: torch.device
    rank: int
    world_size: int
    batch_sequences: int        # of each step, in this process
    microbatch: int | str       # sequences that pass at once; "auto": Composer finds what fits

    @property
    def accumulates(self) -> bool:
        """Whether a step's gradient is a sum over processes or microbatches."""
        return self.world_size > 1 or self.microbatch != self.batch_sequences


def start(config: RunConfig) -> Place:
    """Join the other processes of the run, after checking that this machine can do what the configuration asks for.

    Raises:
        ValueError: it cannot, or the processes do not divide the batch; the message names the setting and the remedy.
    """
    execution, world_size = config.execution, dist.get_world_size()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    _check(execution, device, world_size)
    sequences, left = divmod(config.data.batch_sequences, world_size)
    if left:
        raise ValueError(f"{world_size} processes do not divide a batch of {config.data.batch_sequences} sequences: launch another "
                         "number of them, or change data.batch_sequences")
    if world_size > 1:
        if "GROUP_RANK" in os.environ:          # torchrun's name for what Composer calls NODE_RANK
            os.environ.setdefault("NODE_RANK", os.environ["GROUP_RANK"])
        dist.initialize_dist("gpu" if device.type == "cuda" else "cpu")
    microbatch = min(execution.microbatch_sequences, sequences) or ("auto" if device.type == "cuda" else sequences)
    return Place(device, dist.get_global_rank(), world_size, sequences, microbatch)


def _check(execution: ExecutionConfig, device: torch.device, world_size: int) -> None:
    cuda = device.type == "cuda"
    if execution.attention == "flex" and not cuda:
        raise ValueError('execution.attention="flex" needs a CUDA device, and there is none: take "auto" or "sdpa"')
    if execution.precision == "bf16" and cuda and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise ValueError(f'execution.precision="bf16" is not supported by {torch.cuda.get_device_name()}: take "fp32"')
    if execution.compile and not cuda and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "g++", "clang++"))):
        raise ValueError("execution.compile=true needs a C++ compiler on a CPU, and there is none: install g++, or take false")
    if execution.sharding != "none" and world_size == 1:
        raise ValueError(f"execution.sharding={execution.sharding!r} needs several processes, and this is the only one: launch with "
                         '`composer -n 8 -m nmm.sweep.launch CONFIG.json` or torchrun, or take "none"')
    if execution.sharding == "hybrid" and world_size % dist.get_local_world_size():
        raise ValueError('execution.sharding="hybrid" needs the same number of processes on every node: take "full"')
    if execution.sharding == "hybrid" and not cuda:
        raise ValueError('execution.sharding="hybrid" needs CUDA devices: torch replicates shards nowhere else; take "full"')
    if execution.sharding != "none" and cuda and not execution.microbatch_sequences:
        raise ValueError("execution.microbatch_sequences=0 cannot find what fits when the model is sharded: give a number of sequences")


def prepare(module: nn.Module, execution: ExecutionConfig, device: torch.device) -> None:
    """Set up a model in place: backends, and every block compiled and recomputed in the backward pass if asked for.

    Functions are wrapped, not modules: names of parameters stay, and hooks of sharding stay outside of compiled code.

    Raises:
        ValueError: a backend is asked for that this device or torch does not have.
    """
    for part in module.modules():
        if hasattr(part, "attention_backend"):
            part.attention_backend = execution.attention
    if hasattr(module, "use_experts"):
        module.use_experts(execution.experts, device, torch.bfloat16 if execution.precision == "bf16" else torch.float32)
    for block in blocks(module):
        if execution.compile:
            block.forward = torch.compile(block.forward)
        if execution.checkpoint_activations:
            block.forward = partial(checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False)
    compat.shard_each(module, blocks(module))


def blocks(module: nn.Module) -> list[nn.Module]:
    """The transformer blocks of a model, an encoder's too."""
    return [block for name, part in module.named_modules() if name.split(".")[-1] == "blocks" for block in part]


def parallelism(execution: ExecutionConfig, device: torch.device) -> dict[str, Any] | None:
    """Composer's `parallelism_config`: FSDP2, or None for DDP and single processes."""
    if execution.sharding == "none":
        return None
    return {"fsdp": compat.fsdp(hybrid=execution.sharding == "hybrid", device=device)}


def is_first() -> bool:
    """Whether this process speaks and writes for all."""
    return dist.get_global_rank() == 0


def agreed(decide: Callable[[], T]) -> T:
    """What rank 0 decides, for all processes; an error there is an error everywhere."""
    if dist.get_world_size() == 1:
        return decide()
    outcome: list[Any] = [None, None]
    if is_first():
        try:
            outcome = [decide(), None]
        except (ValueError, OSError) as error:
            outcome = [None, error]
    dist.broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]


def blank_slots(model: ModelConfig) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    """Gives a batch without images (audio, video) one empty slot for them, that no position reads.

    With several processes: all must use the same layers, or those that do wait for ever for the gradients of those that don't.
    """
    widths = {entry.tensor: getattr(model, entry.width) for entry in INPUTS if getattr(model, entry.width)}

    def add(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        empty = {name: width for name, width in widths.items() if name in batch and not batch[name].shape[1]}
        return {**batch, **{name: batch[name].new_zeros(len(batch[name]), 1, width) for name, width in empty.items()}}

    return add


class HeldOutShare(SequenceABC):
    """One process's part of the first `limit` held-out sequences: every process has as many, some a last one that is blank.

    The blank one has neither targets nor tokens; a sharded model must be run equally often by all.
    """

    def __init__(self, held_out: SequenceABC[Sequence], limit: int, place: Place) -> None:
        self.held_out, self.n, self.place = held_out, min(limit, len(held_out)), place

    def __len__(self) -> int:
        return math.ceil(self.n / self.place.world_size)

    def __getitem__(self, number: int) -> Sequence:
        at = number * self.place.world_size + self.place.rank
        sequence = self.held_out[min(at, self.n - 1)]
        return sequence if at < self.n else replace(sequence, documents=np.full_like(sequence.documents, -1))


def most_memory(place: Place) -> int | None:
    """Most memory that one of the devices held [bytes]; None on a CPU, where nobody counts."""
    if place.device.type != "cuda":
        return None
    most = torch.tensor(torch.cuda.max_memory_allocated(), device=place.device)
    dist.all_reduce(most, reduce_operation="MAX")
    return int(most)


def device_name() -> str:
    """GPU model, or machine and threads of the CPU."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{platform.machine()} CPU, {torch.get_num_threads()} thread" + "s" * (torch.get_num_threads() > 1)
