"""What a grid of runs takes before anything is trained: FLOPs, GPU-hours, memory by part, the fewest GPUs, data. No torch here, but
for `counted`.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pandas as pd

from nmm.architectures import ModelConfig
from nmm.config import RunConfig
from nmm.config.flops import exact_train_flops, train_flops
from nmm.sweep.job import families, own_tokens
from nmm.training.devices import peak_flops

Share = Callable[[RunConfig], float]        # of a run's tokens that are of images

# One GPU's memory as its data sheet has it [bytes]; of A100 the larger
GPU_MEMORY = {"H100": 80e9, "H200": 141e9, "A100": 80e9, "L40S": 48e9, "MI300X": 192e9, "RTX 4090": 24e9}
USABLE = 0.9                # of it: the rest is for CUDA, communication and fragments
NODE = 8                    # GPUs that "hybrid" shards over
SHARDINGS = ("none", "full", "hybrid")
MOST_GPUS = 512
IMAGE_BYTES = 20_000        # of an image of 224 pixels as JPEG
POSITION_BYTES = 6          # of a position of a packed sequence: token and document, see `nmm.data.corpus.arrow`


def pass_bytes(model: ModelConfig, *, vision: bool = False) -> int:
    """What autograd keeps of one token in one block, in bf16 and not compiled [bytes].

    As torch keeps it (tests/test_sizing.py counts): the residual, the norms' inputs and outputs, queries, keys, values and what
    they attend to, and the parts of SwiGLU; of a mixture the routed rows besides. Compiled blocks keep less.
    """
    if vision:
        return 44 * model.d_vision + 8 * model.d_vision_hidden + 12 * model.n_vision_heads + 8
    dense = 44 * model.d_model + 12 * model.n_heads + 8
    if not model.routes:
        return dense + 8 * model.d_hidden
    return dense + model.top_k * (8 * model.expert_hidden + 8 * model.d_model) + 12 * model.n_experts


def memory(
    model: ModelConfig, *, gpus: int, sharding: str = "none", sequences: int = 1, recompute: bool = False, context: int = 1024,
    images: float = 0.0,
) -> dict[str, float]:
    """Memory of each GPU by part, at most [bytes].

    Args:
        gpus: that train the run.
        sharding: "none", "full" or "hybrid", as in `nmm.config.run.ExecutionConfig`.
        sequences: that pass at once on one GPU.
        recompute: whether blocks are recomputed in the backward pass.
        context: tokens of a sequence.
        images: share of the tokens that are of images; each of the others is a target.
    """
    counts, tokens = model.counts, sequences * context
    shards = {"none": 1, "full": gpus, "hybrid": min(gpus, NODE)}[sharding]
    encoder = getattr(model, "n_vision_layers", 0)
    block = (counts.blocks + counts.inactive + counts.routers) / model.n_layers
    root = counts.embedding + counts.unembedding + counts.patch_projection + counts.connector
    kept = [(model.n_layers, tokens, model.d_model, pass_bytes(model))]
    if encoder:
        kept.append((encoder, tokens * images, model.d_vision, pass_bytes(model, vision=True)))
    if recompute:       # the input of every block, and one block whole
        activations = sum(layers * size * 4 * width for layers, size, width, _ in kept) + max(size * each for _, size, _, each in kept)
    else:
        activations = sum(layers * size * each for layers, size, _, each in kept)
    return {
        "weights": 4 * counts.all / shards,
        "gradients": 4 * counts.all / shards,
        "moments": 8 * counts.all / shards,
        "copies in bf16": 2.0 * counts.all,                         # autocast keeps one of every matrix until the step's end
        "gathered": 4 * (root + 3 * block) if shards > 1 else 0.0,  # the embeddings, two blocks' weights, one block's gradients
        "buckets": 4.0 * counts.all if shards == 1 and gpus > 1 else 0.0,   # in which DDP sends gradients
        "activations": activations,
        "logits": 12.0 * model.vocab_size * tokens * (1 - images),  # in bf16, in float32, their softmax and its gradient
    }


def fewest(model: ModelConfig, room: float, *, sharding: str, recompute: bool, batch: int, **asked: Any) -> tuple[int, int] | None:
    """The fewest GPUs, a power of two, that hold a run with a sequence each, and how many sequences each then holds at once.

    Args:
        room: memory of a GPU that may be used [bytes].
        batch: sequences of a step.
        asked: as for `memory`.
    Returns:
        GPUs and sequences; None where no number of them does.
    """
    gpus = 1 if sharding == "none" else 2
    while gpus <= min(batch, MOST_GPUS):
        def fits(sequences: int, gpus: int = gpus) -> bool:
            parts = memory(model, gpus=gpus, sharding=sharding, sequences=sequences, recompute=recompute, **asked)
            return sum(parts.values()) <= room
        if fits(1):
            sequences = 1
            while 2 * sequences * gpus <= batch and fits(2 * sequences):
                sequences *= 2
            return gpus, sequences
        gpus *= 2
    return None


def in_words(found: Iterable[Iterable[tuple[int, int] | None]]) -> str:
    """How many GPUs hold every one of some models, each in the best of the ways for which `fewest` was asked."""
    least = [min((gpus for gpus, _ in filter(None, ways)), default=0) for ways in found]
    if not all(least):
        return "no number of GPUs"
    return "one GPU" if max(least) == 1 else f"{max(least)} GPUs"


def costs(grid: Iterable[RunConfig], *, gpu: str, mfu: float, images: Share, patches_per_image: float) -> pd.DataFrame:
    """A row a run: what it is, its FLOPs, and its GPU-hours, alone and as a branch of its family's longest.

    Columns: run, arm, size, mixture, tokens, N, N_v; C, as the paper counts it, and flops, of every matrix product [FLOPs]; own,
    the share of its tokens that it trains itself in a family; gpu_hours, alone.

    Raises:
        ValueError: an unknown GPU, or mfu not in (0, 1].
    """
    peak = peak_flops(gpu, "bf16")
    if peak is None:
        raise ValueError(f"unknown GPU {gpu!r}: known are {', '.join(GPU_MEMORY)}, and others of nmm.training.devices")
    if not 0 < mfu <= 1:
        raise ValueError(f"mfu, the share of the peak FLOPs/s, must be in (0, 1]: got {mfu}")
    rows = []
    for family in families(grid):
        for run in family:
            counts, share = run.model.counts, images(run)
            tokens = {"image": share * run.tokens, "text": (1 - share) * run.tokens}
            flops = exact_train_flops(
                run.model, context=run.data.context, tokens=tokens, targets=tokens["text"], patches_per_image=patches_per_image)
            C = train_flops(counts.N, run.tokens, N_v=counts.N_v, D_v=tokens["image"] if counts.N_v else 0)
            rows.append({
                "run": run.id, "arm": run.origin.arm, "size": run.model.size, "mixture": run.data.mixture, "tokens": run.tokens,
                "N": counts.N, "N_v": counts.N_v, "C": C, "flops": flops,
                "own": own_tokens(run, family) / run.tokens, "gpu_hours": flops / (peak * mfu) / 3600,
            })
    return pd.DataFrame(rows)


def by_arm(costs: pd.DataFrame) -> pd.DataFrame:
    """A row an arm and one for all: runs, tokens, FLOPs and GPU-hours, each run alone and budgets branching from trunks."""
    rows = {name: group for name, group in costs.groupby("arm", sort=False)} | {"all": costs}
    return pd.DataFrame.from_dict({
        name: {
            "runs": len(group), "tokens": group["tokens"].sum(), "C": group["C"].sum(), "FLOPs": group["flops"].sum(),
            "GPU-hours": group["gpu_hours"].sum(), "GPU-hours branching": (group["gpu_hours"] * group["own"]).sum(),
        } for name, group in rows.items()
    }, orient="index")


def data_needed(grid: Iterable[RunConfig], images: Share, patches_per_image: float) -> pd.DataFrame:
    """What all runs of a grid together read, once each: a row a data type.

    Columns: tokens, the most that one run reads of it; images, of these; bytes, of the prepared corpus.
    """
    most: dict[str, tuple[float, float]] = {}
    for run in grid:
        total = sum(run.data.weights.values())
        for kind, weight in run.data.weights.items():
            tokens = weight / total * run.tokens
            share = 0.0 if kind == "text" else images(run) / (1 - run.data.weights["text"] / total)
            most[kind] = max(most.get(kind, (0.0, 0.0)), (tokens, tokens * share / patches_per_image))
    rows = {
        kind: {"tokens": tokens, "images": count, "bytes": POSITION_BYTES * tokens + IMAGE_BYTES * count}
        for kind, (tokens, count) in most.items()
    }
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.loc["all"] = table.sum()
    return table


def models_of(grid: Iterable[RunConfig]) -> dict[tuple[str, str], RunConfig]:
    """The first run of each model, by arm and size: arms by name, each the smallest first."""
    found: dict[tuple[str, str], RunConfig] = {}
    for run in grid:
        found.setdefault((run.origin.arm, run.model.size), run)
    return dict(sorted(found.items(), key=lambda item: (item[0][0], item[1].model.counts.n_active)))


def counted(model: ModelConfig) -> int:
    """Parameters of the model itself, built without memory for them (on torch's meta device) [parameters]."""
    import torch

    from nmm.models import build

    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build(model).parameters())


def room(gpu: str, gigabytes: float | None = None) -> float:
    """Memory of one GPU that may be used [bytes].

    Raises:
        ValueError: nothing is known of the GPU, and none given.
    """
    if gigabytes is None and gpu not in GPU_MEMORY:
        raise ValueError(f"the memory of GPU {gpu!r} is not known: give --gpu-memory in gigabytes, or one of {', '.join(GPU_MEMORY)}")
    if gigabytes is not None and not 0 < gigabytes < math.inf:
        raise ValueError(f"--gpu-memory is the memory of one GPU in gigabytes, above 0: got {gigabytes:g}")
    return USABLE * (GPU_MEMORY[gpu] if gigabytes is None else gigabytes * 1e9)


def in_gigabytes(parts: Mapping[str, float]) -> dict[str, float]:
    """Memory by part, and in all [GB of 10^9 bytes]."""
    return {name: value / 1e9 for name, value in [*parts.items(), ("all", sum(parts.values()))]}
